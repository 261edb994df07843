"""A model card: README.md as model hubs read it, with a header for programs, made from the run's own files."""

import json
import math
from pathlib import Path
from typing import Any

from rungwise.experiment.results import RESULTS
from rungwise.export.check import Made
from rungwise.model.transformer import count_parameters
from rungwise.training.run_dir import METRICS, SAMPLES, Run
from rungwise.util.files import read_lines

PARTS = ("train", "validation", "test")


def model_card(run: Run, run_dir: Path, made: Made) -> str:
    """The Markdown. The header names no licence: that is for who publishes to choose."""
    losses = read_losses(run, run_dir)
    header = "".join(f"{key}: {value}\n" for key, value in _header(run, run_dir, made, losses).items())
    parts = [
        f"# {_name(run, run_dir)}",
        f"A character-level transformer of {count_parameters(run.model):,} parameters that spells words like those of "
        f"the list {_code(run.info.get('data'))}. Made with rungwise; here as {made.what}.",
        f"## How to use it\n\n```python\n{made.code}```",
        "\n".join(f"- {note}" for note in made.notes),
        _samples(run_dir),
        _data(run),
        _losses(run, losses),
        _training(run),
        _limits(run, made),
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def read_losses(run: Run, run_dir: Path) -> dict[str, float]:
    """Nats a scored character by part of the split; none where training did not come to its end."""
    found: dict[str, Any] = {}
    for line in read_lines(run_dir / METRICS):  # `rungwise train` ends its metrics with these
        found |= {part: line.get(f"final_{part}_loss", found.get(part)) for part in PARTS}
    if not any(found.values()):
        mine = {key: run.info.get(key) for key in ("rung", "seed", "data_sha256")}
        mine |= {"protocol": run.protocol.name, "steps": run.train_config.steps}
        for line in read_lines(run_dir.absolute().parent.parent / RESULTS):  # a climb keeps them for all of its runs
            if all(line.get(key) == value for key, value in mine.items()):
                found = dict(zip(PARTS, (line.get(f"{part}_loss") for part in ("train", "val", "test")), strict=True))
    return {part: loss for part, loss in found.items() if isinstance(loss, float) and math.isfinite(loss)}


def _header(run: Run, run_dir: Path, made: Made, losses: dict[str, float]) -> dict[str, str]:
    """Keys and their values as JSON, which YAML reads as it is."""
    values: dict[str, Any] = {
        "library_name": made.library,
        "pipeline_tag": "text-generation",
        "tags": ["rungwise", "character-level", "word-generation"],
    }
    if losses:
        data, unit = _printable(run.info.get("data")), f"nats a {run.vocabulary.tokens.unit} ({run.protocol.name})"
        metrics = [
            {"type": "loss", "name": f"{part} loss, {unit}", "value": round(loss, 6)}
            for part, loss in losses.items()
            if part != "train"
        ]
        result = {
            "task": {"type": "text-generation"},
            "dataset": {"type": "word-list", "name": data, "split": "test"},
            "metrics": metrics,
        }
        values["model-index"] = [{"name": _name(run, run_dir), "results": [result]}]
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _name(run: Run, run_dir: Path) -> str:
    """What to call it: the run's directory, and of a climb's run the rung, too."""
    path = run_dir.absolute()
    return _printable(f"{path.parent.name} {path.name}" if path.name.startswith("seed-") else path.name)


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _code(text: object) -> str:
    return f"`{_printable(text).replace('`', '?')}`"


def _samples(run_dir: Path, n: int = 10) -> str:
    try:
        words = (run_dir / SAMPLES).read_text(encoding="utf-8").split("\n")[:n]
    except (OSError, ValueError):
        return ""
    return "Some words of its own:\n\n" + "\n".join(f"    {_printable(word)}" for word in words if word)


def _data(run: Run) -> str:
    words = "" if run.known is None else f"{len(run.known):,} distinct words, "
    unit = run.vocabulary.tokens.unit
    return (
        f"## Data\n\nThe list {_code(run.info.get('data'))} (SHA-256 {_code(run.info.get('data_sha256'))}): {words}"
        f"{run.vocabulary.told}, the longest word {run.longest} {unit}s long. Split as "
        f"protocol {run.protocol.name} of rungwise says: "
        f"{'distinct words' if run.protocol.distinct else 'words with their repetitions'}, at random."
    )


def _losses(run: Run, losses: dict[str, float]) -> str:
    if not losses:
        return "## Losses\n\nNot measured: the run was exported before its training ended."
    tokens = run.vocabulary.tokens
    rows = "\n".join(f"| {part} | {nats:.4f} | {nats / math.log(2):.4f} |" for part, nats in losses.items())
    return (
        f"## Losses\n\n| words | nats a scored {tokens.unit} | bits |\n|---|--:|--:|\n{rows}\n\n"
        f"The mean of -ln p over every scored token of these words; scored are {tokens.say(run.protocol.scored)} "
        f"(protocol {run.protocol.name}). Compare only with losses of the same list, protocol and split."
    )


def _training(run: Run) -> str:
    def listed(values: dict[str, Any]) -> str:
        return "`" + ", ".join(f"{key}={value}" for key, value in values.items()) + "`"

    versions = run.info.get("versions")
    made_with = versions.items() if isinstance(versions, dict) else ()
    rung, seed, engine = (_printable(run.info.get(key)) for key in ("rung", "seed", "engine"))
    return (
        f"## Training\n\n- Model, from rung {rung}: {listed(run.model.config.to_dict())}\n"
        f"- AdamW on the cross-entropy: {listed(run.train_config.to_dict())}\n"
        f"- Seed {seed}, engine {engine}; {_printable(', '.join(f'{name} {version}' for name, version in made_with))}."
    )


def _limits(run: Run, made: Made) -> str:
    return (
        "## Limits\n\nIt spells, and knows no meanings. Many of its words are in the list that it was trained on: "
        "what the list holds, personal or not, it can repeat. It knows only the list's characters and lengths. "
        f"Its logits differ from the original's by at most {made.error:.1e} (random tokens, several shapes). "
        "No licence is named in the header: add `license:` there; the list's own terms apply, too."
    )

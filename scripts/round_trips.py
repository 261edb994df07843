"""Exports, there and back: python -m scripts.round_trips --makemore PATH/TO/makemore

Trains small models of the rungs that other libraries can load, exports them with `rungwise export`, and compares what
the libraries themselves compute and spell. Writes results/round-trips.json, of which docs/export.md has tables.
Two minutes or so on two cores.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.cli.main import main as rungwise
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.words import END, WordList
from rungwise.export.homes import HOMES
from rungwise.inference.sample import Sampling, generate
from rungwise.inference.score import score
from rungwise.ladder import RUNGS as LADDER
from rungwise.training import run_dir
from rungwise.training.run_dir import Run
from rungwise.util.files import read_json, read_lines
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "round-trips.json"
EXAMPLE = common.ROOT / "docs/examples/onnx_generate.py"
RUNGS = ("gelu", "no-head-bias", "tied", "learned-positions", "swiglu")
"""The article's own model, which only ONNX holds, and the rungs that a class of transformers holds."""
N_WORDS, N_PREFIXES = 1000, 200
ODD = ("a b", "x.y", "<pad>", "né", "日本", "🙂👍", "don't", "क्ष", "a\tb", "\\n", "##a", "▁a")
"""Words that look like what other tokenizers take for something else."""

Row = dict[str, Any]


def row(to: str, by: str, compared: str, n: int, error: float, spelled: tuple[int, int] | None = None) -> Row:
    """`by`: the packages that read it. `error`: the largest difference. `spelled`: greedy words equal, of how many."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in by.split())
    return {"to": to, "by": versions or "itself", "compared": compared, "n": n, "error": error, "spelled": spelled}


def prefixes(listed: WordList) -> list[str]:
    """What words begin with: nothing, and one to four characters of words all over the list."""
    picked = [listed[i] for i in np.linspace(0, len(listed) - 1, N_PREFIXES, dtype=int)]
    return list(dict.fromkeys(["", *(word[: 1 + i % 4] for i, word in enumerate(picked))]))


def ours(run: Run, begun: list[str]) -> list[str]:
    drawn = (Sampling(temperature=0, prefix=prefix) for prefix in begun)
    return [next(generate(run.model, run.vocabulary, 1, run.sampled_firsts, how)).text for how in drawn]


def through(run: Run, inputs: np.ndarray, theirs: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest difference in logits over words, as training meets them."""
    with torch.inference_mode():
        return float(np.abs(theirs(inputs) - run.model(torch.from_numpy(inputs)).numpy()).max())


# ------------------------------------------------------------------------------------------------ formats


def run_directory(folder: Path, inputs: np.ndarray) -> Row:
    """Weights as safetensors, read back by that library alone, into a model of the same configuration."""
    from safetensors.torch import load_file

    run = run_dir.load(folder)
    other = type(run.model)(run.model.config, seed=1).eval()
    other.load_state_dict(load_file(folder / run_dir.WEIGHTS))
    error = through(run, inputs, lambda x: other(torch.from_numpy(x)).numpy())
    return row("run directory", "safetensors", "logits", len(inputs), error)


def to_onnx(folder: Path, rung: str, inputs: np.ndarray, begun: list[str]) -> Row:
    import onnxruntime

    rungwise(["export", str(folder), "--format", "onnx"])
    path, run = folder / "onnx/model.onnx", run_dir.load(folder)
    session = onnxruntime.InferenceSession(path)
    error = through(run, inputs, lambda x: session.run(["logits"], {"tokens": x})[0])
    spell = runpy.run_path(str(EXAMPLE))["generate"]
    firsts = [prefix for prefix in begun if prefix or run.sampled_firsts is None]
    spelled = [spell(str(path), 1, 0.0, prefix)[0] for prefix in firsts]
    equal = sum(a == b for a, b in zip(spelled, ours(run, firsts), strict=True))
    return row(f"ONNX, rung {rung}", "onnx onnxruntime", "logits", len(inputs), error, (equal, len(firsts)))


def to_transformers(folder: Path, rung: str, inputs: np.ndarray, begun: list[str]) -> Row:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rungwise(["export", str(folder), "--format", "hf"])
    run = run_dir.load(folder)
    model = AutoModelForCausalLM.from_pretrained(folder / "hf")
    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    error = through(run, inputs, lambda x: model(torch.from_numpy(x)).logits.numpy())
    equal = 0
    for prefix, word in zip(begun, ours(run, begun), strict=True):
        drawn = model.generate(**tokenizer(prefix, return_tensors="pt"), do_sample=False)[0].tolist()
        equal += drawn == [END, *run.vocabulary.encode(word), END]
    to = f"{type(model).__name__}, rung {rung}"
    return row(to, "transformers", "logits", len(inputs), error, (equal, len(begun)))


def to_tokenizers(listed: WordList, what: str) -> Row:
    """Words through tokenizer.json and back: how many come out changed, or with other ids."""
    from rungwise.export.tokenizer import native

    tokenizer = native(listed.vocabulary, start_token=True)
    spelled = list(listed)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(spelled)]
    back = tokenizer.decode_batch(encoded, skip_special_tokens=True)
    expected = ([END, *listed.vocabulary.encode(word)] for word in spelled)
    wrong = sum(a != b or x != y for a, b, x, y in zip(spelled, back, encoded, expected, strict=True))
    return row(f"tokenizer.json, {what}", "tokenizers", "words and ids changed", len(spelled), wrong)


# -------------------------------------------------------------------------------------------------- peers


def to_tensorboard(folder: Path) -> Row:
    """The events of a training against its metrics.jsonl. (Events are float32.)"""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    line = ["train", "--data", "given-names", "--steps", "200", "--eval-every", "20", "--out", str(folder)]
    rungwise([*line, "--tensorboard"])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    metrics = read_lines(folder / run_dir.METRICS)
    written = {(name, e.step): e.value for name in events.Tags()["scalars"] for e in events.Scalars(name)}
    kept = {(name, line["step"]): line[name] for name, _ in written for line in metrics if name in line}
    assert written.keys() == kept.keys()
    return row("TensorBoard", "tensorboard", "losses", len(kept), max(abs(written[key] - kept[key]) for key in kept))


class AsOurs(nn.Module):
    """makemore's model with our token ids: its 0, which starts and ends a word, is our END (1); it has no PAD."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        logits, _ = self.model(tokens.clamp(min=END) - END)
        return torch.cat([torch.full_like(logits[..., :1], -torch.inf), logits], dim=-1)


def to_makemore(folder: Path) -> list[Row]:
    """Its own reading of the article's list, and its own loss, against ours of the same words and the same model."""
    model, train, test = common.makemore(folder)
    names = words.load("names")
    theirs = sorted(train.words + test.words)
    wrong = sum(
        a != b or train.encode(a).tolist() != (names.vocabulary.encode(b) - END).tolist()
        for a, b in zip(theirs, sorted(names), strict=True)
    )
    inputs, targets = (torch.stack(column) for column in zip(*test, strict=True))
    with torch.no_grad():
        _, loss = model(inputs, targets)
    listed = words.from_words([*test.words, *train.words])  # all of them, for the alphabet
    tape = Tape.of(listed, np.arange(len(test)), get_protocol("makemore"))
    mine = score(AsOurs(model), tape, "torch").loss  # type: ignore[arg-type]
    return [
        row("makemore, the article's list", "", "words and ids changed", len(names), wrong),
        row("makemore, its own transformer", "", "test loss, protocol makemore", len(test), abs(mine - loss.item())),
    ]


def measure(makemore: Path | None, steps: int = 1000) -> dict[str, Any]:
    listed = words.load("given-names")
    protocol = get_protocol("strict")
    tape = Tape.of(listed, words.split(listed, protocol).test[:N_WORDS], protocol)
    inputs, _ = tape.padded(tape.starts, tape.lengths, int(tape.lengths.max()))
    begun, rows = prefixes(listed), []
    with tempfile.TemporaryDirectory() as place:
        for rung in RUNGS:
            folder = Path(place) / rung
            line = ["train", "--data", "given-names", "--rung", rung, "--steps", str(steps), "--out", str(folder)]
            rungwise(line)
            rows += [run_directory(folder, inputs)] if rung == RUNGS[0] else []
            rows += [to_onnx(folder, rung, inputs, begun)]
            rows += [to_transformers(folder, rung, inputs, begun)] if rung != RUNGS[0] else []
        rows.append(to_tokenizers(listed, "given-names"))
        rows.append(to_tokenizers(words.from_words(ODD), "odd words"))
        rows.append(to_tensorboard(Path(place) / "events"))
    if makemore:
        rows += to_makemore(makemore)
    return {"data": listed.name, "steps": steps, **provenance(), "date": now(), "rows": rows}


# ------------------------------------------------------------------------------------------------- tables


def round_trips() -> str:
    """What was measured, a row each."""

    def number(value: float) -> str:
        return f"{int(value):,}" if value == int(value) else f"{value:.1e}"

    measured = read_json(FILE)
    rows = (
        (
            *(r[name] for name in ("to", "by", "compared")),
            f"{r['n']:,}",
            number(r["error"]),
            f"{r['spelled'][0]} of {r['spelled'][1]}" if r["spelled"] else "",
        )
        for r in measured["rows"]
    )
    columns = {"goes to": "---", "read by": "---", "what is compared": "---", "how many": "--:"}
    return common.table(columns | {"largest difference": "--:", "greedy words equal": "--:"}, rows) + (
        f"\nModels of these rungs after {measured['steps']:,} steps on {measured['data']}; logits of every position of "
        "that many test words. One run; `python -m scripts.round_trips` measures it again. The same figures come up "
        "again because float32 is coarse: between 4 and 8, where the largest logits lie, neighbours are 4.8e-7 apart.\n"
    )


def homes() -> str:
    """What each class of transformers takes, and the rungs that fit."""
    rows = (
        (
            home.name,
            ", ".join(f"{field} {' or '.join(map(str, ok))}" for field, ok in home.needs.items())
            + ("; heads of any size" if home.any_head_size else "; heads of n_embd / n_head"),
            ", ".join(name for name, rung in LADDER.items() if not home.unmet(rung.model)),
        )
        for home in HOMES
    )
    return common.table(dict.fromkeys(("class", "what a model must be", "rungs"), "---"), rows)


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("--makemore", type=Path, help="its checkout; without it, its rows are left out")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    measured = measure(options.makemore, options.steps)
    common.keep(options.out, measured)
    for line in measured["rows"]:
        print(line)


if __name__ == "__main__":
    main()

"""Train on real lists, as `rungwise train` does by default and, of large ones, with --budget 15m; and count n-grams.

Run: python -m scripts.real_lists [--out runs/real] [--seeds 3] [LIST ...]. Writes results/lists.json, of which table()
makes the table in docs/lab-notes.md.

Lists: given-names (bundled), names (the article's), english and ukrainian (Debian's wamerican and wukrainian:
apt-get install wamerican wukrainian), full-names (a million lines, made here from the Faker package). One that is
not on this machine is left out, with a message. The same command resumes where it was stopped; finished lists are only
read, and with --no-training those that were stopped, too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.analysis.stats import summary
from rungwise.analysis.tables import show
from rungwise.config import ModelConfig
from rungwise.config.settings import Settings
from rungwise.data import words
from rungwise.data.describe import survey
from rungwise.errors import UserError
from rungwise.inference.sample import Sampling, generate
from rungwise.inference.score import score
from rungwise.model.cost import n_parameters
from rungwise.training import run, run_dir
from rungwise.util import files
from scripts import common

FILE = common.RESULTS / "lists.json"
MILLION = 1_000_000
N_SAMPLES = 20
LARGE, BUDGET = 50_000, "15m"
"""Training words from which on a list gets so much time."""
LOCALES, KINDS = ("de_DE", "en_GB", "es_ES", "fr_FR", "it_IT", "pl_PL"), ("first_names", "last_names")
DICTIONARIES = Path("/usr/share/dict")


def full_names(folder: Path) -> str:
    """A million lines "Given Surname", drawn from the names of six of Faker's locales."""
    path = folder / "full-names.txt"
    if not path.exists():
        rng, lines = np.random.default_rng(0), []
        for locale in LOCALES:
            provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
            given, family = (sorted({str(name) for name in getattr(provider, kind)}) for kind in KINDS)
            n = -(-MILLION // len(LOCALES))
            lines += [f"{a} {b}" for a, b in zip(rng.choice(given, n), rng.choice(family, n), strict=True)]
        files.write_text(path, "".join(f"{line}\n" for line in lines[:MILLION]))
    return str(path)


def dictionary(*names: str) -> Callable[[Path], str]:
    def find(folder: Path) -> str:
        for name in names:
            if (DICTIONARIES / name).exists():
                return str(DICTIONARIES / name)
        raise UserError(f"none of {', '.join(names)} in {DICTIONARIES}")

    return find


LISTS: dict[str, Callable[[Path], str]] = {
    "given-names": lambda folder: "given-names",
    "names": lambda folder: "names",
    "english": dictionary("american-english", "words"),
    "ukrainian": dictionary("ukrainian"),
    "full-names": full_names,
}


def described(out: Path, listed: words.WordList) -> dict[str, Any]:
    """What `rungwise data` prints, in a file next to the run."""
    path = out.with_suffix(".json")
    if not path.exists():
        files.write_text(path, json.dumps(survey(listed, words.DEFAULT.max_length), ensure_ascii=False))
    return json.loads(path.read_text(encoding="utf-8"))


def last(out: Path, listed: words.WordList) -> dict[str, Any]:
    """How a run ended; of one that was stopped, the test loss of the best weights so far."""
    lines = files.read_lines(out / run_dir.METRICS)
    if "final_test_loss" in lines[-1]:
        return lines[-1]
    stopped, best = run_dir.load(out), min(lines, key=lambda line: line["val_loss"])
    test_loss = score(stopped.model, common.tape(listed, stopped.protocol, "test")).loss
    by_part = {"train": best["train_loss"], "validation": best["val_loss"], "test": test_loss}
    losses = {f"final_{part}_loss": loss for part, loss in by_part.items()}
    return {"step": lines[-1]["step"], "best_step": best["step"], **losses}


def measure(name: str, out: Path, training: bool, n_seeds: int) -> dict[str, Any]:
    """Train, resume or only read runs, a seed each; the figures of the list's row."""
    source = LISTS[name](out.parent)
    listed = words.load(source)
    description = described(out, listed)
    large = 0.8 * description["distinct"] > LARGE
    how = {"budget": BUDGET, "threads": 1} if large else {}
    folders = [out / f"seed-{seed}" for seed in range(n_seeds)]
    for seed, folder in enumerate(folders if training else ()):
        if (folder / run_dir.CONFIG).exists():
            run.resume(folder)
        else:
            run.start(folder, Settings.of({"data": source, "seed": seed, **how}, "real_lists"))
    configs, ends = run_dir.load_config(folders[0]), [last(folder, listed) for folder in folders]
    beat, parts = description["to_beat"], ("train", "validation", "test")
    return {
        "sha256": description["sha256"],
        "lines": description["words"],
        "distinct": description["distinct"],
        "characters": len(description["alphabet"]),
        "bigram": beat["bigram"],
        "kneser_ney_5": beat["by_order"]["5"],
        "kneser_ney_best": beat["kneser_ney"],
        "kneser_ney_order": beat["kneser_ney_order"],
        "recipe": f"--budget {BUDGET} --threads 1" if large else "default",
        "model": configs.model.to_dict(),
        "train": configs.train.to_dict(),
        "seeds": list(range(n_seeds)),
        "steps": ends[0]["step"],
        "best_step": ends[0]["best_step"],
        **{f"{part}_losses": [end[f"final_{part}_loss"] for end in ends] for part in parts},
        "samples": drawn(folders[0]),
    }


def drawn(out: Path) -> list[str]:
    """Words that the list does not have, for the README."""
    trained = run_dir.load(out)
    sampling = Sampling(unique=True, new_only=True)
    words_ = generate(trained.model, trained.vocabulary, N_SAMPLES, trained.sampled_firsts, sampling, 0, trained.known)
    return [word.text for word in words_]


def keep(name: str, row: dict[str, Any]) -> None:
    """Into the file that the documentation's table is made from, in the order of LISTS."""
    rows = files.read_json(FILE) if FILE.exists() else {}
    rows[name] = row
    files.write_json(FILE, {name: rows[name] for name in LISTS if name in rows})


def table() -> str:
    """What was measured, a row a list; a loss below the best n-gram baseline is bold."""
    rows = []
    for name, row in files.read_json(FILE).items():
        losses, taught = summary(row["test_losses"]), row["train"].get("teachers", 0)
        bold = "**" * (losses.mean < row["kneser_ney_best"])
        planned = row["train"]["steps"]
        stopped = "" if row["steps"] == planned else f" (stopped after {row['steps']:,} of {planned:,} steps)"
        cells = (
            name,
            *(f"{row[key]:,}" for key in ("lines", "distinct", "characters")),
            *(f"{row[key]:.3f}" for key in ("bigram", "kneser_ney_5")),
            f"{row['kneser_ney_best']:.3f} ({row['kneser_ney_order']})",
            f"{bold}{show(losses)}{bold}",
            len(row["test_losses"]),
            row["recipe"] + (f", {taught} teachers" if taught else ""),
            f"{n_parameters(ModelConfig(**row['model'])):,}",
            f"{row['steps'] * row['train']['batch_size'] / (0.8 * row['distinct']):.1f}{stopped}",
        )
        rows.append(cells)
    head = ("lines", "distinct", "characters", "bigram", "5-gram", "best n-gram (order)", "transformer", "n", "recipe")
    columns = {"list": "---"} | dict.fromkeys([*head, "parameters", "epochs"], "--:")
    under = (
        "Test losses, protocol strict, nats a character, mean ± 95 % interval over n seeds; bold: below the best n-gram"
    )
    return common.table(columns, rows) + f"\n{under}. n-grams: interpolated Kneser-Ney.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--no-training", action="store_true", help="read runs as they are, stopped ones too")
    parser.add_argument("lists", nargs="*", choices=[*LISTS, []], help=", ".join(LISTS))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.lists or LISTS:
        try:
            keep(name, row := measure(name, arguments.out / name, not arguments.no_training, arguments.seeds))
        except UserError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            print({key: value for key, value in row.items() if key not in ("model", "train")})


if __name__ == "__main__":
    main()

"""Train on real lists, each with the defaults of `rungwise train`, and print losses beside the bigram and Kneser-Ney.

Run: python scripts/real_lists.py [--out runs/real] [LIST ...]

Lists: given-names (bundled), names (the article's), english and ukrainian (Debian's wamerican and wukrainian:
apt-get install wamerican wukrainian), full-names (a million lines, made here from the Faker package). One that cannot
be had is told and left out. The same command goes on where it was stopped; finished lists are only read.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rungwise import practice, runs, words
from rungwise.config import UserError
from rungwise.settings import Settings
from rungwise.survey import survey

MILLION = 1_000_000
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
        runs.write_text(path, "".join(f"{line}\n" for line in lines[:MILLION]))
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


def counted(out: Path, listed: words.WordList) -> dict[str, Any]:
    """What `rungwise data` tells, kept beside the run."""
    path = out.with_suffix(".json")
    if not path.exists():
        runs.write_text(path, json.dumps(survey(listed, words.MAX_LENGTH), ensure_ascii=False))
    return json.loads(path.read_text(encoding="utf-8"))


def measure(name: str, out: Path) -> dict[str, Any]:
    """Train, or go on, or just read; the figures of a row."""
    source = LISTS[name](out.parent)
    found = counted(out, words.load(source))
    if (out / runs.CONFIG).exists():
        practice.resume(out)
    else:
        practice.start(out, Settings.of({"data": source}, "real_lists"))
    configs = runs.load_config(out)
    final = runs.read_lines(out / runs.METRICS)[-1]
    return {
        "list": name,
        "lines": found["words"],
        "distinct": found["distinct"],
        "characters": len(found["alphabet"]),
        **found["to_beat"],
        "steps": final["step"],
        "batch": configs.train.batch_size,
        "loss": final["final_test_loss"],
    }


def rows(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "| list | lines | distinct | characters | bigram | Kneser-Ney (order) | transformer | steps x batch |"
    yield "|---|---|---|---|---|---|---|---|"
    for r in found:
        best = "**" * (r["loss"] < r["kneser_ney"])
        yield (
            f"| {r['list']} | {r['lines']:,} | {r['distinct']:,} | {r['characters']} | {r['bigram']:.3f} "
            f"| {r['kneser_ney']:.3f} ({r['kneser_ney_order']}) | {best}{r['loss']:.3f}{best} "
            f"| {r['steps']:,} x {r['batch']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("lists", nargs="*", choices=[*LISTS, []], help=", ".join(LISTS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name in arguments.lists or LISTS:
        try:
            found.append(measure(name, arguments.out / name))
        except UserError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    print("\nTest losses, protocol strict, in nats a character:\n")
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()

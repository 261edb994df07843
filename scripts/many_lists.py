"""Where does each part pay? The article's eight rungs on eight lists in four scripts, at two sizes.

Run: python -m scripts.many_lists [--work runs/lists] [--out results/more/lists.json] [--splits 5] [LIST ...]

The same command goes on where it was stopped. A list that is not on this machine is left out, with a message; one that
is shorter than a size is taken whole. table() gives a mixed-effects estimate a part (statsmodels): its gain on a list
like these, and how far lists differ.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.analysis.evidence import read
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.ladder import RUNGS, select
from rungwise.report import plots
from rungwise.report.document import Figure
from rungwise.report.plots import SERIES as MARKS
from rungwise.util.files import read_json
from rungwise.util.provenance import now, provenance
from scripts import common, real_lists

FILE = common.RESULTS / "more/lists.json"
SIZES = (1_000, 10_000)
STEPS = [rung.name for rung in select("article") if rung.on]


def of_faker(kind: str, attributes: tuple[str, ...], *locales: str) -> Callable[[Path], list[str]]:
    """The distinct names of some of Faker's locales."""

    def find(_: Path) -> list[str]:
        found: set[str] = set()
        for locale in locales:
            provider = importlib.import_module(f"faker.providers.{kind}.{locale}").Provider
            found |= {str(value) for attribute in attributes for value in getattr(provider, attribute, ())}
        return sorted(found)

    return find


def molecules(_: Path) -> list[str]:
    """Made-up chains, branches and rings in SMILES: a language with brackets to close, and digits to repeat."""
    rng, found = np.random.default_rng(0), set[str]()
    while len(found) < 12_000:
        text = ""
        for _part in range(rng.integers(2, 7)):
            atom = str(rng.choice(["C", "C", "C", "N", "O", "CC", "C=C", "S"]))
            ring = f"c1{'c' * int(rng.integers(3, 5))}{rng.choice(['c', 'n'])}1"
            text += str(rng.choice([atom, atom, f"({atom})", f"C({atom})", ring]))
        found.add(f"C{text}")
    return sorted(found)


def loaded(name: str) -> Callable[[Path], list[str]]:
    def find(folder: Path) -> list[str]:
        listed = words.load(real_lists.LISTS[name](folder))
        return sorted({listed[i] for i in range(len(listed))})

    return find


LISTS: dict[str, Callable[[Path], list[str]]] = {
    "given-names": loaded("given-names"),
    "names": loaded("names"),
    "english": loaded("english"),
    "ukrainian": loaded("ukrainian"),
    "surnames": of_faker("person", ("last_names",), "de_DE", "en_US", "fr_FR", "it_IT", "cs_CZ"),
    "towns": of_faker("address", ("cities",), "it_IT"),
    "greek-names": of_faker("person", ("first_names", "last_names"), "el_GR"),
    "molecules": molecules,
}


def measure(name: str, size: int, work: Path, splits: int, steps: int | None) -> dict[str, Any]:
    """Step -> its gain on each split, nats a character (above zero is better)."""
    every = LISTS[name](work)
    chosen = np.sort(np.random.default_rng(0).permutation(len(every))[:size])
    listed = words.from_words([every[i] for i in chosen], f"{len(chosen)} of {name}")
    experiment = Experiment(listed, get_protocol("strict"), select("article"), [0], steps, splits=splits)
    out = work / f"{name}-{size}"
    run(experiment, out, make_pool(experiment.how))
    measured = read([out]).main
    gains = {rung: (-measured.combine({rung: 1, str(RUNGS[rung].on): -1})).tolist() for rung in STEPS}
    return {"words": len(chosen), "characters": len(listed.vocabulary) - 2, "gains": gains}


def mixed(rows: list[tuple[str, int, float]]) -> tuple[float, float, float, float]:
    """(list, words, gain) a row -> the gain on a list like these with its 95 % interval, and the sd between lists."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    frame = pd.DataFrame(rows, columns=pd.Index(["list", "words", "gain"]))
    size = np.log10(frame["words"]) - np.log10(frame["words"]).mean()
    design = np.column_stack([np.ones(len(frame)), size])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of zero between lists is an answer, too
        fit: Any = MixedLM(frame["gain"].to_numpy(), design, groups=frame["list"].to_numpy()).fit()
    mean, error = float(fit.fe_params[0]), float(fit.bse_fe[0])
    return mean, mean - 1.96 * error, mean + 1.96 * error, float(np.sqrt(np.asarray(fit.cov_re)[0, 0]))


def cells() -> dict[str, dict[str, Any]]:
    return read_json(FILE)["cells"]


def table() -> str:
    columns = {"part": "---", "gain on a list like these": "--:", "sd between lists": "--:"}
    rows = []
    for rung in STEPS:
        found = [(key.rpartition("-")[0], c["words"], gain) for key, c in cells().items() for gain in c["gains"][rung]]
        mean, low, high, between = mixed(found)
        rows.append((RUNGS[rung].title, f"{mean:.3f} ± {(high - low) / 2:.3f}", f"{between:.3f}"))
    return common.table(columns, rows)


def figure() -> Figure:
    """Parts by lists: the gain on each, with its interval over splits."""
    from rungwise.analysis.stats import summary

    def paint(canvas: plots.Canvas) -> None:
        axes = canvas.add_subplot()
        titles = [RUNGS[rung].title for rung in STEPS]
        for y, rung in zip(plots.rows(axes, titles), STEPS, strict=True):
            for i, (key, cell) in enumerate(cells().items()):
                s, at = summary(cell["gains"][rung]), y + (i / max(1, len(cells()) - 1) - 0.5) * 0.7
                axes.plot([s.low, s.high], [at, at], color=MARKS[i // len(SIZES) % len(MARKS)], linewidth=1)
                label = key if y == 0 else None
                axes.plot(s.mean, at, "os"[i % 2], markersize=3, color=MARKS[i // len(SIZES) % len(MARKS)], label=label)
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.set_xlabel("gain in test loss, nats a character")
        canvas.legend(loc="outside lower center", frameon=False, ncols=2)

    title = "Where each part pays"
    about = "The gain of each step of the ladder on each list, with 95 % intervals over splits."
    return plots.figure("many-lists", title, about, about, 1.5 + 0.9 * len(STEPS), paint)


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--work", type=Path, default=Path("runs/lists"))
    arguments.add_argument("--splits", type=int, default=5)
    arguments.add_argument("--steps", type=int)
    arguments.add_argument("lists", nargs="*", choices=[*LISTS, []])
    given = arguments.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in given.lists or LISTS:
        for size in SIZES:
            try:
                found[f"{name}-{size}"] = measure(name, size, given.work, given.splits, given.steps)
            except (UserError, ImportError) as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
            else:
                common.keep(given.out, {"cells": found, "splits": given.splits, **provenance(), "date": now()})


if __name__ == "__main__":
    main()

"""Learning-rate fairness: every rung at the best of a small grid, chosen on validation. No torch here.

A ladder at one fixed rate flatters the rungs which that rate suits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rungwise.files import write_json
from rungwise.lab.ladder import Rung
from rungwise.lab.results import Result, by_rung

TUNING = "tuning.json"
GRID = (3e-4, 1e-3, 3e-3, 1e-2)
"""Each about three times the last; a rung's own rate is tried too."""


def variants(rungs: Sequence[Rung]) -> list[Rung]:
    """Each rung at every rate of the grid but its own: RUNG@RATE, a diff of the rung like any other."""
    return [
        Rung(f"{r.name}@{rate:g}", f"{r.title}, {rate:g}", r.group, r.name, {"learning_rate": rate}, r.why, "rungwise")
        for r in rungs
        for rate in GRID
        if rate != r.train.learning_rate
    ]


def is_variant(rung: Rung) -> bool:
    return "@" in rung.name


def best(rungs: Sequence[Rung], results: Sequence[Result]) -> dict[str, tuple[float, list[Result]]]:
    """Rung -> its best rate by mean validation loss over seeds, and the results there. Test is never looked at."""
    groups, found = by_rung(results), {}
    for rung in rungs:
        tried = {
            mine[0].train["learning_rate"]: mine
            for name, mine in groups.items()
            if name == rung.name or name.startswith(f"{rung.name}@")
        }
        if tried:
            rate = min(tried, key=lambda rate: _mean(tried[rate]))
            found[rung.name] = rate, tried[rate]
    return found


def _mean(results: Sequence[Result]) -> float:
    losses = [r.val_loss if r.val_loss is not None else math.inf for r in results]
    return sum(losses) / len(losses)


def write(out: Path, rungs: Sequence[Rung], results: Sequence[Result]) -> None:
    """tuning.json: per rung the validation losses of every rate, by seed, and the rate that was best."""
    groups, about = by_rung(results), dict[str, Any]()
    for name, (rate, _) in best(rungs, results).items():
        tried = [mine for key, mine in groups.items() if key == name or key.startswith(f"{name}@")]
        losses = {f"{mine[0].train['learning_rate']:g}": [r.val_loss for r in mine] for mine in tried}
        about[name] = {"rates": dict(sorted(losses.items(), key=lambda item: float(item[0]))), "best": rate}
    write_json(out / TUNING, {"rungs": about})

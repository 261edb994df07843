"""Learning-rate fairness: every rung at the best of a small grid, chosen on validation. No torch here.

A ladder at one fixed rate flatters the rungs which that rate suits. What was tried is in results.jsonl, as rungs
RUNG@RATE, and everything is derived from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rungwise.errors import UserError
from rungwise.experiment.results import Result, by_rung, matches, replicate
from rungwise.ladder import RUNGS, Rung, get_rung, variant

GRID = (3e-4, 1e-3, 3e-3, 1e-2)
"""Each about three times the last; a rung's own rate is tried too."""


def variants(rungs: Sequence[Rung]) -> list[Rung]:
    """Each rung at every rate of the grid but its own."""
    return [variant(rung, "learning_rate", rate) for rung in rungs for rate in GRID if rate != rung.train.learning_rate]


def is_variant(name: str) -> bool:
    return "@" in name


def trained_so(result: Result, steps: int | None) -> bool:
    """Was this result of RUNG@VALUE trained as the ladder now says, except for the value in its name?"""
    try:
        return is_variant(result.rung) and matches(result, get_rung(result.rung), steps)
    except UserError:  # no number, or no rate
        return False


@dataclass(frozen=True)
class Tuned:
    """A rung at several learning rates, on the replicates that all of these have."""

    tried: dict[float, list[Result]]
    """Rate -> its results, by split and seed."""

    def validation(self, rate: float) -> float:
        """Mean validation loss at a rate, nats a scored character."""
        return float(np.mean([r.val_loss for r in self.tried[rate] if r.val_loss is not None]))

    @property
    def best(self) -> float:
        """The rate of the lowest mean validation loss. Test losses are never used."""
        return min(self.tried, key=self.validation)


def tuned(results: Sequence[Result]) -> dict[str, Tuned]:
    """Rung -> what was tried, in the ladder's order: of the results of one list and protocol. A rung of which no two
    rates share a replicate with a validation loss is left out."""
    groups = by_rung(r for r in results if r.val_loss is not None)
    found = {}
    for name in RUNGS:
        tried = {
            mine[0].train["learning_rate"]: {replicate(r): r for r in mine}
            for key, mine in groups.items()
            if key.partition("@")[0] == name and "=" not in key
        }
        most = max(tried.values(), key=len, default={})
        tried = {rate: mine for rate, mine in tried.items() if mine.keys() & most.keys()}
        if len(tried) > 1 and (common := sorted(set.intersection(*(set(mine) for mine in tried.values())))):
            found[name] = Tuned({rate: [tried[rate][key] for key in common] for rate in sorted(tried)})
    return found

"""The ladder with a fair rate for each rung: every rung at seven rates from 1e-4 to 1e-2, chosen on validation words.

Run: python -m scripts.tuned_ladder [--out runs/tuned] [--data names] [--rungs article,scaling] [--splits 5]

Rungs are RUNG@RATE of an ordinary climb in protocol strict, so the same command goes on where it was stopped, and
`rungwise report` reads the directory. Where the best rate of a rung lies at an edge, rates beyond are tried for it,
until it does not.
"""

from __future__ import annotations

from pathlib import Path

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.tune import tuned
from rungwise.ladder import Rung, select, variant
from scripts import common

RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
LOWEST, HIGHEST = 1e-5, 0.1


def beyond(rates: list[float], best: float) -> float | None:
    """The next rate to try where the best one is at an edge; None where it lies inside."""
    if best not in (rates[0], rates[-1]):
        return None
    rate = float(f"{best / 2:.1g}") if best == rates[0] else float(f"{best * 2:.1g}")
    return rate if LOWEST <= rate <= HIGHEST else None


def main() -> None:
    arguments = common.parser(__doc__, Path("runs/tuned"))
    arguments.add_argument("--data", default="names")
    arguments.add_argument("--rungs", default="article,scaling")
    arguments.add_argument("--splits", type=int, default=5)
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    listed, rungs = words.load(given.data), select(given.rungs)
    wanted: list[Rung] = [variant(rung, "learning_rate", rate) for rung in rungs for rate in RATES]
    while wanted:
        every = list({rung.name: rung for rung in wanted}.values())
        experiment = Experiment(listed, get_protocol("strict"), every, [0], given.steps, splits=given.splits)
        found = tuned(run(experiment, given.out, make_pool(experiment.how)))
        wanted = []
        for rung in rungs:
            rates, best = sorted(found[rung.name].tried), found[rung.name].best
            print(f"{rung.name}: best at {best:g} of {', '.join(f'{rate:g}' for rate in rates)}", flush=True)
            if rate := beyond(rates, best):
                wanted.append(variant(rung, "learning_rate", rate))


if __name__ == "__main__":
    main()

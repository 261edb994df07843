"""The ladder with a fair rate for each rung: each at several rates, chosen on validation words of protocol strict.

Run: python -m scripts.tuned_ladder [--out runs/tuned] [--data names] [--rungs article,scaling] [--splits 5]

Rungs are RUNG@RATE of an ordinary climb, so the same command goes on where it was stopped, and `rungwise report` reads
the directory. Where the best rate of a rung lies at an edge, rates beyond are tried for it, until it does not. With
--then N, each rung is trained at its best rate with N seeds of the first split, there and in protocol makemore, in
OUT-makemore.
"""

from __future__ import annotations

from pathlib import Path

from rungwise.analysis.stats import paired, summary
from rungwise.analysis.tables import show
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import RESULTS, Result, by_rung, losses, paired_losses, read
from rungwise.experiment.tune import tuned
from rungwise.ladder import RUNGS, Rung, select, variant
from scripts import common

FOLDER = common.RESULTS / "more/tuned"
"""What is kept of the article's rungs: python -m scripts.keep_results runs/tuned results/more/tuned"""

RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
LOWEST, HIGHEST = 1e-5, 0.1


def table() -> str:
    """The article's rungs, each at its best rate, beside the steps at the one rate of the ladder."""
    results = read(FOLDER / RESULTS)
    found, at_one = tuned(results), by_rung(results)
    columns = {"rung": "---", "best rate": "--:", "test there": "--:", "step, each at its best": "--:"}
    columns["step at one rate (1e-3)"] = "--:"
    rows = []
    for name, mine in found.items():
        best, below = mine.tried[mine.best], RUNGS[name].on
        step = one = None
        if below in found:
            step = paired(*paired_losses(found[below].tried[found[below].best], best))
            one = paired(*paired_losses(at_one[below], at_one[name]))
        shown = (show(summary(losses(best))), show(step, signed=True), show(one, signed=True))
        rows.append((RUNGS[name].title, f"{mine.best:g}", *shown))
    rates = sorted({rate for mine in found.values() for rate in mine.tried})
    splits = len({r.split_seed for r in results})
    return common.table(columns, rows) + (
        f"\nNats a scored character, protocol strict; mean over {splits} splits ± 95 % CI, paired. Rates tried: "
        f"{', '.join(f'{rate:g}' for rate in rates)}; each rung's is chosen on validation words, and none lies at an "
        "edge.\n"
    )


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
    arguments.add_argument("--rates", type=float, nargs="+", default=RATES)
    arguments.add_argument("--splits", type=int, default=5)
    arguments.add_argument("--seeds", type=int, default=1, help="of each split")
    arguments.add_argument("--then", type=int, default=0, metavar="N", help="seeds at the best rate, in both protocols")
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    listed, rungs = words.load(given.data), select(given.rungs)

    def measured(wanted: list[Rung], seeds: int, splits: int, protocol: str, out: Path) -> list[Result]:
        every = list({rung.name: rung for rung in wanted}.values())
        experiment = Experiment(listed, get_protocol(protocol), every, range(seeds), given.steps, splits=splits)
        return run(experiment, out, make_pool(experiment.how))

    wanted = [variant(rung, "learning_rate", rate) for rung in rungs for rate in given.rates]
    best: list[Rung] = []
    while wanted:
        found = tuned(measured(wanted, given.seeds, given.splits, "strict", given.out))
        best = [variant(rung, "learning_rate", found[rung.name].best) for rung in rungs]
        wanted = []
        for rung in rungs:
            rates, rate = sorted(found[rung.name].tried), found[rung.name].best
            print(f"{rung.name}: best at {rate:g} of {', '.join(f'{rate:g}' for rate in rates)}", flush=True)
            if further := beyond(rates, rate):
                wanted.append(variant(rung, "learning_rate", further))
    if given.then:
        measured(best, given.then, 1, "strict", given.out)
        measured(best, given.then, 1, "makemore", given.out.with_name(f"{given.out.name}-makemore"))


if __name__ == "__main__":
    main()

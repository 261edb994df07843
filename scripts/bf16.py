"""Does training with bf16 products end where fp32 does? python -m scripts.bf16

Every rung, list names, protocol article, 5 seeds, engine native in both precisions, losses paired by seed: equivalent
where the mean difference is shown to be within 0.005 nats. Writes results/performance/bf16.json; a stopped climb under
--work goes on.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rungwise.analysis.stats import equivalence
from rungwise.config import EngineConfig, get_protocol
from rungwise.data import words
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import by_rung, paired_losses
from rungwise.ladder import RUNGS, select
from rungwise.util.files import read_json
from rungwise.util.provenance import describe_machine
from scripts import common

FILE = common.PERFORMANCE / "bf16.json"
SEEDS = range(5)
MARGIN = 0.005
"""Nats a character."""


def table() -> str:
    """Each rung's losses and verdict, and how many rungs have which."""
    if not FILE.exists():
        return "Not measured yet.\n"
    found, rows = read_json(FILE), []
    for name, losses in found["test_losses"].items():
        exact, rounded = losses["fp32"], losses["bf16"]
        verdict = equivalence([b - a for a, b in zip(exact, rounded, strict=True)], MARGIN)
        apart, interval = fmean(rounded) - fmean(exact), f"{verdict.low:+.4f} to {verdict.high:+.4f}"
        equal = "yes" if verdict.equivalent else "no"
        rows.append((RUNGS[name].title, f"{fmean(exact):.4f}", f"{apart:+.4f}", interval, f"{verdict.p:.1g}", equal))
    columns = {"rung": "---", "fp32": "--:", "bf16 - fp32": "--:", "90 % CI": "--:", "p": "--:", "equivalent": "---"}
    equal = sum(row[-1] == "yes" for row in rows)
    return common.table(columns, rows) + (
        f"\nTest loss, list {found['list']}, protocol {found['protocol']}, {found['seeds']} seeds, differences "
        f"paired by seed; {found['machine']['cpu']}. Equivalent, within {MARGIN} nats by two one-sided t tests at 5 %: "
        f"{equal} of {len(rows)} rungs. No means not shown: the seeds may differ too much to tell.\n"
    )


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--work", type=Path, default=Path("runs/bf16"))
    arguments.add_argument("--rungs", default="all")
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    listed, protocol, groups = words.load("names"), get_protocol("article"), {}
    for precision in ("fp32", "bf16"):
        how = EngineConfig("native", precision=precision)
        experiment = Experiment(listed, protocol, select(given.rungs), SEEDS, given.steps, how=how)
        groups[precision] = by_rung(run(experiment, given.work / precision, make_pool(how)))
    exact, rounded = groups["fp32"], groups["bf16"]
    losses = {name: dict(zip(groups, paired_losses(exact[name], rounded[name]), strict=True)) for name in exact}
    about = {"list": listed.name, "protocol": protocol.name, "seeds": len(SEEDS), "machine": describe_machine()}
    common.keep(given.out, {**about, "steps": given.steps or "each rung's own", "test_losses": losses})


if __name__ == "__main__":
    main()

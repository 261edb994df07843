"""`rungwise climb --until settled`: splits are added until each question is answered."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rungwise.analysis.settle import FIRST, follow, looks
from rungwise.analysis.verdicts import signed
from rungwise.cli.options import ClimbCommand
from rungwise.errors import UserError
from rungwise.experiment.climb import run
from rungwise.experiment.ladder_file import Question
from rungwise.experiment.plan import Experiment, Pool, Progress, cost
from rungwise.experiment.results import Result

HEADER = ("from", "to", "the second is", "change", "interval", "splits")


def to_settle(request: ClimbCommand, plan: Experiment, own: Sequence[Question]) -> list[Question]:
    """The questions of --until settled: those of one's own ladder, or else each step of the rungs."""
    if request.until != "settled":
        return []
    if request.splits < FIRST:
        raise UserError(f"--until settled adds splits, --splits at most: give {FIRST} or more.")
    for name, ok, what in (("margin", request.margin > 0, "above 0"), ("error", 0 < request.error < 1, "in (0, 1)")):
        if not ok:
            raise UserError(f"{name} must be {what}, but is {getattr(request, name)}.")
    names = {rung.name for rung in plan.rungs}
    steps = [Question(rung.name, rung.on, request.margin) for rung in plan.rungs if rung.on and rung.on in names]
    if not (found := list(own) or steps):
        raise UserError("--until settled needs something to compare: two rungs, one of which builds on the other.")
    return found


def run_until_settled(
    request: ClimbCommand,
    plan: Experiment,
    out: Path,
    questions: Sequence[Question],
    pool: Callable[[], Pool],
    report: Callable[[Progress], None],
) -> list[Result]:
    """Add splits, to the rungs of open questions alone and the cheapest first, until nothing is open."""
    results, at = list[Result](), looks(request.splits)
    while True:
        states = [follow(q, results, plan.split_seed, at, request.error, len(questions)) for q in questions]
        wanted = [n for _, n in states if n]
        if not wanted:
            return results
        n = min(wanted)
        names = {name for q, (_, m) in zip(questions, states, strict=True) if m == n for name in (q.before, q.after)}
        rungs = sorted((rung for rung in plan.rungs if rung.name in names), key=lambda rung: cost(rung, plan.steps))
        step = dataclasses.replace(plan, rungs=rungs, splits=n)
        results = run(step, out, pool(), report)


def settled_rows(
    request: ClimbCommand, plan: Experiment, questions: Sequence[Question], results: Sequence[Result]
) -> list[tuple[str, ...]]:
    """What is settled, and how many splits it would take to settle what is not."""
    rows = []
    for q in questions:
        look, _ = follow(q, results, plan.split_seed, looks(request.splits), request.error, len(questions))
        if look:
            open_ = "inconclusive" + (f"; about {look.needed:,} splits would settle it" if look.needed else "")
            interval = f"{signed(look.low)} to {signed(look.high)}"
            answer = f"{look.answer} (±{q.margin:g})" if look.answer else open_
            rows.append((q.before, q.after, answer, signed(look.mean), interval, str(look.splits)))
    return rows

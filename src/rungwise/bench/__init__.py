"""`rungwise bench`: how fast, how near the limits, and compared with others from their own checkouts, in interleaved
rounds. Imports experiment, training and what lies below.

A shared machine is noisy: every round measures all of it, one after the other, and only ratios inside one round count.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rungwise.bench import ours
from rungwise.bench.limits import Work
from rungwise.bench.peers import Makemore, MicrogptC
from rungwise.bench.summary import WHOLE, ratios, text
from rungwise.config import EngineConfig
from rungwise.data import words
from rungwise.engine.select import choose_engine
from rungwise.errors import UserError
from rungwise.ladder import get_rung
from rungwise.model.cost import flop, n_parameters
from rungwise.util import files, progress
from rungwise.util.machine import cores
from rungwise.util.provenance import describe_machine

TRAINED = {
    "scaled_8": ("scaled", 8),
    "scaled_1": ("scaled", 1),
    "gelu_8": ("gelu", 8),
    "gelu_1": ("gelu", 1),
    "dropout_1": ("dropout-5k", 1),
}
"""What is trained in every round: rung and replicas."""
CLIMB_SEEDS = 5
"""Of the article's ladder, to compare with makemore's one model."""

Measured = dict[str, dict[str, list[float]]]
"""Who -> what -> a value a round: milliseconds a step and seed, or names a second."""


@dataclass(frozen=True)
class Sizes:
    """How much each measurement does."""

    steps: int = 192
    names: int = 40_000
    trained: int = 512
    """Steps of the models whose words are drawn."""
    their_steps: int = 400
    their_names: int = 1_000
    c_names: int = 10_000
    climb_steps: int | None = 250
    helps: int = 5


SHORT = Sizes(steps=2, names=50, trained=2, their_steps=40, their_names=10, c_names=100, climb_steps=1, helps=1)


@dataclass(frozen=True)
class Request:
    """What is asked for; `rungwise bench --help` says what each is."""

    rounds: int
    short: bool
    makemore: Path | None
    microgpt_c: Path | None
    full: bool
    data: str
    engine: str


def bench(request: Request, as_json: bool, out: Path | None) -> None:
    """Measure, print as text or JSON, and write JSON to `out`."""
    measured = measure(request)
    print(json.dumps(measured, indent=1) if as_json else text(measured))
    if out:
        with files.atomic(out) as temporary:
            temporary.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        print(f"Wrote {out}", file=sys.stderr)


def measure(request: Request) -> dict[str, Any]:
    """All that is measured, as it stands in --json."""
    if request.rounds < 1:
        raise UserError(f"rounds must be at least 1, but is {request.rounds}.")
    sizes = SHORT if request.short else Sizes(climb_steps=None) if request.full else Sizes()
    engine, listed = choose_engine(EngineConfig(request.engine)), words.load(request.data)
    with contextlib.ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rungwise-bench-")))
        makemore, microgpt_c = _peers(request, sizes, listed, aside)
        workers = stack.enter_context(ours.Workers(request.data, engine))
        measured: Measured = {}
        work = Work.of(ours.tape(request.data), get_rung("scaled").train, 4 if request.short else 64)
        once: dict[str, Any] = {}
        rounds = 1 if request.short else request.rounds
        a_round = list(_a_round(workers, makemore, microgpt_c, sizes, measured))
        tasks = [*_once(request, sizes, engine, workers, makemore, work, once), *(a_round * rounds)]
        with progress.bar(len(tasks), what="measurements") as advance:
            for i, (what, task) in enumerate(tasks):
                advance(i, what)
                task()
        return {
            "machine": describe_machine(),
            "engine": engine,
            "data": listed.name,
            "protocol": ours.PROTOCOL,
            "rounds": rounds,
            "short": request.short,
            "n_params": {
                "rungwise": {rung: _n_params(rung, request.data) for rung, _ in TRAINED.values()},
                "makemore": makemore.n_params if makemore else None,
                "microgpt_c": {"scaled": microgpt_c.n_params} if microgpt_c else None,
            },
            "mean_length": {
                "rungwise": workers.mean_length,
                "microgpt_c": microgpt_c.mean_length if microgpt_c else None,
            },
            "workers_peak_mb": workers.peak_mb(),
            "work": {"tokens": work.tokens, "rows": work.rows, "mflop": once.pop("mflop")},
            **once,
            "measured": measured,
            **ratios(measured, once),
        }


def _peers(
    request: Request, sizes: Sizes, listed: words.WordList, aside: Path
) -> tuple[Makemore | None, MicrogptC | None]:
    """The other projects that were asked for, ready to run."""
    folders = {name: aside / name for name in ("makemore", "microgpt-c")}
    for folder in folders.values():
        folder.mkdir()
    makemore = Makemore(request.makemore, listed, folders["makemore"]) if request.makemore else None
    microgpt_c = None
    if request.microgpt_c:
        microgpt_c = MicrogptC(
            request.microgpt_c, listed, folders["microgpt-c"], cores(), sizes.trained, sizes.c_names
        )  # fmt: skip
    return makemore, microgpt_c


Task = tuple[str, Callable[[], None]]


def _once(
    request: Request,
    sizes: Sizes,
    engine: str,
    workers: ours.Workers,
    makemore: Makemore | None,
    work: Work,
    once: dict[str, Any],
) -> Iterator[Task]:
    """What does not vary from round to round by much, or takes long."""
    model = ours.model_config("scaled", request.data)

    def limits() -> None:
        once["limits"] = workers.limits(model, work)
        once["mflop"] = flop(model, work.rows, work.attended) / 1e6

    def start_up() -> None:
        once["help_cpu_seconds"] = ours.help_seconds(sizes.helps)
        once["first_step_seconds"] = ours.first_step_seconds(request.data, engine)

    def climb() -> None:
        rungs, seeds = ("baseline", 1) if request.short else ("article", CLIMB_SEEDS)
        once["climb"] = ours.climb(request.data, engine, seeds, sizes.climb_steps, rungs)

    yield "limits", limits
    yield "start-up", start_up
    yield "a climb", climb

    def whole(peer: Makemore) -> None:
        once["makemore_full_ms"] = fmean(peer.ms_a_step("scaled", WHOLE))

    if makemore and request.full:
        yield f"makemore, {WHOLE:,} steps", lambda: whole(makemore)
    yield "a model to draw from", lambda: workers.train_a_model(sizes.trained)


def _a_round(
    workers: ours.Workers,
    makemore: Makemore | None,
    microgpt_c: MicrogptC | None,
    sizes: Sizes,
    measured: Measured,
) -> Iterator[Task]:
    """All measurements of a round; each notes its value."""

    def note(who: str, what: str, value: float) -> None:
        measured.setdefault(who, {}).setdefault(what, []).append(value)

    def train(what: str) -> Callable[[], None]:
        return lambda: note("rungwise", what, workers.ms_a_step(*TRAINED[what], sizes.steps))

    def theirs(peer: Makemore, rung: str) -> Callable[[], None]:
        return lambda: note("makemore", rung, median(peer.ms_a_step(rung, sizes.their_steps)))

    def in_c(peer: MicrogptC) -> None:
        ms, names = peer.speeds()
        note("microgpt_c", "scaled", ms)
        note("microgpt_c", "names", names)

    for what in ("scaled_8", "scaled_1", "dropout_1"):
        yield f"training, {what}", train(what)
    if makemore:
        yield "makemore, training", theirs(makemore, "scaled")
    if microgpt_c:
        yield "microgpt-c", lambda: in_c(microgpt_c)
    yield "names", lambda: note("rungwise", "names", workers.names_a_second(sizes.names))
    if makemore:
        yield "makemore, names", lambda: note("makemore", "names", makemore.names_a_second(sizes.their_names))
        yield "makemore, training, small", theirs(makemore, "gelu")
    for what in ("gelu_1", "gelu_8"):
        yield f"training, {what}", train(what)


def _n_params(rung: str, data: str) -> int:
    return n_parameters(ours.model_config(rung, data))

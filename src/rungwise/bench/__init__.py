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
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rungwise.bench import ours
from rungwise.bench.limits import Work
from rungwise.bench.peers import EEmicroGPT, Makemore, MicrogptC
from rungwise.bench.summary import TRAINED, WHOLE, ratios, text
from rungwise.config import EngineConfig
from rungwise.data import words
from rungwise.engine.select import choose_engine, describe_engine
from rungwise.errors import UserError
from rungwise.ladder import get_rung
from rungwise.model.cost import flop, n_parameters
from rungwise.util import files, progress
from rungwise.util.machine import cores
from rungwise.util.provenance import describe_machine

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
    eemicrogpt: tuple[Path, ...]
    full: bool
    data: str
    engine: str


def bench(request: Request, as_json: bool, out: Path | None) -> None:
    """Measure, print as text or JSON, and write JSON to `out`."""
    measured = measure(request)
    print(json.dumps(measured, indent=1) if as_json else text(measured))
    if out:
        files.write_text(out, json.dumps(measured, indent=1) + "\n")
        print(f"Wrote {out}", file=sys.stderr)


def measure(request: Request) -> dict[str, Any]:
    """All that is measured, as it stands in --json."""
    if request.rounds < 1:
        raise UserError(f"rounds must be at least 1, but is {request.rounds}.")
    engine = choose_engine(EngineConfig(request.engine))
    with tempfile.TemporaryDirectory(prefix="rungwise-bench-") as aside:
        bench = _Bench(request, engine, Path(aside))
        with contextlib.closing(bench.workers):
            return bench.run()


Task = tuple[str, Callable[[], object]]
"""What is measured, for people, and how."""


class _Bench:
    """What measures, and what it found."""

    def __init__(self, request: Request, engine: str, aside: Path) -> None:
        self.request, self.engine, self.listed = request, engine, words.load(request.data)
        self.sizes = sizes = SHORT if request.short else Sizes(climb_steps=None) if request.full else Sizes()
        self.makemore, self.microgpt_c = None, None
        if request.makemore:
            self.makemore = Makemore(request.makemore, self.listed, aside)
        if request.microgpt_c:
            self.microgpt_c = MicrogptC(request.microgpt_c, self.listed, aside, cores(), sizes.trained, sizes.c_names)
        self.eemicrogpt = [EEmicroGPT(program, self.listed, aside) for program in request.eemicrogpt]
        self.model = ours.model_config("scaled", request.data)
        self.work = Work.of(ours.tape(request.data), get_rung("scaled").train, 4 if request.short else 64)
        self.workers = ours.Workers(request.data, engine)
        self.measured: Measured = {}
        self.once: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        rounds = 1 if self.request.short else self.request.rounds
        tasks = [*self.tasks_once(), *(list(self.tasks_of_a_round()) * rounds)]
        with progress.bar(len(tasks), what="measurements") as advance:
            for i, (what, task) in enumerate(tasks):
                advance(i, what)
                task()
        params = {rung: n_parameters(ours.model_config(rung, self.request.data)) for rung, _ in TRAINED.values()}
        makemore, microgpt_c, work = self.makemore, self.microgpt_c, self.work
        mflop = flop(self.model, work.rows, work.attended) / 1e6
        return {
            "machine": describe_machine(),
            "engine": describe_engine(EngineConfig(self.engine)),
            "data": self.listed.name,
            "protocol": ours.PROTOCOL,
            "rounds": rounds,
            "short": self.request.short,
            "n_params": {
                "rungwise": params,
                "makemore": makemore.n_params if makemore else None,
                "microgpt_c": {"scaled": microgpt_c.n_params} if microgpt_c else None,
                "eemicrogpt": {peer.what: peer.n_params for peer in self.eemicrogpt},
            },
            "mean_length": {
                "rungwise": self.workers.mean_length,
                "microgpt_c": microgpt_c.mean_length if microgpt_c else None,
            },
            "workers_peak_mb": self.workers.peak_mb(),
            "work": {"tokens": work.tokens, "rows": work.rows, "mflop": mflop},
            **self.once,
            "measured": self.measured,
            **ratios(self.measured, self.once),
        }

    def tasks_once(self) -> Iterator[Task]:
        """What does not vary from round to round by much, or takes long."""
        yield "limits", lambda: self.once.update(limits=self.workers.limits(self.model, self.work))
        yield "start-up", self.start_up
        yield "a climb", self.climb
        if self.makemore and self.request.full:
            yield f"makemore, {WHOLE:,} steps", partial(self.whole, self.makemore)
        yield "a model to draw from", partial(self.workers.train_a_model, self.sizes.trained)

    def start_up(self) -> None:
        self.once["help_cpu_seconds"] = ours.help_seconds(self.sizes.helps)
        self.once["first_step_seconds"] = ours.first_step_seconds(self.request.data, self.engine)

    def climb(self) -> None:
        rungs, seeds = ("baseline", 1) if self.request.short else ("article", CLIMB_SEEDS)
        self.once["climb"] = ours.climb(self.request.data, self.engine, seeds, self.sizes.climb_steps, rungs)

    def whole(self, makemore: Makemore) -> None:
        self.once["makemore_full_ms"] = fmean(makemore.ms_a_step("scaled", WHOLE))

    def tasks_of_a_round(self) -> Iterator[Task]:
        makemore, sizes = self.makemore, self.sizes
        for what in ("scaled_8", "scaled_1", "dropout_1"):
            yield f"training, {what}", partial(self.train, what)
        if makemore:
            yield "makemore, training", partial(self.train_makemore, makemore, "scaled")
        if self.microgpt_c:
            yield "microgpt-c", partial(self.run_microgpt_c, self.microgpt_c)
        yield "names", lambda: self.note("rungwise", "names", self.workers.names_a_second(sizes.names))
        if makemore:
            yield "makemore, names", lambda: self.note("makemore", "names", makemore.names_a_second(sizes.their_names))
            yield "makemore, training, small", partial(self.train_makemore, makemore, "gelu")
        for what in ("gelu_1", "gelu_8"):
            yield f"training, {what}", partial(self.train, what)
        for peer in self.eemicrogpt:
            yield f"eemicrogpt, {peer.what}", partial(self.train_eemicrogpt, peer)

    def note(self, who: str, what: str, value: float) -> None:
        self.measured.setdefault(who, {}).setdefault(what, []).append(value)

    def train(self, what: str) -> None:
        rung, replicas = TRAINED[what]
        recipe = ours.recipe(rung, self.request.data)
        self.note("rungwise", what, self.workers.ms_a_step(recipe, replicas, self.sizes.steps))

    def train_makemore(self, makemore: Makemore, rung: str) -> None:
        self.note("makemore", rung, median(makemore.ms_a_step(rung, self.sizes.their_steps)))

    def run_microgpt_c(self, microgpt_c: MicrogptC) -> None:
        ms, names = microgpt_c.speeds()
        self.note("microgpt_c", "scaled", ms)
        self.note("microgpt_c", "names", names)

    def train_eemicrogpt(self, peer: EEmicroGPT) -> None:
        """Microseconds a word, theirs and ours."""
        recipe = peer.model, get_rung("scaled").train.replace(batch_size=peer.batch)
        self.note("eemicrogpt", peer.what, peer.us_a_word())
        ms = self.workers.ms_a_step(recipe, 1, 20 * self.sizes.steps)
        self.note("rungwise", peer.what, ms * 1000 / peer.batch)

"""What `rungwise climb` shows: a live table on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rungwise import words
from rungwise.config import UserError, get_protocol
from rungwise.lab import climb as climbing
from rungwise.lab.ladder import RUNGS, Rung, select
from rungwise.lab.results import RESULTS, Result, by_rung
from rungwise.lab.tables import HEADER, rows
from rungwise.progress import PLAIN_EVERY, duration


def climb(
    data: str,
    rung_names: str,
    seeds: int,
    steps: int | None,
    protocol_name: str,
    out: Path | None,
    engine: str,
    processes: int | None,
    as_json: bool,
) -> None:
    """Climb and show. Everything but --json's lines goes to standard output, or to standard error beside them."""
    console = Console(stderr=as_json, soft_wrap=True, highlight=False)
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, but is {seeds}.")
    if steps is not None and steps < 1:
        raise UserError(f"steps must be at least 1, but is {steps}.")
    rungs, protocol = select(rung_names), get_protocol(protocol_name)
    listed = words.load(data)
    parts = words.split(listed, protocol)
    console.print(words.describe(listed, parts), markup=False)
    out = (
        out
        or Path("runs") / f"{Path(listed.name).stem.replace(' ', '-')}-{protocol.name}{f'-{steps}' if steps else ''}"
    )
    plan = climbing.Climb(listed, protocol, rungs, range(seeds), out, steps, engine=engine, processes=processes)
    console.print(
        f"Protocol {protocol.name}: {protocol.scored} are scored. Losses are nats a character, exact over the whole "
        f"split, mean of {seeds} seed{'s' * (seeds > 1)} ± half the 95 % interval; the step is the paired change in "
        "test loss.",
        markup=False,
    )
    screen = LiveScreen(console, rungs, seeds) if console.is_terminal else PlainScreen(console, rungs, seeds)
    with screen:
        results = climbing.run(plan, screen.report)
    results = [r for r in results if r.rung in {rung.name for rung in rungs} and r.seed < seeds]
    if not console.is_terminal:
        console.print(table(rungs, results, seeds))
    show_samples(console, rungs, results)
    console.print(
        f"Wrote {out / RESULTS} ({len(results)} results, {duration(screen.elapsed)}), and the runs beside it.",
        markup=False,
    )
    if as_json:
        for result in results:
            print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))


def table(rungs: Sequence[Rung], results: Sequence[Result], seeds: int) -> Table:
    """The ladder as a rich table; rungs that still train show how many seeds are there."""
    groups = by_rung(r for r in results if r.seed < seeds)
    found = Table(box=None, pad_edge=False)
    for i, name in enumerate(HEADER):
        found.add_column(name, justify="left" if i < 2 else "right", no_wrap=i != 3)
    for row in rows(rungs, [r for group in groups.values() for r in group]):
        n = len(groups.get(row.rung.name, []))
        style = "" if n == seeds else "dim"
        cells = row.cells()
        found.add_row(*cells[:4], *(cells[4:] if n else (f"0 of {seeds}", "", "")), style=style)
    return found


def show_samples(console: Console, rungs: Sequence[Rung], results: Sequence[Result]) -> None:
    """Ten words of each rung's first seed. As text: words may hold anything, markup too."""
    groups = by_rung(results)
    width = max(len(rung.title) for rung in rungs)
    console.print("Ten words of each (seed 0; * stands in training):", markup=False)
    for rung in rungs:
        if rung.name in groups:
            drawn = groups[rung.name][0].detail["samples"]
            console.print(
                f"{rung.title:{width}}  " + " ".join(text + "*" * (tag == "training") for text, tag in drawn),
                markup=False,
            )


class PlainScreen:
    """A line for every finished rung, and one every few seconds with the time left."""

    def __init__(self, console: Console, rungs: Sequence[Rung], seeds: int) -> None:
        self.console, self.rungs, self.seeds = console, rungs, seeds
        self.began = self.last = time.monotonic()
        self.shown: set[str] = set()

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def report(self, progress: climbing.Progress) -> None:
        groups = by_rung(r for r in progress.done if r.seed < self.seeds)
        for rung in self.rungs:
            if len(groups.get(rung.name, [])) == self.seeds and rung.name not in self.shown:
                self.shown.add(rung.name)
                row = rows([rung], [r for group in groups.values() for r in group])[0]
                cells = zip(HEADER, row.cells(), strict=True)
                self.say("  ".join(f"{name} {cell}" for name, cell in cells if cell))
                self.last = time.monotonic()
        if time.monotonic() - self.last >= PLAIN_EVERY and progress.seconds_left is not None:
            self.last = time.monotonic()
            self.say(f"{progress.share:.0%} done, {duration(progress.seconds_left)} left")

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)
        sys.stdout.flush()


class LiveScreen(PlainScreen):
    """The table, filling as results come, and a line with the time left under it."""

    def __enter__(self) -> None:
        self.live = Live(console=self.console, refresh_per_second=4)
        self.live.start()

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def report(self, progress: climbing.Progress) -> None:
        left = f"{duration(progress.seconds_left)} left" if progress.seconds_left is not None else "estimating ..."
        remark = f"{progress.share:.0%} done, {duration(self.elapsed)} so far, {left}" if progress.share < 1 else ""
        self.live.update(Group(table(self.rungs, progress.done, self.seeds), Text(remark)))


def ladder() -> None:
    """The rungs, their diffs and their reasons."""
    console = Console(highlight=False)
    found = Table(box=None, pad_edge=False)
    for name in ("rung", "stands on", "set", "changes", "why"):
        found.add_column(name)
    for rung in RUNGS.values():
        changes = ", ".join(f"{k}={v}" for k, v in rung.changes.items())
        found.add_row(rung.name, rung.on or "", rung.group, changes, rung.why)
    console.print(found)

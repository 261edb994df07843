"""Progress with the time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""
Bar = Callable[..., contextlib.AbstractContextManager[Callable[[int, str], None]]]
"""What bar() and silent() are."""


def duration(seconds: float) -> str:
    """7 s, 1:05 or 2:00:00."""
    whole = round(seconds)
    minutes, seconds_part = divmod(whole, 60)
    hours, minutes_part = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes_part:02}:{seconds_part:02}"
    return f"{minutes}:{seconds_part:02}" if minutes else f"{whole} s"


@contextlib.contextmanager
def silent(total: int, first: int = 0, what: str = "steps") -> Iterator[Callable[[int, str], None]]:
    """A bar that nobody sees."""
    yield lambda done, remark: None


@contextlib.contextmanager
def bar(total: int, first: int = 0, what: str = "steps", then: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Yields advance(done, remark), to be called as often as one likes. On standard error.

    `first`: how much was done before; the time left is reckoned from what is done now. `what` is counted. `then`: what
    follows takes as long as so many more.
    """
    began = last = time.monotonic()

    def left(done: int) -> str:
        elapsed = time.monotonic() - began
        return f"{duration(elapsed * (total + then - done) / (done - first))} left" if done > first else ""

    def plain(done: int, remark: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_EVERY and done < total:
            last = now
            print(f"{done:,} of {total:,} {what}, {remark}, {left(done)}", file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield plain
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, completed=first)
        yield lambda done, remark: progress.update(task, completed=done, description=f"{remark}, {left(done)}")

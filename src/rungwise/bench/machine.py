"""Memory that a process and its family hold, and their time. No torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path


def childrens_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


class MemoryWatch:
    """The most memory that a process and its descendants held together, read ten times a second.

    Pages that several share are counted once (PSS). None on systems other than Linux.
    """

    def __init__(self, pid: int) -> None:
        self.pid, self.peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float | None:
        return round(self.peak / 2**20, 1) if self.peak else None

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, sum(map(pss, family(self.pid))))


def family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    try:
        children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return
    for child in " ".join(children).split():
        yield from family(int(child))


def pss(pid: int) -> int:
    """Bytes of a process, a page that n processes share counting one n-th; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

"""What this machine offers a process: cores, threads, memory, and a folder to keep things in. No torch here."""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import itertools
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Where the system tells of its control groups (tests have one of their own)."""


def prepare() -> None:
    """Tell the libraries that are loaded later, by the environment, what they need to know of this machine."""
    # A thread of OpenMP that waits for others would keep a core busy, which on a busy machine the others wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as containers have them; torch and others ask for it
        os.environ["USER"] = f"uid-{os.getuid()}"


def cores() -> int:
    """Cores that this process may use: those that it is bound to, no more than its control group pays for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min((bound, *map(math.ceil, _quotas()))))


def threads(processes: int) -> int:
    """Threads for each of so many processes that work at once: no core has two."""
    return max(1, cores() // max(1, processes))


def memory() -> float:
    """Bytes of memory that this process may have: the machine's, no more than its control group's."""
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    limits = (_numbers(group / name) for group in _groups("memory") for name in ("memory.max", "memory.limit_in_bytes"))
    return min((has, *itertools.chain.from_iterable(limits)))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that this process's control group and those above it get."""
    for group in _groups("cpu"):
        for quota in (
            _numbers(group / "cpu.max"),  # version 2: quota and period, or max and period
            _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us"),  # version 1: -1 for none
        ):
            if len(quota) == 2 and quota[0] > 0:
                yield quota[0] / quota[1]


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it."""
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = ROOT / "sys/fs/cgroup" / (controller if controllers else "")  # version 2 has one tree for all
        group = top / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _numbers(path: Path) -> list[float]:
    """The numbers in a file of the system, "max" left out; none where there is no such file."""
    try:
        return [float(word) for word in path.read_text().split() if word != "max"]
    except (OSError, ValueError):
        return []


# ------------------------------------------------------------------------------------------------ what is kept


def cache() -> Path:
    """A folder where this user keeps what takes time to make; deleting it costs time only.

    Where the user's own cannot be written, or nobody knows where it is, one among the temporary files. OSError: there
    is none either.
    """
    return _writable(_users_cache(), tempfile.gettempdir())


def cached(name: str) -> Path:
    """Where a file of the cache is, or is to be: an image may bring a cache that is full and read-only."""
    own = _users_cache()
    return own / name if own and os.access(own / name, os.R_OK) else cache() / name


def _users_cache() -> Path | None:
    """$XDG_CACHE_HOME/rungwise, or ~/.cache/rungwise; None where nobody knows a home."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named or Path.home() / ".cache") / "rungwise"
    except RuntimeError:  # no $HOME, and a user without a name, as containers have them
        return None


@functools.cache
def _writable(own: Path | None, temporary: str) -> Path:
    if own and _can_be_written(own):
        return own
    shared = Path(temporary) / f"rungwise-{os.getuid()}"
    with contextlib.suppress(OSError):
        shared.mkdir(mode=0o700, exist_ok=True)
    there = shared.lstat() if os.path.lexists(shared) else None
    # Anybody may have made a folder of that name: code is taken from ours alone.
    if there and stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o077:
        return shared
    made = tempfile.TemporaryDirectory(prefix="rungwise-")
    atexit.register(made.cleanup)
    return Path(made.name)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False

"""What this machine offers a process, on Linux, macOS and Windows: cores, threads, memory, signals, a folder to keep
things in. No torch here."""

import atexit
import contextlib
import ctypes
import functools
import getpass
import itertools
import math
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path("/")
"""Where the system tells of its control groups (tests have one of their own)."""


def prepare() -> None:
    """Tell the libraries that are loaded later, by the environment, what they need to know of this machine."""
    # A thread of OpenMP that waits for others would keep a core busy, which on a busy machine the others wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name, as containers have them; torch and others ask
        os.environ["USER"] = f"uid-{_user_id()}"


def _user_id() -> int | None:
    """None on Windows."""
    return os.getuid() if hasattr(os, "getuid") else None


def cpu() -> dict[str, str]:
    """What the system says of its processors: "model name", on Linux also "flags" and whatever else it knows."""
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return {"model name": subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()}
    try:
        lines = (ROOT / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"model name": platform.processor()}
    pairs = dict.fromkeys((key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines))
    found: dict[str, str] = {}
    for key, value in pairs:  # cores of several kinds have several values
        found[key] = f"{found[key]} / {value}" if key in found else value
    return found


def cores() -> int:
    """Cores that this process may use: those that it is bound to, no more than its control group pays for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min((bound, *map(math.ceil, _quotas()))))


MOST_WORKERS = 61 if sys.platform == "win32" else None
"""Processes of one pool that the system can wait for; None: any number."""
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""Signals that ask a program to end: Ctrl-C, a system that shuts down, and on Windows Ctrl-Break or a closed window."""


def loopback() -> str | None:
    """The network interface of connections within this machine; None where it has none of the usual names."""
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)


def threads(processes: int) -> int:
    """Threads for each of so many processes that work at once: no core has two."""
    return max(1, cores() // max(1, processes))


def memory() -> float:
    """Bytes of memory that this process may have: the machine's, no more than its control group's."""
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else _windows_memory()
    limits = (_numbers(group / name) for group in _groups("memory") for name in ("memory.max", "memory.limit_in_bytes"))
    return min((has, *itertools.chain.from_iterable(limits)))


def kernel32() -> Any:
    """The functions of Windows itself."""
    return vars(ctypes)["windll"].kernel32


def _windows_memory() -> int:
    """Bytes, from GlobalMemoryStatusEx: its structure begins with its own size and the load, both of 32 bits."""
    told = (ctypes.c_uint64 * 8)(ctypes.sizeof(ctypes.c_uint64) * 8)
    kernel32().GlobalMemoryStatusEx(told)
    return told[1]


def peak_memory() -> int | None:
    """The most bytes of memory that this process ever held; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
    """Such as $XDG_CACHE_HOME/rungwise, or ~/.cache/rungwise; None where nobody knows a home, as in containers."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("rungwise", appauthor=False)
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # earlier versions of platformdirs say "~/.cache"


@functools.cache
def _writable(own: Path | None, temporary: str) -> Path:
    if own and _can_be_written(own):
        return own
    shared = Path(temporary) / f"rungwise-{_user_id()}"
    with contextlib.suppress(OSError):
        shared.mkdir(mode=0o700, exist_ok=True)
    there = shared.lstat() if os.path.lexists(shared) else None
    # Anybody may have made a folder of that name: code is taken from ours alone. On Windows temporary files are the
    # user's own.
    if (
        there
        and stat.S_ISDIR(there.st_mode)
        and (_user_id() is None or (there.st_uid == _user_id() and not there.st_mode & 0o077))
    ):
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

"""Packages that cannot be loaded, as one line: too little memory, broken, or missing. No torch here."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

HEAVY = ("numpy", "polars", "torch")
ENOUGH = 4 << 30
"""Bytes of address space with which all of them can be loaded."""
MARGIN = 48 << 20
SIZE = Path("/proc/self/statm")
"""Of the address space of a process, in pages: Linux's."""
TRIAL = f"""
import mmap, sys
{{before}}
own = int(open('{SIZE}').read().split()[0]) * mmap.PAGESIZE
try:
    taken = mmap.mmap(-1, max(1, {{taken}} - own))
except OSError:
    sys.exit(2)
import {{name}}
"""
NO_MEMORY = ("failed to map segment", "annot allocate memory", "Unable to allocate", "can't start new thread")


class Trial(MetaPathFinder):
    """Under a limit (ulimit -v), a heavy package is first loaded by another process, which takes as much memory as this
    one has: with too little, some raise nothing, but end the process that loads them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tried = limit, list[str]()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        """MemoryError where the other process was ended; else nothing, and the import goes its way."""
        if fullname not in HEAVY or fullname in self.tried:
            return
        import mmap

        taken = int(SIZE.read_text().split()[0]) * mmap.PAGESIZE + MARGIN
        before = "".join(f"import {name}\n" for name in self.tried)
        code = TRIAL.format(before=before, taken=taken, name=fullname)
        self.tried.append(fullname)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        if done.returncode and b"Traceback" not in done.stderr:
            raise MemoryError(f"{fullname} cannot be loaded with {self.limit >> 20:,} MiB (ulimit -v): allow more.")


def watch() -> None:
    """Try heavy packages first, where memory is limited."""
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY and limit < ENOUGH and SIZE.exists():
            sys.meta_path.insert(0, Trial(limit))


def explain(error: Exception) -> str | None:
    """What to tell of a package that could not be loaded; None where the error is something else."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if any(text in str(error) for text in NO_MEMORY):
        return f"Not enough memory: {line}."
    if not isinstance(error, ImportError) and not (isinstance(error, OSError) and error.errno is None):
        return None
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [getattr(error, "name", None) or "", *frames]
    packages = [name.partition(".")[0] for name in names]
    package = next((name for name in packages if name not in ("", "__main__", "importlib", "rungwise")), None)
    if package is None or packages[0] == "rungwise":
        return None
    return f"The package {package} cannot be loaded ({line}); install it again: pip install --force-reinstall {package}"

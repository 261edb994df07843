"""When torch.compile pays, and what compiling a step was worth on this machine.

Compiling takes half a minute or more, so it is decided from how long the run would take as it is (a trial of a few
steps), and from what compiling the same step cost and gave the last time, which is kept in the user's cache beside
what torch compiled. Where nothing is known, GUESS is taken.
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rungwise.engine.native import build
from rungwise.errors import UserError
from rungwise.util.files import write_json
from rungwise.util.machine import cache
from rungwise.util.progress import duration


class NotCompiled(UserError):
    """Steps were to be compiled, and cannot be."""


Step = Callable[..., Any]
Log = Callable[[str], None]

CACHE_DIR = "TORCHINDUCTOR_CACHE_DIR"
NAMED = os.environ.get(CACHE_DIR)
"""As the user has it: torch sets it to a temporary directory, which the next start of the machine may empty, as soon as
an optimiser is made."""
FEWEST_STEPS = 200
"""Shorter runs are not worth a trial."""
TRIAL_STEPS = 3


@dataclass(frozen=True)
class WarmUp:
    """What compiling a step cost and gave."""

    seconds: float
    """What it costs the next time, from the call to the first step done."""
    plain_ms: float
    """A step, as it is."""
    compiled_ms: float
    """The same step, compiled."""

    @property
    def saved(self) -> float:
        """The share of a step that compiling saves."""
        return 1 - self.compiled_ms / self.plain_ms


GUESS = WarmUp(100.0, 10.0, 7.0)
"""Of a step that was never compiled here: dearer, and less gained, than of most that were (docs/performance.md)."""

KEPT = 0.5
"""Of a first warm-up that the next one takes, at most: the code is kept. Measured were 0.1 to 0.5."""


def pays(steps: int, plain_ms: float, known: WarmUp) -> bool:
    """Does a run of so many steps earn the warm-up back?"""
    return steps * plain_ms / 1000 * known.saved > known.seconds


def compiled(
    step: Step, trial: Callable[[Step], float], steps: int, asked: str, device: str, what: object, log: Log
) -> Step | None:
    """The step, compiled; None where it had better stay as it is. `log` is given one line: which, and why.

    `trial(step)` gives the seconds that a step takes, without changing anything; `what` is all that the compiled code
    depends on. asked: auto, on or off.
    """
    if asked == "off" or (asked == "auto" and steps < FEWEST_STEPS):
        return None
    if missing := _why_not(device):
        if asked == "on":
            raise NotCompiled(f"Steps cannot be compiled: {missing}.")
        log(f"Steps are not compiled: {missing}.")
        return None
    folder = cache() / "compiled"
    os.environ[CACHE_DIR] = NAMED or str(folder / "torch")
    record = folder / f"{hashlib.sha256(repr((what, device, torch.__version__)).encode()).hexdigest()[:16]}.json"
    known, plain_ms = _read(record), trial(step) * 1000
    expected = known or GUESS
    reason = (
        f"{steps:,} plain steps take about {duration(steps * plain_ms / 1000)}; compiling saves "
        f"{'' if known else 'an estimated '}{expected.saved:.0%} of that for {expected.seconds:.0f} s of warm-up"
        f"{', going by the last time' if known else ''}"
    )
    if asked == "auto" and not pays(steps, plain_ms, expected):
        log(f"Steps are not compiled: {reason}.")
        return None
    log(f"Steps are compiled: {reason}." if asked == "auto" else "Steps are compiled, as asked.")
    began = time.perf_counter()
    # On a GPU the launches of a hundred kernels cost more than the kernels: reduce-overhead replays them as one graph.
    made = torch.compile(step, dynamic=False, fullgraph=True, mode="reduce-overhead" if device == "cuda" else None)
    try:
        trial(made)
    except Exception as error:  # whatever a compiler and its driver may raise
        line = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        if asked == "on":
            raise NotCompiled(f"Steps cannot be compiled: torch.compile failed ({line}).") from None
        log(f"Steps are not compiled after all: torch.compile failed ({line}).")
        return None
    seconds = time.perf_counter() - began
    found = WarmUp(round(seconds * (1 if known else KEPT), 2), round(plain_ms, 4), round(trial(made) * 1000, 4))
    with contextlib.suppress(OSError, UserError):  # a cache that cannot be written costs time only
        folder.mkdir(parents=True, exist_ok=True)
        write_json(record, asdict(found))
    if asked == "auto" and found.saved <= 0:
        log(f"Steps are not compiled after all: {found.compiled_ms:.3g} ms each, not {found.plain_ms:.3g}.")
        return None
    return made


def _why_not(device: str) -> str | None:
    """What the code would be compiled with, and is missing."""
    if device == "cpu":
        try:
            build.compiler()
        except build.NoEngine as error:
            return str(error).rstrip(".")
        return None
    try:
        importlib.import_module("triton")  # comes with torch's CUDA builds
    except ImportError:
        return "the package triton is missing"
    return None if shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") else "no C compiler was found"


def _read(record: Path) -> WarmUp | None:
    try:
        return WarmUp(**{name: float(value) for name, value in json.loads(record.read_text()).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None

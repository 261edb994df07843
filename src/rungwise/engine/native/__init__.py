"""The training step as one native program, where there is a C++ compiler: optional, and the model does not know of it.

engine.cpp is compiled once into the user's cache, compared with the PyTorch model there (check.py), and called through
ctypes, which releases the GIL: threads train replicas side by side. The PyTorch path is the reference and the fallback;
both give the same losses and gradients to floating-point tolerance.

    if native.why_not() is None:
        losses = native.load().train_block(...)

RUNGWISE_NATIVE=0 turns it off. Arrays of tokens are packed: sequences one after the other, nothing between them
(batches.Tape.packed).
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys

from rungwise.engine.native.build import NoEngine, Refused, build_library
from rungwise.engine.native.library import KINDS, Library, Tree

__all__ = ["KINDS", "Library", "NoEngine", "Tree", "load", "why_not"]


def why_not(family: str = "transformer") -> str | None:
    """None where there is a native engine for models of a family; else one line that says why there is none. That the
    compiler made a wrong one is also told on standard error, once."""
    if family != "transformer":
        return f"The native engine trains transformers, not family {family}."
    found = _found(_settings())
    if isinstance(found, Refused):
        _tell(f"rungwise: {found} PyTorch is used.")
    return None if isinstance(found, Library) else str(found)


def load() -> Library:
    """The engine, compiled at the first call on a machine (about three seconds); NoEngine where there is none."""
    found = _found(_settings())
    if not isinstance(found, Library):
        raise NoEngine(str(found))
    return found


def _settings() -> tuple[str | None, ...]:
    """The environment that decides which engine is meant."""
    return tuple(map(os.environ.get, ("RUNGWISE_NATIVE", "CXX", "CXXFLAGS", "XDG_CACHE_HOME", "HOME", "PATH")))


@functools.cache
def _found(settings: tuple[str | None, ...]) -> Library | NoEngine:
    """The engine, or why there is none: once a process and environment."""
    try:
        if settings[0] == "0":
            raise NoEngine("it is turned off (RUNGWISE_NATIVE=0).")
        return Library(build_library())
    except (NoEngine, OSError) as error:
        kind = Refused if isinstance(error, Refused) else NoEngine
        return kind(f"No native engine: {' '.join(str(error).split())}")


@functools.cache
def _tell(line: str) -> None:
    if multiprocessing.parent_process() is None:  # the workers of a climb would all say it
        print(line, file=sys.stderr)

"""The training step as one native program: optional, and the model does not know of it.

A wheel brings it, or engine.cpp is compiled once into the user's cache. It is compared with the PyTorch model
(check.py) and called through ctypes, which releases the GIL: threads train replicas side by side. The PyTorch path is
the reference and the fallback; both give the same losses and gradients to floating-point tolerance.

    if native.why_not() is None:
        losses = native.load().train_block(...)

RUNGWISE_NATIVE=0 turns it off; build or prebuilt chooses, and RUNGWISE_ISA=v2, v3 or v4, a level of x86-64. Arrays of
tokens are packed: sequences one after the other, nothing between them (batches.Tape.packed).
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys

from rungwise.engine.native.build import PREBUILT, NoEngine, Refused, find_library
from rungwise.engine.native.library import KINDS, Library, Tree

__all__ = ["KINDS", "Library", "NoEngine", "Tree", "describe", "load", "why_not"]


def why_not() -> str | None:
    """None where there is a native engine; else one line that says why there is none. That there is a wrong one is also
    told on standard error, once."""
    found = _found(_settings())
    if isinstance(found, Refused):
        _tell(f"rungwise: {found} PyTorch is used.")
    return None if isinstance(found, Library) else str(found)


def load() -> Library:
    """The engine; NoEngine where there is none. The first call on a machine checks it, and compiles it where no wheel
    brought it: some seconds."""
    found = _found(_settings())
    if not isinstance(found, Library):
        raise NoEngine(str(found))
    return found


def describe() -> str:
    """What runs: "native, AVX-512, prebuilt", or compiled here."""
    library = load()
    return f"native, {library.vectors}, {'prebuilt' if library.path.parent == PREBUILT else 'compiled here'}"


def _settings() -> tuple[str | None, ...]:
    """The environment that decides which engine is meant."""
    names = ("RUNGWISE_NATIVE", "RUNGWISE_ISA", "CXX", "CXXFLAGS", "XDG_CACHE_HOME", "HOME", "PATH")
    return tuple(map(os.environ.get, names))


@functools.cache
def _found(settings: tuple[str | None, ...]) -> Library | NoEngine:
    """The engine, or why there is none: once a process and environment."""
    try:
        if settings[0] == "0":
            raise NoEngine("it is turned off (RUNGWISE_NATIVE=0).")
        return Library(find_library())
    except (NoEngine, OSError) as error:
        kind = Refused if isinstance(error, Refused) else NoEngine
        return kind(f"No native engine: {' '.join(str(error).split())}")


@functools.cache
def _tell(line: str) -> None:
    if multiprocessing.parent_process() is None:  # the workers of a climb would all say it
        print(line, file=sys.stderr)

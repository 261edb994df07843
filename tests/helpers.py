"""What several tests need: the command in this process, and tiny runs that train in a moment."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from rungwise import practice, words
from rungwise.cli import main
from rungwise.settings import Settings
from rungwise.words import WordList

torch.set_num_threads(1)

WORDS = (
    *("anna", "bea", "carl", "dora", "emil", "fritz", "gerd", "hanna", "ida", "jan", "karl", "lena", "mia", "nina"),
    *("otto", "paul", "rosa", "sven", "tina", "udo", "vera", "wim", "xaver", "yara", "zoe", "ada", "ben", "cora"),
    *("dirk", "eva", "finn", "greta", "hugo", "ines", "jule", "kai", "lisa", "max", "nele", "olga"),
)
TINY = {"n_embd": 8, "n_head": 2, "n_layer": 1, "steps": 20, "warmup_steps": 3, "engine": "torch", "batch_size": 4}


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def command(*arguments: object, stdin: bytes = b"", encoding: str = "utf-8") -> Outcome:
    """Run `rungwise ARGUMENTS` here: exit status, standard output, standard error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    status = 0
    source = mock.Mock(buffer=io.BufferedReader(io.BytesIO(stdin)))  # type: ignore[arg-type]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "stdin", source):
        try:
            main([str(a) for a in arguments])
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else bool(exit_.code)
    return Outcome(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def listed(some: object = WORDS, name: str = "some") -> WordList:
    return words.from_words(some, name)  # type: ignore[arg-type]


def flags(**fields: object) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@functools.cache
def _made(protocol: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rungwise-tests-")) / "run"
    asked = Settings.of({**TINY, "protocol": protocol}, "test")
    practice.start(folder, asked, say=lambda line: None, listed=listed())
    return folder


def tiny_run(into: Path, protocol: str = "strict") -> Path:
    """A copy of a run that was trained on WORDS for twenty steps."""
    return Path(shutil.copytree(_made(protocol), into / f"run-{protocol}"))

"""What several tests need: the command in this process, and tiny runs that train in a moment."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch

import rungwise
from rungwise.cli.main import main
from rungwise.config.settings import Settings
from rungwise.data import words
from rungwise.data.words import END, NAMES_SHA256, WordList
from rungwise.engine import native
from rungwise.experiment.results import Result
from rungwise.ladder import RUNGS, get_rung
from rungwise.training import run as training
from rungwise.training import run_dir
from rungwise.training.trainer import Event
from rungwise.util.files import read_tensors

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
SOURCE = Path(rungwise.__file__).parent.parent
"""The folder that holds the package, as PYTHONPATH takes it."""

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


@contextlib.contextmanager
def observed(observe: Callable[[Event], object]) -> Iterator[None]:
    """Runs that start or go on meanwhile, by a command too, are observed."""
    begin, go_on = (functools.partial(what, observers=[observe]) for what in (training.start, training.resume))
    with mock.patch.multiple(training, start=begin, resume=go_on):
        yield


def ctrl_c(at: int = 1, number: int = signal.SIGINT) -> Callable[[Event], None]:
    """An observer that sends this process a signal after the first block of steps that ends at step `at` or later."""

    def observe(event: Event) -> None:
        if event.kind == "block" and event.step >= at:
            signal.raise_signal(number)

    return observe


def listed(some: object = WORDS, name: str = "some") -> WordList:
    return words.from_words(some, name)  # type: ignore[arg-type]


def flags(**fields: object) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@functools.cache
def _made(protocol: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rungwise-tests-")) / "run"
    asked = Settings.of({**TINY, "rung": "final", "protocol": protocol}, "test")
    training.start(folder, asked, log=lambda line: None, listed=listed())
    return folder


def tiny_run(into: Path, protocol: str = "strict") -> Path:
    """A copy of a run that was trained on WORDS for twenty steps."""
    return Path(shutil.copytree(_made(protocol), into / f"run-{protocol}"))


needs_compiler = pytest.mark.skipif(bool(native.why_not()), reason=str(native.why_not()))
ENGINES = ["torch", pytest.param("native", marks=needs_compiler)]
every_engine_and_rung = pytest.mark.parametrize(
    ("engine", "rung"),
    [pytest.param("torch", rung, id=f"torch-{name}") for name, rung in RUNGS.items()]
    + [pytest.param("native", rung, marks=needs_compiler, id=f"native-{name}") for name, rung in RUNGS.items()],
)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{name}/{key}": value
        for name in (run_dir.WEIGHTS, run_dir.CHECKPOINT)
        for key, value in read_tensors(folder / name)[0].items()
    }


def assert_same(one: Path, other: Path) -> None:
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in (run_dir.METRICS, run_dir.SAMPLES, run_dir.SNAPSHOTS, run_dir.VOCABULARY):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert read_tensors(one / run_dir.CHECKPOINT)[1] == read_tensors(other / run_dir.CHECKPOINT)[1]


def expected_pairs(words, indices, protocol):
    """What a loop in plain Python over unpadded words feeds and predicts."""
    pairs = []
    for i in indices:
        ids = [*([END] if protocol.start_token else []), *words.vocabulary.encode(words[i]).tolist(), END]
        pairs.append((ids[:-1], ids[1:]))
    return pairs


def a_result(on: str, seed: int, test_loss: float = 2.0, **changes) -> Result:
    of = get_rung(on)
    return Result(**{
        "rung": on, "seed": seed, "n_params": 1, "steps": of.train.steps, "protocol": "article", "train_loss": 1.9,
        "val_loss": None, "test_loss": test_loss, "tokens_per_s": 1.0, "ms_per_step": 1.0, "data": "names",
        "data_sha256": NAMES_SHA256, "versions": {}, "git_revision": None, "date": "2026-01-01", "engine": "torch",
        "split_seed": 0, "model": of.model.to_dict(), "train": of.train.to_dict(), "detail": {"samples": []}, **changes,
    })  # fmt: skip

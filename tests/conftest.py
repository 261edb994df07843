"""Shared fixtures. Shapes in the signatures of the model's rooms are checked whenever a test runs them."""

from __future__ import annotations

import io
import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests that run in the background of a script start commands
    signal.signal(signal.SIGINT, signal.default_int_handler)  # that are in nobody's

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too: tests run side by side

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook(["rungwise.model.layers", "rungwise.model.transformer"], "beartype.beartype")

from rungwise.config import Protocol, get_protocol  # noqa: E402
from rungwise.data.words import WordList, read  # noqa: E402

settings.register_profile("rungwise", deadline=None)  # a test that waits for the machine is not wrong
settings.load_profile("rungwise")


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run side by side, one a core."""
    torch.set_num_threads(1)


def make_words(n: int = 211, seed: int = 0, alphabet: str = "abcdefg.") -> WordList:
    """A list of n random words of 1 to 7 characters, some of them repeated."""
    rng = np.random.default_rng(seed)
    drawn = ["".join(rng.choice(list(alphabet), size=rng.integers(1, 8))) for _ in range(n)]
    return read(io.BytesIO("\n".join(drawn).encode()), "made-up")


@pytest.fixture
def words() -> WordList:
    return make_words()


@pytest.fixture(params=["article", "makemore", "strict"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return get_protocol(request.param)

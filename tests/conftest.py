"""Shared fixtures. Shapes in the signatures of the model's rooms are checked whenever a test runs them."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser whose pages rest in the background as a reader's do."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'rungwise[dev]')")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("needs Chromium (apt-get install chromium)")
    awake = ["--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
    awake += ["--disable-backgrounding-occluded-windows"]
    with playwright.sync_playwright() as p:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = p.chromium.launch(executable_path=path, args=arguments, ignore_default_args=awake)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def empty_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that has no model yet."""
    from rungwise.play.page import build
    from rungwise.play.trainable import empty

    path = tmp_path_factory.mktemp("page") / "empty.html"
    path.write_text(build(empty()), encoding="utf-8")
    assert path.stat().st_size < 600_000
    return path


@pytest.fixture
def open_page(chromium: Any, empty_page: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page that has no model yet, in a context with options of its own. No page may say anything."""
    from play_runs import MINUTE

    opened = []

    def open_one(**options: Any) -> Any:
        context, said = chromium.new_context(**options), []
        opened.append((context, said))
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.set_default_timeout(MINUTE)
        page.goto(empty_page.as_uri())
        return page

    yield open_one
    for context, said in opened:
        context.close()
        assert not said

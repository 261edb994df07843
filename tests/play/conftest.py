"""A browser, and the page that has no model yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rungwise.play.page import build
from rungwise.play.trainable import empty


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'rungwise[dev]')")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as p:
        awake = ["--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
        awake += ["--disable-backgrounding-occluded-windows"]  # a page in the background is as it is for a reader
        browser = p.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"], ignore_default_args=awake
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "empty.html"
    path.write_text(build(empty()), encoding="utf-8")
    assert path.stat().st_size < 600_000
    return path

"""How fast a page trains, in Chromium, beside the native engine: both in every round, one after the other, because a
shared machine is noisy and only ratios inside a round count."""

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.batches import STEPS_A_BLOCK, Tape
from rungwise.engine.loop import train
from rungwise.engine.native_engine import NativeEngine
from rungwise.errors import UserError
from rungwise.ladder import get_rung
from rungwise.play.page import build
from rungwise.play.trainable import EMPTY_PROTOCOL, empty
from rungwise.util.files import write_json
from rungwise.util.loading import need
from rungwise.util.provenance import describe_machine

RUNGS = ("gelu", "scaled")
STEPS = 2 * STEPS_A_BLOCK
PATIENCE = 1_800_000
"""Milliseconds for a training in the page."""


def bench(rounds: int, as_json: bool, out: Path | None) -> None:
    """Measure, print and, where it is asked for, write ms a step of each rung, natively and in the page."""
    measured = measure(rounds)
    if out:
        write_json(out, measured)
    if as_json:
        print(json.dumps(measured, indent=2))
        return
    for rung, found in measured["ms_a_step"].items():
        native, page = median(found["native"]), median(found["page"])
        print(
            f"{get_rung(rung).title}: {native:.2f} ms a step natively, {page:.2f} in the page, "
            f"{found['ratio']:.1f} times as long"
        )


def measure(rounds: int) -> dict[str, Any]:
    """{"ms_a_step": {rung: {"native": [a round], "page": [a round], "ratio": median of rounds}}, ...}"""
    found: dict[str, Any] = {rung: {"native": [], "page": []} for rung in RUNGS}
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(build(empty()), encoding="utf-8")
        for _ in range(rounds):
            for rung in RUNGS:
                found[rung]["native"].append(_natively(rung))
                page = trained(browser, path, [rung], STEPS)
                found[rung]["page"].append(page.evaluate("name => rungwise.msAStep(name)", rung))
                page.close()
        version = browser.version
    for times in found.values():
        times["ratio"] = median(page / native for native, page in zip(times["native"], times["page"], strict=True))
    return {"ms_a_step": found, "steps": STEPS, "chromium": version, "machine": describe_machine()}


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's; UserError where there is none."""
    playwright = need("playwright.sync_api", "--browser needs", "browser")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        raise UserError("--browser needs Chromium: it was not found.")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _natively(name: str) -> float:
    listed, protocol, rung = words.load("given-names"), get_protocol(EMPTY_PROTOCOL), get_rung(name)
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    engine = NativeEngine(model, rung.trained(STEPS), tape, (0,))
    began = time.perf_counter()
    train(engine, rung.trained(STEPS))
    return (time.perf_counter() - began) * 1000 / STEPS


def trained(browser: Any, path: Path, rungs: Collection[str], steps: int) -> Any:
    """A page in which these rungs have trained, under one seed."""
    page = browser.new_page()
    page.goto(path.as_uri())
    page.fill("#train-steps", str(steps))
    page.locator("details.own").evaluate("details => { details.open = true; }")
    for box in page.locator("#train-rungs input").all():
        box.set_checked(box.get_attribute("value") in rungs)
    page.click("#train-go")
    page.wait_for_selector("#train-said:has-text('Done in')", timeout=PATIENCE)
    return page

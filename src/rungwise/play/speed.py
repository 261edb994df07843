"""How fast a page trains, in Chromium, beside the native engine: both in every round, one after the other, because a
shared machine is noisy and only ratios inside a round count."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
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
from rungwise.util.provenance import describe_machine

RUNGS = ("gelu", "scaled")
STEPS = 2 * STEPS_A_BLOCK
PATIENCE = 300_000
"""Milliseconds for the training of one rung in the page."""


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
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("--browser needs playwright: pip install playwright.") from None
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        raise UserError("--browser needs Chromium: it was not found.")
    found: dict[str, Any] = {rung: {"native": [], "page": []} for rung in RUNGS}
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        page_path = Path(folder) / "page.html"
        page_path.write_text(build(empty()), encoding="utf-8")
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(rounds):
            for rung in RUNGS:
                found[rung]["native"].append(_natively(rung))
                found[rung]["page"].append(_in_a_page(browser, page_path, rung))
        version = browser.version
        browser.close()
    for times in found.values():
        times["ratio"] = median(page / native for native, page in zip(times["native"], times["page"], strict=True))
    return {"ms_a_step": found, "steps": STEPS, "chromium": version, "machine": describe_machine()}


def _natively(name: str) -> float:
    listed, protocol, rung = words.load("given-names"), get_protocol(EMPTY_PROTOCOL), get_rung(name)
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    engine = NativeEngine(model, rung.trained(STEPS), tape, (0,))
    began = time.perf_counter()
    train(engine, rung.trained(STEPS))
    return (time.perf_counter() - began) * 1000 / STEPS


def _in_a_page(browser: Any, path: Path, rung: str) -> float:
    page = browser.new_page()
    page.goto(path.as_uri())
    page.fill("#train-steps", str(STEPS))
    page.locator("details.own").evaluate("details => { details.open = true; }")
    for box in page.locator("#train-rungs input").all():
        box.set_checked(box.get_attribute("value") == rung)
    page.click("#train-go")
    page.wait_for_selector("#train-said:has-text('Done in')", timeout=PATIENCE)
    found = page.evaluate("name => rungwise.msAStep(name)", rung)
    page.close()
    return found

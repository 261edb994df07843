"""The page trains as the command line does, from a list that a person gives, and leaves runs that commands take."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_train_node import PARTING, TOLERANCE, on_the_command_line

from rungwise.cli.main import main
from rungwise.config import get_protocol
from rungwise.data.batches import Tape
from rungwise.data.words import load, read, split
from rungwise.engine import native
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, SELECTIONS, TRANSFORMERS
from rungwise.play.page import build
from rungwise.play.trainable import empty
from rungwise.training import run_dir

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'rungwise[dev]')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    pytest.skip("needs Chromium (apt-get install chromium)", allow_module_level=True)
if native.why_not():
    pytest.skip("needs the native engine to compare with", allow_module_level=True)

ARTICLE = SELECTIONS["article"]
DONE = "#train-said:has-text('Done in')"
MINUTE = 90_000
PARTS = (("ka", "el", "mi", "<b>"), ("ro", "an", "é"), ("sha", "tu", "ri"))
LISTED = "\n".join(map("".join, itertools.product(*PARTS))).encode()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "empty.html"
    path.write_text(build(empty()), encoding="utf-8")
    assert path.stat().st_size < 600_000
    return path


@pytest.fixture
def page(chromium: Any, path: Path) -> Iterator[Any]:
    context, heard = chromium.new_context(), []
    page = context.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.set_default_timeout(MINUTE)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert not heard


def choose(page: Any, *rungs: str, steps: int, seeds: int = 1) -> None:
    page.fill("#train-steps", str(steps))
    page.select_option("#train-seeds", str(seeds))
    page.locator("details.own").evaluate("details => { details.open = true; }")
    for box in page.locator("#train-rungs input").all():
        box.set_checked(box.get_attribute("value") in rungs)


def train(page: Any, *rungs: str, steps: int, seeds: int = 1) -> None:
    choose(page, *rungs, steps=steps, seeds=seeds)
    page.click("#train-go")
    page.wait_for_selector(DONE)


def check(page: Any, name: str, losses: np.ndarray, seed: int = 0) -> None:
    found = np.array(page.evaluate("([name, seed]) => rungwise.losses(name, seed)", [name, seed]))
    assert found.shape == losses.shape
    assert np.abs(found - losses).max() < PARTING.get(name, TOLERANCE), name


@pytest.mark.long
def test_every_rung_trains_in_chromium_as_on_the_command_line(page: Any) -> None:
    train(page, *TRANSFORMERS, steps=300)
    for rung in TRANSFORMERS.values():
        expected = on_the_command_line(load("given-names"), "strict", rung, 300, 0)
        check(page, rung.name, expected["losses"])


def test_the_article_s_rungs_train_side_by_side(page: Any) -> None:
    train(page, *ARTICLE, steps=100)
    assert page.locator(".curves .line").count() == 8 and page.locator(".wrote").count() == 8
    for name in ("baseline", "gelu"):
        expected = on_the_command_line(load("given-names"), "strict", RUNGS[name], 100, 0)
        check(page, name, expected["losses"])
        page.click(f"#train-legend button[data-key={name}]")
        rows = page.locator(".snapshots tbody tr")
        assert rows.first.locator(".word").all_inner_texts() == expected["first"], "before the first step"
        assert rows.last.locator(".word").all_inner_texts() == expected["words"], "after the last"
    page.click(".curves .stop:last-of-type")
    assert page.locator(".snapshots tr.lit").count() == 1, "a point on the curve leads to the words of that step"
    for view in ("climb", "predict", "attend", "inside", "flow", "generate"):
        page.click(f"nav a[data-view={view}]")
        page.wait_for_selector(f"#{view}:visible")
    assert page.locator("#generate-words .word").count() >= 10


def test_training_pauses_goes_on_and_stops(page: Any) -> None:
    choose(page, "baseline", "gelu", steps=600, seeds=3)
    page.click("#train-go")
    page.wait_for_selector("#train-live:visible")
    page.wait_for_selector("#train-numbers:has-text('tokens a second')")
    page.click("#train-pause")
    page.wait_for_selector("#train-numbers:has-text('Paused')")
    page.wait_for_timeout(700)
    at = page.evaluate("rungwise.losses('gelu').length")
    page.wait_for_timeout(500)
    assert page.evaluate("rungwise.losses('gelu').length") == at < 600
    page.click("#train-pause")
    page.wait_for_selector("#train-said:has-text('seed 0: test loss')")
    page.click("#train-stop")
    page.wait_for_selector(DONE)
    check(page, "baseline", on_the_command_line(load("given-names"), "strict", RUNGS["baseline"], 600, 0)["losses"])
    assert page.locator("#train-take").is_visible() and page.locator("nav").is_visible()


def test_what_is_downloaded_is_what_a_climb_leaves(
    page: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.select_option("#train-list", "own")
    page.fill("#train-paste", LISTED.decode())
    train(page, "gelu", "final-norm", steps=60)
    with page.expect_download() as waited:
        page.click("#train-zip")
    zipfile.ZipFile(waited.value.path()).extractall(tmp_path)
    folder = tmp_path / "pasted-words/gelu/seed-0"
    run, listed = run_dir.load(folder), read(io.BytesIO(LISTED), "pasted words")
    expected = on_the_command_line(listed, "strict", RUNGS["gelu"], 60, 0)
    assert run.vocabulary == listed.vocabulary and run.info["data_sha256"] == listed.sha256
    assert run.firsts.tolist() == listed.first_counts(split(listed, get_protocol("strict")).train).tolist()
    test = Tape.of(listed, split(listed, get_protocol("strict")).test, run.word_start)
    assert score(run.model, test).loss == pytest.approx(expected["test"], abs=TOLERANCE)
    (folder.parents[2] / "words.txt").write_bytes(LISTED)
    main(["sample", str(folder), "--n", "5"])
    assert len(capsys.readouterr().out.split()) >= 5
    main(["eval", str(folder), str(tmp_path / "words.txt")])
    assert "36 scored" in capsys.readouterr().out
    main(["export", str(folder), "--format", "onnx", "--out", str(tmp_path / "onnx")])
    assert (tmp_path / "onnx/model.onnx").exists()


def test_the_downloaded_page_holds_the_models(page: Any, chromium: Any, tmp_path: Path) -> None:
    train(page, "baseline", "2-heads", steps=40)
    with page.expect_download() as waited:
        page.click("#train-page")
    waited.value.save_as(tmp_path / "mine.html")
    logits = "rungwise.logits('2-heads', [1, 2, 3])"
    other = chromium.new_page()
    other.goto((tmp_path / "mine.html").as_uri())
    assert other.evaluate(logits) == page.evaluate(logits)
    other.click("nav a[data-view=train]")
    train(other, "baseline", steps=20)
    other.close()


HOSTILE = {
    "binary": (bytes(range(256)) * 400, "is not UTF-8: line 2, byte 129 of the file (0x80)"),
    "one line": (b"a" * 10_000_000, "holds no words of at most 64 characters."),
    "blank": (b"\n \n\n", "holds no words."),
    "characters": (
        "\n".join(map(chr, range(0x4E00, 0x4E00 + 20_000))).encode(),
        "20,000 different characters; a page takes 2,000",
    ),
    "large": (b"anna\nbert\n" * 4_000_000, "has 40,000,000 bytes; a page takes 33,554,432"),
    "short": (b"anna\nbert\n", "needs at least 3"),
    "zeros": (b"a\0b\nc\n", "holds zero characters (U+0000)"),
    "table": (b"a\tb\nc\td\ne\tf\n", "is a table (a, b)"),
    "packed": (b"\x1f\x8b\x08\0\0", "is a gzip file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_list_is_refused_in_one_line(page: Any, tmp_path: Path, kind: str) -> None:
    content, line = HOSTILE[kind]
    (tmp_path / "words.txt").write_bytes(content)
    page.select_option("#train-list", "own")
    page.set_input_files("#train-file", tmp_path / "words.txt")
    page.click("#train-go")
    page.wait_for_selector("#train-note:not(:empty)")
    said = page.inner_text("#train-note")
    assert line in said and "\n" not in said
    assert page.is_enabled("#train-go")


WATCH = """
globalThis.long = [];
const watch = new PerformanceObserver((all) => all.getEntries().forEach(({ duration }) => long.push(duration)));
watch.observe({ entryTypes: ["longtask"] });
"""


def test_the_page_stays_responsive(page: Any) -> None:
    page.evaluate(WATCH)
    train(page, *ARTICLE, steps=60, seeds=3)
    tasks = page.evaluate("long")
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # a task is measured by the clock: others stretch it
    assert max(tasks, default=0) < 50 * busy


def test_an_experiment_of_ones_own_is_compared_in_pairs(page: Any) -> None:
    page.fill("#train-steps", "40")
    page.select_option("#train-seeds", "3")
    page.locator("#experiment summary").click()
    page.select_option("#experiment-base", "baseline")
    page.fill("#experiment-B-n_embd", "7")
    page.click("#experiment-go")
    page.wait_for_selector("#train-note:has-text('n_embd of B must be a whole number from 8 to 128.')")
    page.fill("#experiment-B-n_embd", "32")
    page.fill("#experiment-B-learning_rate", "0.02")
    page.click("#experiment-go")
    page.wait_for_selector(DONE)
    told = page.inner_text("#train-verdict")
    assert "B is better than A." in told and "3 seeds" in told, "forty steps are too few for a small learning rate"
    for side, rate in (("A", 1e-3), ("B", 0.02)):
        rung = dataclasses.replace(RUNGS["baseline"])
        object.__setattr__(rung, "train", rung.train.replace(learning_rate=rate))
        expected = on_the_command_line(load("given-names"), "strict", rung, 40, 2)
        check(page, side, expected["losses"], seed=2)

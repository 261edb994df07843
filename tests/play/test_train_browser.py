"""The page trains as the command line does, from a list that a person gives, and leaves runs that commands take."""

from __future__ import annotations

import dataclasses
import gzip
import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import page_losses
from scripts.page_losses import TOLERANCE, allowed
from test_train_node import PARTING, on_the_command_line

from play_runs import MINUTE, cpu_ms
from rungwise.cli.main import main
from rungwise.config import ListConfig, get_protocol
from rungwise.data.batches import Tape
from rungwise.data.words import load, read, split
from rungwise.engine import native
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, SELECTIONS, Rung
from rungwise.play.trainable import TRAINED
from rungwise.training import run_dir
from rungwise.util.files import read_json, read_lines

if native.why_not():
    pytest.skip("needs the native engine to compare with", allow_module_level=True)

ARTICLE = SELECTIONS["article"]
DONE = "#train-said:has-text('Done in')"
PARTS = (("ka", "el", "mi", "<b>"), ("ro", "an", "é"), ("sha", "tu", "ri"))
LISTED = "\n".join(map("".join, itertools.product(*PARTS))).encode()


@pytest.fixture
def page(open_page: Callable[[], Any]) -> Any:
    return open_page()


def choose(page: Any, *rungs: str, steps: int, seeds: int = 1) -> None:
    page.fill("#train-steps", str(steps))
    page.select_option("#train-seeds", str(seeds))
    page.locator("details.own").evaluate("details => { details.open = true; }")
    for box in page.locator("#train-rungs input").all():
        box.set_checked(box.get_attribute("value") in rungs)


def train(page: Any, *rungs: str, steps: int, seeds: int = 1) -> None:
    choose(page, *rungs, steps=steps, seeds=seeds)
    page.click("#train-go")
    page.wait_for_selector(DONE, timeout=10 * MINUTE)


def check(page: Any, name: str, losses: np.ndarray, seed: int = 0) -> None:
    found = np.array(page.evaluate("([name, seed]) => rungwise.losses(name, seed)", [name, seed]))
    assert found.shape == losses.shape
    assert np.abs(found - losses).max() < (allowed(name) if name in TRAINED else TOLERANCE), name


@pytest.mark.long
def test_every_rung_trains_for_a_thousand_steps_as_on_the_command_line() -> None:
    """To 1e-5; or, where builds of the native engine part from each other, as near as they come to each other."""
    found = page_losses.measure(list(TRAINED), 1000)["apart"]
    for name, apart in found.items():
        assert apart["page"] < max(TOLERANCE, 2 * page_losses.parting(apart)), name
    assert sum(apart["page"] < TOLERANCE for apart in found.values()) > len(found) - 6


def test_what_was_measured_of_the_losses_is_within_what_is_allowed() -> None:
    found = read_json(page_losses.FILE)
    assert found["apart"].keys() <= TRAINED.keys() and found["steps"] == 1000, "run python -m scripts.page_losses"
    assert all(apart["page"] < allowed(name) for name, apart in found["apart"].items())


SOME = ("gelu", "dropout-5k", "stream")


@pytest.mark.parametrize("rungs, steps", [(SOME, 60), pytest.param(tuple(TRAINED), 60, marks=pytest.mark.long)])
def test_words_are_those_that_a_climb_writes(
    page: Any, tmp_path: Path, rungs: tuple[str, ...], steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["climb", "--data", "given-names", "--protocol", "strict", "--seeds", "1", "--rungs", ",".join(rungs)]
    main([*command, "--steps", str(steps), "--out", str(tmp_path / "climb")])
    train(page, *rungs, steps=steps)
    with page.expect_download() as waited:
        page.click("#train-zip")
    zipfile.ZipFile(waited.value.path()).extractall(tmp_path / "page")
    for name in rungs:
        theirs, ours = tmp_path / f"climb/{name}/seed-0", tmp_path / f"page/given-names/{name}/seed-0"
        snapshots = [read_lines(folder / run_dir.SNAPSHOTS) for folder in (theirs, ours)]
        assert snapshots[0][0] == snapshots[1][0], name
        if name in PARTING:
            continue
        assert snapshots[0] == snapshots[1], name
        assert (theirs / run_dir.SAMPLES).read_text() == (ours / run_dir.SAMPLES).read_text(), name
    printed = []
    for where in ("climb", "page/given-names"):
        capsys.readouterr()
        main(["sample", str(tmp_path / where / rungs[0] / "seed-0"), "--n", "20"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and len(printed[0].splitlines()) >= 20


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
    page.wait_for_selector("#train-numbers:has-text('MB of memory')")
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
    "one line of 10 MB": (b"a" * 10_000_000, "holds no words of at most 64 characters."),
    "60,000 characters": (
        "\n".join(map(chr, range(0x20000, 0x20000 + 60_000))).encode(),
        "60,000 different characters; a page takes 2,000",
    ),
    "100 MB": (b"anna\nbert\n" * 10_000_000, "has 100,000,000 bytes; a page takes 33,554,432"),
    "100 MB, packed": (gzip.compress(b"anna\nbert\n" * 10_000_000, 1), "has more than 33,554,432 bytes"),
    "6 million words": (b"anna\n" * 6_000_000, "holds more than 1,000,000 words"),
    "33 million blank lines": (b"\n" * 33_000_000, "holds no words."),
    "a giant cell": (b'a,b\n"' + b"c" * 30_000_000, "line 2: field larger than field limit (131072)"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_list_is_refused_in_one_line_and_the_page_stays_responsive(
    chromium: Any, page: Any, tmp_path: Path, kind: str
) -> None:
    content, line = HOSTILE[kind]
    (tmp_path / "words.txt").write_bytes(content)
    page.select_option("#train-list", "own")
    if "cell" in kind:
        page.fill("#train-column", "a")
    chromium.start_tracing(page=page, categories=["toplevel"])
    page.set_input_files("#train-file", tmp_path / "words.txt")
    page.click("#train-go")
    page.wait_for_selector("#train-note:not(:empty)")
    said = page.inner_text("#train-note")
    assert line in said and "\n" not in said
    assert page.is_enabled("#train-go")
    assert cpu_ms(chromium.stop_tracing())[0] < 50


@pytest.mark.long
def test_the_page_stays_responsive_with_the_largest_list_that_it_takes(
    chromium: Any, page: Any, tmp_path: Path
) -> None:
    letters = np.random.default_rng(0).integers(97, 123, size=(960_000, 34), dtype=np.uint8)
    letters[:, -1] = ord("\n")
    (tmp_path / "words.txt").write_bytes(letters.tobytes())
    page.select_option("#train-list", "own")
    page.set_input_files("#train-file", tmp_path / "words.txt")
    choose(page, "baseline", steps=2)
    chromium.start_tracing(page=page, categories=["toplevel"])
    page.click("#train-go")
    page.wait_for_selector(DONE, timeout=4 * MINUTE)
    assert cpu_ms(chromium.stop_tracing())[0] < 50


def test_a_column_of_a_packed_table_trains_as_on_the_command_line(page: Any, tmp_path: Path) -> None:
    table = b"id,name\n" + b"".join(b"%d,%s\n" % (i, word) for i, word in enumerate(LISTED.upper().split()))
    (tmp_path / "words.csv.gz").write_bytes(gzip.compress(table))
    page.select_option("#train-list", "own")
    page.set_input_files("#train-file", tmp_path / "words.csv.gz")
    page.click("#train-go")
    page.wait_for_selector("#train-note:has-text('is a table: name the column that holds the words (id, name)')")
    page.fill("#train-column", "name")
    page.check("#train-lowercase")
    train(page, "baseline", steps=20)
    listed = load(ListConfig(str(tmp_path / "words.csv.gz"), column="name", lowercase=True))
    check(page, "baseline", on_the_command_line(listed, "strict", RUNGS["baseline"], 20, 0)["losses"])


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


def test_an_experiment_sets_one_family_against_another(page: Any) -> None:
    """And refuses, in one line, what the configuration refuses."""
    page.fill("#train-steps", "20")
    page.locator("#experiment summary").click()
    page.select_option("#experiment-base", "baseline")
    for family, layers, line in (("bow", "1", "has the width of the stream"), ("gru", "2", "Without a projection")):
        page.select_option("#experiment-B-family", family)
        page.fill("#experiment-B-n_layer", layers)
        page.click("#experiment-go")
        page.wait_for_selector(f"#train-note:has-text('{line}')")
    page.fill("#experiment-B-n_layer", "1")
    page.click("#experiment-go")
    page.wait_for_selector(DONE)
    rung = Rung("B", "B", "own", "baseline", {"family": "gru"}, "", "")
    check(page, "B", on_the_command_line(load("given-names"), "strict", rung, 20, 0)["losses"])


def test_a_group_of_rungs_is_chosen_at_once(page: Any) -> None:
    page.locator("details.own").evaluate("details => { details.open = true; }")
    group = page.get_by_role("button", name="all or none of family")
    for chosen in (len(ARTICLE) + sum(rung.group == "family" for rung in TRAINED.values()), len(ARTICLE)):
        group.click()
        assert page.inner_text("#train-chosen") == f"Rungs: {chosen} chosen"

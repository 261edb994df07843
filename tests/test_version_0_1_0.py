"""What users have on disk keeps loading: a climb, a tuned climb, a trained run and a stopped one, as version 0.1.0 left
them (version_0_1_0/, with what that version said of them in expected.json)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import command

HERE = Path(__file__).parent / "version_0_1_0"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
RUNS = ["run", "climb/2-heads/seed-0"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE, tmp_path / "old"))


def same(new: Any, before: Any) -> bool:
    """Equal, numbers to float32's last bits: other versions of torch and other machines add in another order."""
    if isinstance(before, dict):
        return before.keys() <= new.keys() and all(same(new[key], value) for key, value in before.items())
    if isinstance(before, list):
        return len(new) == len(before) and all(map(same, new, before))
    return new == (pytest.approx(before, rel=1e-4) if isinstance(before, float) else before)


@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_scored_as_before(old: Path, run: str) -> None:
    told = json.loads(command("eval", old / run, old / "words.txt", "--json").out)
    assert same(told, EXPECTED["eval"][run])


@pytest.mark.parametrize("run", RUNS)
def test_a_run_draws_the_words_of_before(old: Path, run: str) -> None:
    drawn = command("sample", old / run, "-n", 7, "--json").out.splitlines()
    assert same([json.loads(line) for line in drawn], EXPECTED["sample"][run])


def test_a_stopped_run_goes_on_to_the_same_end(old: Path) -> None:
    done = command("train", "--out", old / "stopped", "--resume", "--data", old / "words.txt")
    assert done.status == 0, done.err
    last = (old / "stopped" / "metrics.jsonl").read_text().splitlines()[-1]
    assert same(json.loads(last), EXPECTED["resumed"])


@pytest.mark.parametrize("name", ["climb", "tuned"])
def test_a_climb_is_shown_reported_and_gone_on_with(old: Path, name: str) -> None:
    before = (old / name / "results.jsonl").read_text()
    rungs, seeds, steps = ("baseline,2-heads,stream", 2, 30) if name == "climb" else ("baseline", 1, 10)
    asked = ("--data", old / "words.txt", "--rungs", rungs, "--seeds", seeds, "--steps", steps, "--processes", 1)
    done = command("climb", *asked, *["--tune"] * (name == "tuned"), "--out", old / name)
    assert done.status == 0, done.err
    assert (old / name / "results.jsonl").read_text() == before  # nothing is trained again
    assert command("report", old / name).status == 0
    assert "baseline" in (old / name / "report.md").read_text()


def test_a_climb_is_looked_into(old: Path) -> None:
    assert command("play", old / "climb", "--data", old / "words.txt", "--out", old / "play.html").status == 0
    assert "2-heads" in (old / "play.html").read_text()


def test_a_climb_takes_more_seeds(old: Path) -> None:
    asked = ("--data", old / "words.txt", "--rungs", "baseline", "--seeds", 3, "--steps", 30, "--processes", 1)
    done = command("climb", *asked, "--out", old / "climb", "--json")
    assert [json.loads(line)["seed"] for line in done.out.splitlines()] == [0, 1, 2], done.err

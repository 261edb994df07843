"""A new rung is one entry of the ladder: the table, a climb, its report and the page follow."""

import pytest

from helpers import WORDS, command
from rungwise import ladder


@pytest.fixture
def made_up_rung(monkeypatch):
    """Two heads as a rung of its own, added as ladder.py adds rungs."""
    rung = ladder.Rung("made-up", "made up", "beyond", "baseline", {"n_head": 2}, "To see it everywhere.", "a test")
    monkeypatch.setitem(ladder.RUNGS, rung.name, rung)
    return rung


def test_one_entry_is_found_everywhere(tmp_path, made_up_rung):
    listed = command("ladder")
    assert "made-up" in listed.out and "n_head=2" in listed.out
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    out = tmp_path / "climb"
    asked = ("--data", tmp_path / "list.txt", "--rungs", "baseline,made-up", "--seeds", 2, "--steps", 9)
    done = command("climb", *asked, "--processes", 1, "--out", out)
    assert done.status == 0, done.err
    assert "made up" in done.out
    assert command("report", out).status == 0
    assert "made up" in (out / "report.md").read_text()
    assert command("play", out, "--data", tmp_path / "list.txt").status == 0
    assert "made-up" in (out / "play.html").read_text()

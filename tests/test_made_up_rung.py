"""A new rung is one entry of the ladder: the table, its set, a climb, its report and the page follow."""

import os
import shutil
import subprocess
import sys

from helpers import SOURCE, WORDS

ENTRY = """
_rung("made-up", "made up", "beyond", "baseline", dict(n_head=2), "To see it everywhere.", "a test")
# fmt: on
"""
COMMANDS = """
import sys
from rungwise.cli.main import main

asked = ["--data", "list.txt", "--rungs", "baseline,beyond", "--seeds", "2", "--steps", "2", "--engine", "torch"]
main(["ladder"])
print("=====")
main(["climb", *asked, "--processes", "1", "--out", "climb"])
main(["report", "climb"])
main(["play", "climb", "--data", "list.txt"])
"""


def test_one_entry_is_found_everywhere(tmp_path):
    """In a copy of the package whose ladder.py has one entry more."""
    source, work = tmp_path / "src", tmp_path / "work"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    ladder = source / "rungwise/ladder.py"
    text = ladder.read_text(encoding="utf-8")
    assert text.count("\n# fmt: on\n") == 1
    ladder.write_text(text.replace("\n# fmt: on\n", ENTRY), encoding="utf-8")
    work.mkdir()
    (work / "list.txt").write_text("\n".join(WORDS))
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    line = [sys.executable, "-c", COMMANDS]
    done = subprocess.run(line, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table, _, climbed = done.stdout.partition("=====")
    assert "made-up" in table and "n_head=2" in table
    assert "made up" in climbed
    assert (work / "climb/made-up/seed-1/config.json").exists()
    report = (work / "climb/report.md").read_text(encoding="utf-8")
    assert "| made up | baseline |" in report.split("What today's transformers have, too")[1]
    assert "--rungs beyond,baseline " in report.split("Command")[1]  # which has the new one
    assert '"name":"made-up"' in (work / "climb/play.html").read_text(encoding="utf-8")

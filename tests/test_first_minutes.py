"""The README's commands in a fresh clone, timed: a report beside what the README says, and no gate on the clock."""

import json
import subprocess
import sys

import pytest
from scripts import first_minutes
from scripts.common import ROOT


def test_the_commands_are_those_of_the_readme():
    found = first_minutes.commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found[:2] == ["make page", "make climb"]
    assert sum(command.removeprefix(".venv/bin/").startswith("rungwise ") for command in found) >= 6
    measured = json.loads(first_minutes.FILE.read_text(encoding="utf-8"))["seconds"]
    assert set(measured) == set(found), "run python -m scripts.first_minutes"


@pytest.mark.parametrize("name", ["README.md", "Makefile"])
def test_sizes_are_as_measured(name):
    text, found = (ROOT / name).read_text(encoding="utf-8"), json.loads(first_minutes.FILE.read_text(encoding="utf-8"))
    assert f"{round(found['download_mb'], -1)} MB" in text and f"{found['installed_mb'] / 1000:.1f} GB" in text


@pytest.mark.long
def test_every_command_runs_in_a_fresh_clone(tmp_path):
    """Installs from the index and trains: minutes. Prints the time of each command beside the README's."""
    line = [sys.executable, "-m", "scripts.first_minutes", "--out", str(tmp_path / "found.json")]
    subprocess.run(line, check=True, cwd=ROOT)
    found, said = (json.loads(path.read_text())["seconds"] for path in (tmp_path / "found.json", first_minutes.FILE))
    for command, seconds in found.items():
        print(f"{seconds:7.1f} s (README: {said[command]:.1f} s)  {command}")

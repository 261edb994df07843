"""--trackio, against the library itself: what was logged is read back; a run that goes on has every point once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import TINY, WORDS, command, flags
from rungwise.training import run_dir
from rungwise.util.files import read_lines

READ = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
found = {run: SQLiteStorage.get_logs("rungwise", run) for run in SQLiteStorage.get_runs("rungwise")}
print(json.dumps(found))
"""
OFFLINE = """
import socket, sys
def refuse(*arguments, **named): raise AssertionError("no network")
socket.socket.connect = socket.socket.bind = refuse
socket.getaddrinfo = refuse
from rungwise.cli.main import main
main(sys.argv[1:])
"""


def points(out: Path) -> dict[int, dict[str, float]]:
    """What trackio itself reads, by step; each step must be there once."""
    environment = {**os.environ, "TRACKIO_DIR": str(out / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == [out.name]
    steps = [line["step"] for line in found[out.name]]
    assert len(steps) == len(set(steps))
    return {line["step"]: {n: v for n, v in line.items() if isinstance(v, float)} for line in found[out.name]}


def measured(out: Path) -> dict[int, dict[str, float]]:
    lines = [line for line in read_lines(out / run_dir.METRICS) if "train_loss" in line]
    return {line["step"]: {name: v for name, v in line.items() if name != "step"} for line in lines}


def run(*arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "TRACKIO_SERVER_URL": "http://192.0.2.1:1"}  # never asked
    whole = [sys.executable, "-c", OFFLINE, "train", "--trackio", *map(str, arguments)]
    return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)


def test_trackio_has_every_look_once_without_any_network(tmp_path):
    pytest.importorskip("trackio")
    (tmp_path / "list").write_text("\n".join(WORDS))
    out = tmp_path / "run"
    done = run("--data", tmp_path / "list", "--out", out, *flags(**{**TINY, "eval_every": 4}))
    assert done.returncode == 0, done.stderr
    assert "Trackio" not in done.stdout + done.stderr  # no chatter
    assert points(out) == measured(out)
    assert len(points(out)) == 5
    # As a kill before the first checkpoint leaves it: the points of steps that will be taken again are there.
    (out / run_dir.CHECKPOINT).unlink()
    (out / run_dir.SAMPLES).unlink()
    assert run("--out", out, "--resume").returncode == 0
    assert points(out) == measured(out)
    assert len(points(out)) == 5


def test_trackio_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    (tmp_path / "list").write_text("\n".join(WORDS))
    done = command("train", "--data", tmp_path / "list", "--out", tmp_path / "r", "--trackio", *flags(**TINY))
    line = "rungwise: error: --trackio needs the package trackio: pip install 'rungwise[track]'\n"
    assert (done.status, done.err) == (2, line)
    assert not (tmp_path / "r").exists()

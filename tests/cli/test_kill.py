"""SIGKILL at random moments: nothing is lost, nothing is counted twice, and the weights come out the same.

Processes are forked off a server that has torch already, so that many can be killed in little time.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import TINY, WORDS, assert_same
from rungwise.config.settings import Settings
from rungwise.training import run as training
from rungwise.training import run_dir
from rungwise.util.files import read_lines

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process is forked, and none gets SIGKILL")
STEPS = 150
RUN = {**TINY, "steps": STEPS, "eval_every": 20, "save_every": 0, "dropout": 0.1}


def train(folder: str, words: str) -> None:
    """What a user does: begin, or go on."""
    import torch

    torch.set_num_threads(1)
    out = Path(folder)
    if (out / run_dir.CONFIG).exists():
        training.resume(out, log=lambda line: None)
    else:
        training.start(out, Settings.of({**RUN, "data": words}, "test"), log=lambda line: None)


def climb(folder: str, words: str, rungs: str = "baseline,2-heads", processes: int = 2) -> None:
    from rungwise.cli.main import main

    main(["climb", "--data", words, "--rungs", rungs, "--seeds", "2", "--steps", "60", "--out", folder,
          "--engine", "torch", "--processes", str(processes)])  # fmt: skip


def climb_a_little(folder: str, words: str) -> None:
    climb(folder, words, "baseline", 1)


@pytest.fixture(scope="module")
def fork():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "rungwise.training.run"])
    return context


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(WORDS))
    return str(path)


def until_done(fork, what, folder: Path, listed: str, done, kills: int, delays) -> int:
    """Start, kill after a random while, start again ...; at most `kills` times. How many came before the end."""
    killed = 0
    while not done(folder):
        process = fork.Process(target=what, args=(str(folder), listed))
        process.start()
        process.join(delays() if killed < kills else 600)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0
    return killed


def trained(folder: Path) -> bool:
    return (folder / run_dir.SAMPLES).exists()


def kill_training(fork, tmp_path: Path, listed: str, kills: int) -> None:
    began = time.monotonic()
    until_done(fork, train, tmp_path / "whole", listed, trained, 0, None)
    whole = time.monotonic() - began
    rng, killed, n = np.random.default_rng(7), 0, 0
    while killed < kills:
        out, n = tmp_path / f"cut{n}", n + 1
        killed += until_done(fork, train, out, listed, trained, kills - killed, lambda: rng.uniform(0.02, whole / 2))
        assert_same(tmp_path / "whole", out)
        assert not list(out.glob(".*.tmp"))


def test_training_that_is_killed_a_few_times(fork, tmp_path, listed):
    kill_training(fork, tmp_path, listed, 4)


@pytest.mark.long
def test_training_that_is_killed_many_times(fork, tmp_path, listed):
    kill_training(fork, tmp_path, listed, 45)


def results(folder: Path) -> dict[tuple[str, int], tuple[float, float]]:
    """Losses by rung and seed; each must be there once."""
    found = {}
    for line in read_lines(folder / "results.jsonl"):
        key = line["rung"], line["seed"]
        assert key not in found
        found[key] = line["train_loss"], line["test_loss"]
    return found


def kill_climbing(fork, tmp_path: Path, listed: str, kills: int, climb, n_results: int) -> None:
    def climbed(folder: Path) -> bool:
        return (folder / "results.jsonl").exists() and len(results(folder)) == n_results

    began = time.monotonic()
    until_done(fork, climb, tmp_path / "whole", listed, climbed, 0, None)
    whole = time.monotonic() - began
    rng, killed, n = np.random.default_rng(8), 0, 0
    while killed < kills:
        out, n = tmp_path / f"cut{n}", n + 1
        killed += until_done(fork, climb, out, listed, climbed, kills - killed, lambda: rng.uniform(0.1, whole))
        assert results(out) == results(tmp_path / "whole")
        for rung, seed in results(out):
            where = Path(rung) / f"seed-{seed}" / run_dir.WEIGHTS
            assert (out / where).read_bytes() == (tmp_path / "whole" / where).read_bytes()
        settings = json.loads((out / "climb.json").read_text())
        assert settings == json.loads((tmp_path / "whole" / "climb.json").read_text())


def test_a_climb_that_is_killed(fork, tmp_path, listed):
    kill_climbing(fork, tmp_path, listed, 1, climb_a_little, 2)


@pytest.mark.long
def test_a_climb_that_is_killed_many_times(fork, tmp_path, listed):
    kill_climbing(fork, tmp_path, listed, 12, climb, 4)

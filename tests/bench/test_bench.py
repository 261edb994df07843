"""`rungwise bench`: that it works, not how fast it is. Its arithmetic by hand, its reading of other programs' words."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import command
from rungwise.bench import limits, machine, peers, summary
from rungwise.bench.limits import Work
from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import Tape
from rungwise.data.words import END
from rungwise.engine import native
from rungwise.errors import UserError
from rungwise.model.cost import flop
from rungwise.util.machine import cores


def test_it_runs_and_tells(tmp_path):
    """Once, short, without other projects: the same numbers as text and as JSON."""
    asked = ["bench", "--short", "--data", "given-names", "--out", tmp_path / "bench.json", "--engine", "torch"]
    status, out, err = command(*asked)
    assert status == 0, err
    found = json.loads((tmp_path / "bench.json").read_text())
    assert out == summary.text(found) + "\n"
    assert found["short"]
    assert found["engine"].startswith("torch on ")
    assert {name for name, values in found["measured"]["rungwise"].items() if min(values) > 0} == {
        *("scaled_8", "scaled_1", "gelu_8", "gelu_1", "dropout_1", "names")
    }
    assert all(found[name] is None for name in summary.RATIOS)
    assert found[summary.CLIMB_RATIO] is None
    assert found["help_cpu_seconds"] > 0.01
    assert found["limits"]["sgemm_peak_gflops"] > 0.1
    for said in ("real tokens a second", "names a second", "peak (", "MB", "s of CPU", "torch 2."):
        assert said in out


@pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))
def test_no_product_beats_the_peak_of_the_core():
    """A matrix product by numpy is multiply-adds and loads."""
    peak = limits.multiply_add_peak_gflops()
    a = np.ones((256, 256), np.float32)
    reached = 2 * 256**3 / limits.best_seconds(lambda: a @ a) / 1e9
    assert peak is not None
    assert peak > 4  # a vector of four floats, a multiplication and an addition, at 0.5 GHz
    assert reached < 1.5 * cores() * peak


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--rounds", "0"], "rounds must be at least 1"),
        (["--makemore", "."], "no makemore.py there"),
        (["--eemicrogpt", "gone"], "--eemicrogpt gone: there is no such program"),
        (["--microgpt-c", "."], "no demos/character-level/names/main.c there"),
    ],
)
def test_what_cannot_be_measured(tmp_path, monkeypatch, flags, line):
    monkeypatch.chdir(tmp_path)
    status, _, err = command("bench", "--data", "given-names", *flags)
    assert status == 2
    assert line in err
    assert len(err.splitlines()) == 1


def test_ratios_by_hand():
    measured = {
        "rungwise": {"scaled_8": [1.0, 2.0, 4.0], "scaled_1": [2.0], "gelu_8": [1.0], "gelu_1": [1.0], "names": [60.0]},
        "makemore": {"scaled": [10.0, 10.0, 12.0], "names": [3.0]},
    }
    found = summary.ratios(measured, {"climb": {"seconds_of_a_whole_climb": 25.0}})
    assert found["train_ratio_makemore"] == 5  # of 10, 5 and 3
    assert found["spread"]["train_ratio_makemore"] == {"low": 3, "high": 10, "n": 3}
    assert found["generate_ratio_makemore"] == 20
    assert found["train_ratio_microgpt_c"] is None
    assert found["climb_ratio_makemore"] == 2  # 5,000 steps of 10 ms in 25 s
    assert "train_ratio_microgpt_c" not in found["spread"]
    full = summary.ratios(measured, {"climb": {"seconds_of_a_whole_climb": 25.0}, "makemore_full_ms": 15.0})
    assert full["climb_ratio_makemore"] == 3


def test_the_arithmetic_of_a_step_by_hand():
    """One batch of the words ab, ac, ab: five tokens' worth of work in nine."""
    tokens = np.array([END, 2, 3, END, 2, 4, END, 2, 3, END], dtype=np.uint8)
    tape = Tape(tokens, np.array([0, 3, 6]), np.array([3, 3, 3]))
    config = TrainConfig(batch_size=64)  # every word comes up in a batch
    work = Work.of(tape, config, steps=2)
    assert work.tokens == 64 * 3
    assert work.rows == 4  # END, END a, END ab, END ac
    assert work.attended == 1 + 2 + 3 + 3
    model = ModelConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=7, mlp="none", position="none")
    linear = 5 * 7 * 21 + 4 * 7 * 7 + 4 * 7 * 5  # queries, keys and values of five tokens; projection; head
    assert flop(model, work.rows, work.attended) == 3 * 2 * (linear + 2 * 9 * 7)


def test_the_memory_of_a_family():
    """A child of a child counts, too."""
    child = "import subprocess, sys, time; x = bytearray(60 << 20); print(1, flush=True); time.sleep(30)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = list(machine.family(process.pid))
        if len(family) == 1:
            process.kill()
            pytest.skip("this system does not tell who descends from whom")
        held = sum(map(machine.pss, family))
        subprocess.run(["kill", *map(str, family)], check=True)
    assert 60 << 20 < held < 140 << 20


def test_programs_that_print_something_else_are_refused():
    assert peers.numbers(r"step time ([\d.]+)ms", "step 0 | loss 3.3 | step time 12.50ms", "x") == [12.5]
    with pytest.raises(UserError, match="another version"):
        peers.numbers(r"step time ([\d.]+)ms", "step 0 took 12 ms", "makemore")
    with pytest.raises(UserError, match=r"failed in .*: boom"):
        peers.run([sys.executable, "-c", "import sys; sys.exit('boom')"], Path(sys.executable).parent)

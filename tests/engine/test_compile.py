"""When steps are compiled, and that it changes no loss. The decision is tested with steps whose times are given."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rungwise.engine import compile as compiling
from rungwise.engine import native
from rungwise.engine.compile import GUESS, NotCompiled, WarmUp, compiled, pays

needs_compiler = pytest.mark.skipif(bool(native.why_not()), reason=str(native.why_not()))


def double(x):
    return 2 * x


class Trial:
    """Runs a step really, and tells a time of its own: 0.1 s plain, and what is given for compiled ones."""

    def __init__(self, compiled_seconds=0.02):
        self.compiled_seconds, self.calls = compiled_seconds, 0

    def __call__(self, step):
        self.calls += 1
        assert step(torch.tensor([1.0, 2.5])).tolist() == [2.0, 5.0]
        return 0.1 if step is double else self.compiled_seconds


@pytest.fixture
def decide(tmp_path, monkeypatch):
    """compiled() with a cache of its own; returns what it gives, and the lines that it said."""
    torch._dynamo.reset()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(compiling.CACHE_DIR, raising=False)

    def call(steps, asked="auto", trial=None, step=double):
        lines = []
        return compiled(step, trial or Trial(), steps, asked, "cpu", "a test", lines.append), lines

    return call


def test_compiling_pays_where_the_steps_save_more_than_the_warm_up_costs():
    known = WarmUp(seconds=30, plain_ms=20, compiled_ms=15)
    assert known.saved == 0.25
    # 6,001 steps of 20 ms take 120.02 s; a quarter of that is just above 30 s.
    assert pays(6_001, 20, known)
    assert not pays(5_999, 20, known)
    assert not pays(10**9, 20, WarmUp(30, 20, 21))


@needs_compiler
def test_what_compiling_gave_is_remembered(decide, tmp_path):
    steps = int(GUESS.seconds / GUESS.saved / 0.1) + 1  # just long enough by the guess
    assert decide(steps - 2)[0] is None
    step, lines = decide(steps)
    assert step is not None
    assert step(torch.tensor([3.0])).tolist() == [6.0]
    assert lines == [
        f"Steps are compiled: {steps:,} plain steps take about 5:33; "
        "compiling saves an estimated 30% of that for 100 s of warm-up."
    ]
    kept = tmp_path / "rungwise/compiled"
    assert any((kept / "torch").iterdir())
    record = next(kept.glob("*.json"))
    found = WarmUp(**json.loads(record.read_text()))
    assert (found.plain_ms, found.compiled_ms) == (100, 20)
    assert 0 < found.seconds < 60
    # It took a moment, takes less again, and saves 80 %: now a shorter run is worth it, too. One that is very short is
    # not even tried.
    shorter = int(found.seconds / 0.8 / 0.1) + 2
    step, lines = decide(max(shorter, compiling.FEWEST_STEPS))
    assert step is not None
    assert "compiling saves 80% of that for" in lines[0]
    assert lines[0].endswith("going by the last time.")
    trial = Trial()
    assert decide(compiling.FEWEST_STEPS - 1, trial=trial) == (None, [])
    assert trial.calls == 0


@needs_compiler
def test_a_compiled_step_that_is_no_faster_is_not_taken(decide):
    step, lines = decide(10_000, trial=Trial(compiled_seconds=0.11))
    assert step is None
    assert lines[-1] == "Steps are not compiled after all: 110 ms each, not 100."
    assert decide(10**7)[0] is None  # nor ever again
    assert decide(10**7, asked="on")[0] is not None


def test_off_is_off_and_says_nothing(decide):
    trial = Trial()
    assert decide(10**7, asked="off", trial=trial) == (None, [])
    assert trial.calls == 0


def test_without_a_compiler_steps_stay_as_they_are(decide, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    step, lines = decide(10**7)
    assert step is None
    assert lines == ["Steps are not compiled: the compiler $CXX, 'no-such-compiler', was not found."]
    with pytest.raises(NotCompiled, match="Steps cannot be compiled: the compiler"):
        decide(10, asked="on")


@needs_compiler
def test_what_torch_cannot_compile_stays_as_it_is(decide):
    def torn(x):
        torch._dynamo.graph_break()
        return 2 * x

    step, lines = decide(10_000, step=torn, trial=lambda step: step(torch.ones(1)) is None or 0.1)
    assert step is None
    assert lines[-1].startswith("Steps are not compiled after all: torch.compile failed (")
    with pytest.raises(NotCompiled, match=r"torch\.compile failed"):
        decide(10_000, asked="on", step=torn, trial=lambda step: step(torch.ones(1)) is None or 0.1)


def outside(call):
    """Run a scenario of compiled.py in a process of its own: the compiler cannot see through the checks of shapes that
    conftest.py adds to the model here."""
    command = [sys.executable, "-c", f"import compiled; compiled.{call}"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
@needs_compiler
@pytest.mark.parametrize("rung", ["2-heads", "4-layers-no-residual", "final", "stream", "swiglu", "rmsnorm", "tied"])
def test_compiled_steps_give_the_same_losses_on_rungs_of_every_kind(rung):
    outside(f"same_losses({rung!r})")


@needs_compiler
def test_a_run_that_goes_on_compiles_its_steps_again(tmp_path):
    """And ends within rounding of one whose later steps are plain."""
    outside(f"resumed({str(tmp_path)!r})")

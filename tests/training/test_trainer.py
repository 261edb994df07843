"""Training a run: stopped anywhere it goes on bit for bit; the best weights are kept; patience ends."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import ENGINES, TINY, WORDS, assert_same, command, ctrl_c, flags, listed, observed
from rungwise.config.settings import Settings
from rungwise.data.known_words import KNOWN
from rungwise.errors import UserError
from rungwise.training import run as training
from rungwise.training import run_dir
from rungwise.training import trainer as trainers
from rungwise.training.trainer import Event, Stopped, Trainer
from rungwise.util.files import read_lines, read_tensors


def quiet(line: str) -> None: ...


def begin(out: Path, *observers, **fields) -> run_dir.Run:
    asked = Settings.of({**TINY, "steps": 60, "dropout": 0.2, **fields}, "test")
    return training.start(out, asked, log=quiet, listed=listed(), observers=observers)


class Killed(Exception):
    """As sudden as SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", ["strict", "article"])
def test_a_run_that_was_cut_anywhere_ends_the_same(tmp_path, monkeypatch, engine, protocol):
    monkeypatch.setattr(trainers, "STEPS_AT_ONCE", 7)
    fields = {"engine": engine, "protocol": protocol, "save_every": 0, "eval_every": 10}
    begin(tmp_path / "whole", **fields)
    at = np.random.default_rng(5)
    patience = [0]

    def sudden(event):
        patience[0] -= event.kind == "block"
        if not patience[0]:
            raise Killed

    out, cuts = tmp_path / "cut", 0
    while not (out / run_dir.SAMPLES).exists():
        patience[0] = int(at.integers(2, 5))
        try:
            if (out / run_dir.CONFIG).exists():
                training.resume(out, log=quiet, listed=listed(), observers=[sudden])
            else:
                begin(out, sudden, **fields)
        except Killed:
            cuts += 1
    assert cuts >= 2
    assert_same(tmp_path / "whole", out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    begin(tmp_path / "whole")
    before, out = signal.getsignal(signal.SIGINT), tmp_path / "stopped"
    with pytest.raises(Stopped) as stopped:
        begin(out, ctrl_c(33, number))
    assert str(stopped.value) == (
        "Stopped after 33 of 60 steps; everything is saved. Go on, with the list on standard input: "
        f"rungwise train --out {out} --resume --data -"
    )
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(signal.SIGINT) is before
    training.resume(out, log=quiet, listed=listed())
    assert_same(tmp_path / "whole", out)


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    """Not one that comes with the first: torchrun passes on what its processes have heard themselves."""

    def interrupt(event):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        time.sleep(trainers.AGAIN)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as stopped:
        begin(tmp_path / "stopped", interrupt)
    assert not isinstance(stopped.value, Stopped)
    assert time.monotonic() - began >= trainers.AGAIN


def test_the_command_ends_with_130_after_ctrl_c(tmp_path):
    (tmp_path / "l").write_text("\n".join(WORDS))
    with observed(ctrl_c()):
        done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**{**TINY, "steps": 99}))
    assert done.status == 130
    assert done.err.splitlines()[-1].startswith("rungwise: Stopped after 4 of 99 steps; everything is saved. Go on: ")
    sampled = command("sample", tmp_path / "r", "-n", 2)  # the best so far can be used
    assert (sampled.status, len(sampled.out.splitlines())) == (0, 2)


def test_observers_are_told_blocks_evaluations_and_checkpoints(tmp_path):
    """What they are told is what the directory holds."""
    events: list[Event] = []
    begin(tmp_path / "r", events.append, eval_every=20, save_every=0, learning_rate=0.02)
    assert [event.step for event in events if event.kind == "block"] == [20, 40, 60]
    lines = [line for line in read_lines(tmp_path / "r" / run_dir.METRICS) if "train_loss" in line]
    assert [{"step": e.step, **e.values} for e in events if e.kind == "evaluation"] == lines
    assert [event.step for event in events if event.kind == "checkpoint"] == [20, 40, 60]
    assert [event.kind for event in events] == ["block", "evaluation", "checkpoint"] * 3
    for n, event in enumerate(e for e in events if e.kind == "block"):
        assert event.values["tokens_per_s"] > 0
        assert event.values.get("best_val_loss") == min((line["val_loss"] for line in lines[:n]), default=None)


def test_what_an_observer_raises_ends_training(tmp_path):
    def observe(event: Event) -> None:
        if event.kind == "evaluation":
            raise Killed

    with pytest.raises(Killed):
        begin(tmp_path / "r", observe)
    assert not (tmp_path / "r" / run_dir.SAMPLES).exists()


def test_another_thread_trains_without_signals(tmp_path):
    thread = threading.Thread(target=begin, args=(tmp_path / "r",))
    thread.start()
    thread.join()
    assert (tmp_path / "r" / run_dir.SAMPLES).exists()


def losses_in_order(monkeypatch, values):
    """Validation losses as a test wants them."""
    given, honest = iter(values), trainers.score

    class Told:
        loss = 0.0

    def score(model, tape):
        honest(model, tape)
        told = Told()
        told.loss = next(given)
        return told

    monkeypatch.setattr(trainers, "score", score)


def test_patience_stops_and_the_best_weights_are_kept(tmp_path, monkeypatch):
    losses_in_order(monkeypatch, [3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    out = tmp_path / "r"
    begin(out, eval_every=5, patience=3)
    lines = read_lines(out / run_dir.METRICS)
    assert [line.get("val_loss") for line in lines[:-1]] == [3.0, 2.0, 2.5, 2.0, 2.1]
    assert (lines[-1]["step"], lines[-1]["best_step"]) == (25, 10)  # a tie is no better
    best, about = read_tensors(out / run_dir.WEIGHTS)
    assert about == {"step": 10, "val_loss": 2.0}
    monkeypatch.undo()
    # The same steps without patience: what was kept is what stood there after ten.
    cut = tmp_path / "cut"
    monkeypatch.setattr(Trainer, "finished", property(lambda self: self.state.step >= 10))
    begin(cut, eval_every=5)
    last = read_tensors(cut / run_dir.CHECKPOINT)[0]
    for name, value in best.items():
        np.testing.assert_array_equal(value, last[f"param/{name}"][0])


def test_evaluations_come_as_often_as_asked(tmp_path):
    begin(tmp_path / "a", eval_every=25)
    assert [line["step"] for line in read_lines(tmp_path / "a" / run_dir.METRICS)] == [25, 50, 60, 60]
    begin(tmp_path / "b", protocol="article")
    lines = read_lines(tmp_path / "b" / run_dir.METRICS)
    assert len(lines) == 21  # twenty evaluations, though there are no validation words, and the end
    assert all("val_loss" not in line for line in lines)


def test_patience_needs_validation_words(tmp_path):
    with pytest.raises(UserError, match="patience needs validation words, and protocol article has none"):
        begin(tmp_path / "r", patience=2, protocol="article")
    assert not (tmp_path / "r" / run_dir.CONFIG).exists()


def test_the_model_learns(tmp_path):
    run = begin(tmp_path / "r", steps=100, learning_rate=0.02, eval_every=50)
    final = read_lines(tmp_path / "r" / run_dir.METRICS)[-1]
    assert final["final_train_loss"] < 2.4 < np.log(len(run.vocabulary))


# ------------------------------------------------------------------------------- resuming what cannot be resumed


@pytest.fixture
def half(tmp_path):
    """A run of a file's words that was stopped half-way."""
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    with observed(ctrl_c()):
        done = command("train", "--data", tmp_path / "list.txt", "--out", tmp_path / "r", *flags(**TINY))
    assert done.status == 130
    return tmp_path / "r"


def test_the_command_goes_on(half):
    done = command("train", "--out", half, "--resume")
    assert done.status == 0, done.err
    assert "Going on after 1 steps." in done.out
    assert "is complete" in command("train", "--out", half, "--resume").out


def test_a_list_that_moved_is_named_again(half):
    (half.parent / "list.txt").rename(half.parent / "moved.txt")
    assert "No word list at" in command("train", "--out", half, "--resume").err
    assert command("train", "--out", half, "--resume", "--data", half.parent / "moved.txt").status == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--n-embd", "16"], "--resume reads everything from {r}; leave out --n-embd."),
        (["--config", "x.json"], "--resume reads everything from {r}; leave out --config."),
        (["--data", "given-names"], "given-names is not the list that {r} was begun with (SHA-256 differs)."),
    ],
)
def test_a_resumed_run_takes_nothing_else(half, arguments, line):
    done = command("train", "--out", half, "--resume", *arguments)
    assert (done.status, done.err) == (2, f"rungwise: error: {line.format(r=half)}\n")


def test_a_stopped_run_is_not_begun_again(half):
    done = command("train", "--data", half.parent / "list.txt", "--out", half)
    line = f"rungwise: error: {half} holds a run that was stopped: go on with --resume, or give another --out.\n"
    assert (done.status, done.err) == (2, line)


def test_a_start_that_was_killed_is_begun_again(half):
    for path in half.iterdir():
        if path.name not in (run_dir.VOCABULARY, KNOWN):
            path.unlink()
    assert "holds no run to go on with" in command("train", "--out", half, "--resume").err
    assert command("train", "--data", half.parent / "list.txt", "--out", half, *flags(**TINY)).status == 0


def test_a_run_without_its_checkpoint_begins_with_the_first_step(half, tmp_path):
    whole = tmp_path / "whole"
    assert command("train", "--data", half.parent / "list.txt", "--out", whole, *flags(**TINY)).status == 0
    (half / run_dir.CHECKPOINT).unlink()
    assert "Going on after 0 steps." in command("train", "--out", half, "--resume").out
    assert_same(whole, half)


def test_a_damaged_checkpoint_is_refused_and_kept(half):
    path = half / run_dir.CHECKPOINT
    path.write_bytes(damaged := path.read_bytes()[:-4])
    done = command("train", "--out", half, "--resume")
    assert done.status == 2
    assert done.err.startswith(f"rungwise: error: {path} is damaged: ")
    assert path.read_bytes() == damaged


def test_a_run_that_begins_with_standard_input(tmp_path):
    data = "\n".join(WORDS).encode()
    out = tmp_path / "r"
    assert command("train", "--data", "-", "--out", out, *flags(**TINY), stdin=data).status == 0
    (out / run_dir.SAMPLES).unlink()
    line = (
        f"rungwise: error: {out} was begun with a list that lies in no file: give it again, with --data FILE, or with "
        "--data - on standard input.\n"
    )
    assert command("train", "--out", out, "--resume").err == line
    assert command("train", "--out", out, "--resume", "--data", "-", stdin=data).status == 0


def test_other_versions_are_told(half):
    path = half / run_dir.CONFIG
    config = json.loads(path.read_text())
    config["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(config))
    assert "Begun with other versions (torch 1.0 then, " in command("train", "--out", half, "--resume").err


def test_a_run_in_use_is_refused(half):
    with training.lock(half):
        done = command("train", "--out", half, "--resume")
    assert done.status == 2
    assert f"Another process (id {os.getpid()}) is at work in {half}" in done.err


def test_a_full_disk_in_the_midst_loses_nothing(half, monkeypatch):
    before = {path.name: path.read_bytes() for path in half.iterdir() if path.name != ".lock"}
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        done = command("train", "--out", half, "--resume")
    assert done.status == 2
    assert done.err.splitlines()[-1].endswith("No space left on device.")
    for name, content in before.items():
        assert (half / name).read_bytes() == content
    assert command("train", "--out", half, "--resume").status == 0


# ------------------------------------------------------------------------------------------------- TensorBoard


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    (tmp_path / "l").write_text("\n".join(WORDS))
    done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", "--tensorboard", *flags(**TINY))
    assert done.status == 2
    line = "rungwise: error: --tensorboard needs the package tensorboard: pip install 'rungwise[track]'\n"
    assert done.err == line


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "l").write_text("\n".join(WORDS))
    assert (
        command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", "--tensorboard", *flags(**TINY)).status == 0
    )
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    written = {line["step"]: line["val_loss"] for line in read_lines(tmp_path / "r" / run_dir.METRICS)[:-1]}
    assert {e.step: e.value for e in events.Scalars("val_loss")} == pytest.approx(written)
    shutil.rmtree(tmp_path / "r")

"""One model over several processes: the losses of one process, whatever the number; a rank that dies loses nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from conftest import make_words
from helpers import SOURCE, assert_same, command, flags
from rungwise.config import RunConfig, TrainConfig, get_protocol
from rungwise.config.settings import Settings
from rungwise.data import words
from rungwise.data.batches import Drawn, Tape
from rungwise.engine.ddp import DistributedEngine
from rungwise.engine.process_group import World
from rungwise.engine.torch_engine import TorchEngine
from rungwise.errors import UserError
from rungwise.ladder import RUNGS, select
from rungwise.training import run as training
from rungwise.training import run_dir
from rungwise.util.files import read_lines, read_tensors

SMALL = {"n_embd": 12, "n_head": 2, "n_layer": 2, "dropout": 0.2, "warmup_steps": 5, "batch_size": 13, "seed": 3}
STEPS = 120
PATIENCE = 300
"""Seconds for what takes ten on a machine that does nothing else."""
RUN = {**SMALL, "steps": STEPS, "eval_every": 10, "save_every": 0}


def engines(rung, accumulate=1, precision="fp32", **fields):
    """The reference and ours, on the same words: a small model of a rung."""
    listed, protocol = make_words(), get_protocol("strict")
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size, **fields)
    config = rung.train.replace(steps=29, batch_size=13, warmup_steps=5)
    ours = DistributedEngine(
        model, config, Drawn(tape, config, 3), RunConfig(seed=3, accumulate=accumulate, precision=precision), None
    )
    return TorchEngine(model, config, tape, [3]), ours


def rates(n):
    return [1e-3 * (i + 1) / n for i in range(n)]


FROM_WORDS = [rung for rung in select("everything") if rung.train.targets == "words" and not rung.train.teachers]


@pytest.mark.parametrize("rung", FROM_WORDS, ids=lambda rung: rung.name)
def test_one_process_gives_the_reference_s_losses_on_every_rung(rung):
    reference, ours = engines(rung, accumulate=3)
    np.testing.assert_allclose(ours.run(0, rates(7)), reference.run(0, rates(7)), rtol=2e-6)
    a, b = reference.state(), ours.state()
    assert {name: v.shape for name, v in a.items()} == {name: v.shape for name, v in b.items()}
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_bf16_trains_and_ends_near_fp32():
    """bfloat16 has 8 bits of fraction: losses agree to about 2^-8, and the gap does not grow."""
    reference, ours = engines(RUNGS["layernorm"], precision="bf16", n_embd=12, n_head=2, n_layer=1)
    a, b = reference.run(0, [1e-2] * 80)[:, 0], ours.run(0, [1e-2] * 80)[:, 0]
    assert a[-20:].mean() < a[:5].mean() - 0.2  # it learns
    assert abs(a - b).max() > 0  # and not in fp32
    assert abs(a[-20:].mean() - b[-20:].mean()) < 0.02


def test_a_batch_must_have_a_word_for_every_part():
    with pytest.raises(UserError, match="batch_size must be at least 14 for 1 processes and accumulate=14, but is 13"):
        engines(RUNGS["gelu"], accumulate=14)


# ------------------------------------------------------------------------------------------- real processes


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_text("".join(f"{word}\n" for word in make_words(499)))
    return path


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return ours | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}


def torchrun(n: int, *arguments: object, restarts: int = 0, what=("-m", "rungwise")) -> subprocess.Popen:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    return subprocess.Popen(
        [*launch, f"--max-restarts={restarts}", *what, "train", *map(str, arguments)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err


def begin(out: Path, listed: Path, **fields) -> None:
    training.start(out, Settings.of({**RUN, "data": str(listed), **fields}, "test"), log=lambda line: None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, listed) -> Path:
    """A run of two processes that nobody disturbed."""
    out = tmp_path_factory.mktemp("pair") / "run"
    said, err = finish(torchrun(2, "--data", listed, "--out", out, *flags(**RUN)))
    assert said.count("engine distributed, 2 processes") == said.count(" distinct; ") == 1  # one rank speaks
    assert "rungwise" not in err
    return out


def test_two_processes_give_the_loss_of_one_with_the_whole_batch(pair, listed, tmp_path):
    """Dropout is on; the words of a batch are 13, so the processes' shares differ."""
    for name, fields in {"torch": {}, "accumulated": {"accumulate": 2, "engine": "auto"}}.items():
        begin(tmp_path / name, listed, **{"engine": "torch", **fields})
        one, two = (read_lines(folder / run_dir.METRICS) for folder in (tmp_path / name, pair))
        assert len(one) == len(two) == STEPS // 10 + 1
        for a, b in zip(one, two, strict=True):
            assert a.keys() == b.keys()
            for key in a:
                assert abs(a[key] - b[key]) < 2e-4, (name, key, a, b)
        for key in ("train_loss", "val_loss"):  # before differences of the last bit have grown
            np.testing.assert_allclose([x[key] for x in one[:5]], [x[key] for x in two[:5]], rtol=2e-6)


AFTERWARDS = """
import os, sys
from pathlib import Path
from rungwise.cli.main import main
main(sys.argv[1:])
out = Path(sys.argv[sys.argv.index("--out") + 1])
alive = [(path / "comm").read_text().strip() for path in Path("/proc/self/task").iterdir()]
words = [f"{out.parent}: rank {os.environ['RANK']}", (out / "samples.txt").exists(), any("gloo" in x for x in alive)]
os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: the ranks share one pipe
"""


linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to look at processes")


@linux
def test_followers_leave_after_the_last_file_and_leave_no_thread_behind(listed, tmp_path):
    """A thread of the process group that is left at the interpreter's exit aborts some of them, and torchrun then ends
    all. A run that is complete already lets them go as well."""
    (tmp_path / "afterwards.py").write_text(AFTERWARDS)
    arguments = ("--out", tmp_path / "run", "--data", listed)
    for more in (flags(**{**RUN, "steps": 5}), ["--resume"]):
        process = torchrun(3, *arguments, *more, what=[str(tmp_path / "afterwards.py")])
        said, _ = finish(process)
        found = sorted(re.findall(rf"{re.escape(str(tmp_path))}: (rank \d \w+ \w+)", said))  # anywhere: lines may meet
        assert found == [f"rank {number} True False" for number in range(3)], said


@linux
@pytest.mark.long
def test_thirty_short_runs_end_well(listed, tmp_path):
    """They end while the threads of the last message still run."""
    for number in range(30):
        out = tmp_path / f"run{number}"
        _, err = finish(torchrun(3, "--data", listed, "--out", out, *flags(**{**RUN, "steps": 10})))
        assert "terminate called" not in err
        assert (out / run_dir.SAMPLES).exists()


KILLED = """
import os, signal, sys
from rungwise.cli.main import main
from rungwise.data.batches import Drawn

rows, (rank, when) = Drawn.rows, {when}
ours = os.environ["RANK"] == str(rank) and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

def read(self, step, first, last):
    if ours and step >= when:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(self, step, first, last)

Drawn.rows = read
main(sys.argv[1:])
"""


def killed(folder: Path, n: int, *arguments: object, rank: int, step: int, restarts: int = 0) -> subprocess.Popen:
    """torchrun of which a rank is killed at a step, however busy the machine is."""
    script = folder / f"killed-{rank}-{step}.py"
    script.write_text(KILLED.replace("{when}", repr((rank, step))))
    return torchrun(n, *arguments, restarts=restarts, what=[str(script)])


TOLD = "rungwise: error: A process of this run ended, or cannot be reached ("


@linux
def test_torchrun_starts_a_killed_run_again_by_itself(pair, listed, tmp_path):
    """A rank is killed; the other says so in a line; the run goes on from its checkpoint, and ends bit for bit as one
    that was never killed."""
    arguments = ("--data", listed, "--out", tmp_path / "run", *flags(**RUN))
    process = killed(tmp_path, 2, *arguments, rank=1, step=40, restarts=2)
    out, err = finish(process)
    told = [line for line in err.splitlines() if line.startswith("rungwise:")]
    assert len(told) == 1
    assert "terminate called" not in err
    assert told[0].startswith(TOLD)
    assert told[0].endswith(
        f"0 is saved. Go on: torchrun --standalone --nproc-per-node=2 -m rungwise train --out {tmp_path / 'run'} "
        "--resume"
    )
    assert "Going on after " in out
    assert_same(pair, tmp_path / "run")


@linux
@pytest.mark.long
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_run_goes_on_when_asked_with_any_number_of_processes(pair, listed, tmp_path, number):
    out = tmp_path / "run"
    process = killed(tmp_path, 2, "--data", listed, "--out", out, *flags(**RUN), rank=number, step=40)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    told = [line for line in err.splitlines() if line.startswith("rungwise:")]
    assert len(told) == 1
    assert told[0].startswith(TOLD if number else "rungwise: error: Rank 1 lost rank 0. ")
    assert told[0].endswith(f"--out {out} --resume")
    killed(tmp_path, 1, "--out", out, "--resume", rank=0, step=110).communicate(timeout=PATIENCE)
    assert read_lines(out / run_dir.METRICS)[-1]["step"] == 110
    finish(torchrun(3, "--out", out, "--resume"))
    for a, b in zip(read_lines(pair / run_dir.METRICS), read_lines(out / run_dir.METRICS), strict=True):
        assert all(abs(a[key] - b[key]) < 1e-3 for key in a)
    done = command("train", "--out", out, "--resume")
    assert "is complete" in done.out


@linux
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_saves(listed, tmp_path, number):
    """torchrun hands SIGTERM on to every rank; Ctrl-C they hear themselves, and it hands that on, too."""
    process = torchrun(2, "--data", listed, "--out", tmp_path / "run", *flags(**{**RUN, "steps": 100_000}))
    deadline = time.monotonic() + PATIENCE
    while len(read_lines(tmp_path / "run" / run_dir.METRICS)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    if number == signal.SIGTERM:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=PATIENCE)
    assert len([line for line in err.splitlines() if line.startswith("rungwise:")]) == 1
    assert "rungwise: Stopped after" in err
    _, about = read_tensors(tmp_path / "run" / run_dir.CHECKPOINT)
    assert f"Stopped after {about['step']:,} of 100,000 steps; everything is saved." in err


@pytest.mark.long
def test_an_older_run_in_the_directory_is_never_taken_for_this_one(pair, listed, tmp_path):
    process = torchrun(2, "--data", listed, "--out", pair, *flags(**RUN), restarts=1)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert err.count("is not empty; give another --out for this run, or remove it.") == 2


def test_what_another_rank_cannot_read_is_told():
    """Over the store that torchrun gives, here one in memory."""
    store = dist.HashStore()
    zero, one = (World(number, 2, number, 2, 0) for number in (0, 1))
    for world in (zero, one):
        vars(world)["store"] = store
    zero.tell({"sha256": "ab"})
    assert one.hear() == {"sha256": "ab"}
    one.answer("No word list at 'x'.")
    with pytest.raises(UserError, match=r"Rank 1 cannot take part: No word list at 'x'\."):
        zero.connect()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"RANK": "0"}, "Standard input reaches one process of 2 only: give a file."),
        ({"RANK": "zero"}, "RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE must be whole numbers"),
    ],
)
def test_an_environment_that_cannot_be(tmp_path, monkeypatch, environment, line):
    there = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **environment}
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    done = command("train", "--data", "-", "--out", tmp_path / "r", stdin=b"anna")
    assert done.status == 2
    assert done.err.startswith(f"rungwise: error: {line}")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"accumulate": 0}, "command line: accumulate must be at least 1, but is 0."),
        ({"precision": "fp16"}, "command line: precision: Input should be 'fp32' or 'bf16', but is 'fp16'."),
        ({"accumulate": 2, "engine": "native"}, "Engine native cannot do accumulate=2; leave out --engine."),
        ({"accumulate": 2, "compile": "on"}, "Engine distributed does not compile its steps; leave out --compile."),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, listed, fields, line):
    done = command("train", "--data", listed, "--out", tmp_path / "r", *flags(**fields))
    assert (done.status, done.err) == (2, f"rungwise: error: {line}\n")


def test_a_run_in_bf16_by_the_command(tmp_path, listed):
    fields = {**RUN, "steps": 20, "precision": "bf16", "accumulate": 2}
    done = command("train", "--data", listed, "--out", tmp_path / "r", *flags(**fields))
    assert done.status == 0, done.err
    assert "engine distributed;" in done.out
    assert TrainConfig(steps=20).steps == read_lines(tmp_path / "r" / run_dir.METRICS)[-1]["step"]

"""Ctrl-C at random moments: every command ends with one line and status 130, leaves no process, and no half a file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import ROOT, SOURCE, TINY, WORDS, command, flags, tiny_run
from rungwise.training import run_dir
from rungwise.util import interrupt
from rungwise.util.files import read_lines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes in /proc")
LINE = f"rungwise: {interrupt.MESSAGE}"
SAVED = r"rungwise: Stopped after "


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A list, a run, and a climb."""
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "list.txt").write_text("\n".join(WORDS))
    tiny_run(folder)
    climbed = command(*CLIMB, "--data", folder / "list.txt", "--out", folder / "climbed", "--steps", 20)
    assert climbed.status == 0, climbed.err
    return folder


CLIMB = ("climb", "--rungs", "baseline,2-heads", "--seeds", 2, "--engine", "torch", "--processes", 2)
TRAIN = flags(**{**TINY, "steps": 500, "dropout": 0.1, "save_every": 0.5})

COMMANDS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "climb": lambda here, out: (*CLIMB, "--data", here / "list.txt", "--out", out, "--steps", 3000),
    "train": lambda here, out: ("train", "--data", here / "list.txt", "--out", out, *TRAIN),
    "sample": lambda here, out: ("sample", here / "run-strict", "-n", 20_000),
    "eval": lambda here, out: ("eval", here / "run-strict", here / "list.txt"),
    "data": lambda here, out: ("data", here / "list.txt"),
    "report": lambda here, out: ("report", here / "climbed", "--out", out),
    "ladder": lambda here, out: ("ladder",),
    "play": lambda here, out: ("play", here / "climbed", "--data", here / "list.txt", "--out", f"{out}.html"),
    "export": lambda here, out: ("export", here / "run-strict", "--format", "onnx", "--out", out),
    "bench": lambda here, out: ("bench", "--short", "--data", here / "list.txt", "--out", f"{out}.json"),
}


def start(*arguments: object) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "rungwise", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def press(process: subprocess.Popen) -> None:
    """What the terminal does at Ctrl-C: all processes of the group hear it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def group(leader: int) -> list[str]:
    """Command lines of the processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, _, of = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(of) == leader and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def outcome(process: subprocess.Popen, name: str) -> int:
    """Check how a command ended that heard Ctrl-C; its status."""
    said, told = process.communicate(timeout=120)
    until(lambda: not group(process.pid))  # a server of worker processes ends when its import of torch does
    status = process.returncode
    if ("__main__.py" not in told and "KeyboardInterrupt" in told) or (status == -signal.SIGINT and not told + said):
        return status  # Python was still on its way to us
    assert "Traceback" not in told, told
    lines = [line for line in told.splitlines() if line and "left" not in line]
    if status:
        assert status == 130, (status, told)
        assert len(lines) == 1, told
        assert lines == [LINE] or (name == "train" and lines[0].startswith(SAVED)), told
    else:
        assert not [line for line in lines if line.startswith("rungwise:")], told
    return status


def interrupted(name: str, here: Path, out: Path, delays: list[float]) -> int:
    """Ctrl-C after each of these seconds, then check all; the status."""
    process = start(*COMMANDS[name](here, out))
    for delay in delays:
        time.sleep(delay)
        press(process)
    status = outcome(process, name)
    complete(name, here, out)
    return status


def complete(name: str, here: Path, out: Path) -> None:
    """Files are whole, or not there; what can go on goes on."""
    for path in [*out.parent.glob(f"{out.name}.*"), *out.rglob("*")]:
        if path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.suffix == ".jsonl":
            assert len(read_lines(path)) == len(path.read_text().splitlines())
    if name == "export" and out.exists():
        assert (out / "model.onnx").exists()
    if name == "train" and (out / run_dir.CONFIG).exists():
        assert command("train", "--out", out, "--resume").status == 0
        assert (out / run_dir.SAMPLES).exists()
    if name == "climb" and out.exists():
        again = command(*COMMANDS[name](here, out))
        assert again.status == 0, again.err
        assert len(read_lines(out / "results.jsonl")) == 4


def at_random(name: str, here: Path, tmp_path: Path, times: int, seed: int) -> list[int]:
    """Random moments of the command's whole duration, measured first; every fifth time a second Ctrl-C comes soon."""
    began = time.monotonic()
    whole = start(*COMMANDS[name](here, tmp_path / "whole"))
    _, told = whole.communicate(timeout=300)
    assert whole.returncode == 0, told
    duration, rng = time.monotonic() - began, np.random.default_rng(seed)
    delays = [[rng.uniform(0, duration)] + [rng.uniform(0, 0.5)] * (i % 5 == 4) for i in range(times)]
    return [interrupted(name, here, tmp_path / f"cut{i}", each) for i, each in enumerate(delays)]


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_at_thirty_moments(name, here, tmp_path):
    statuses = at_random(name, here, tmp_path, 30, 11)
    assert statuses.count(130) >= 15, statuses


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "bench"])
def test_every_command_at_one_moment(name, here, tmp_path):
    """In the midst of its imports, where Python's own way fails most."""
    interrupted(name, here, tmp_path / "out", [0.6])


def test_a_climb_whose_workers_are_on_their_way(here, tmp_path):
    """The server that they are forked from imports torch: it must hear nothing of it."""
    out = tmp_path / "out"
    process = start(*COMMANDS["climb"](here, out))
    until(lambda: any("forkserver" in line for line in group(process.pid)))
    time.sleep(0.3)
    press(process)
    assert outcome(process, "climb") == 130
    complete("climb", here, out)


def test_a_climb_that_is_killed_leaves_no_process(here, tmp_path):
    process = start(*COMMANDS["climb"](here, tmp_path / "out"))
    until(lambda: read_lines(tmp_path / "out" / "results.jsonl"))
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    until(lambda: not group(process.pid))
    assert process.returncode == -signal.SIGTERM
    assert not told


def test_training_that_hears_one_twice_saves(here, tmp_path):
    """torchrun passes on what its processes have heard themselves."""
    out = tmp_path / "out"
    process = start(*COMMANDS["train"](here, out), *flags(steps=10**6, eval_every=10, compile="off"))
    until(lambda: read_lines(out / run_dir.METRICS))
    press(process)
    press(process)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().startswith(SAVED)
    assert len(told.strip().splitlines()) == 1


def test_nothing_heavy_is_imported_before_it_is_ours():
    """From Python's first line to ours it takes a few milliseconds, in which Python's own way holds."""
    code = "import sys; from rungwise.__main__ import main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"rungwise.util.interrupt", "signal"} <= set(loaded)
    assert not {"typing", "contextlib", "argparse", "numpy", "tyro", "rungwise.cli.main"} & set(loaded)


def test_a_command_in_the_background_of_a_script_ignores_it(here):
    """Such a shell starts it with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("ladder")
    finally:
        signal.signal(signal.SIGINT, before)
    while process.poll() is None:
        press(process)
        time.sleep(0.01)
    said, told = process.communicate()
    assert (process.returncode, told) == (0, "")
    assert "baseline" in said


def test_the_installed_command_and_the_module_are_one():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"rungwise": "rungwise.__main__:main"}


PRESS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
MODULES = {
    "swallows": f"try:\n    {PRESS}\n    os.getpid()\nexcept BaseException:\n    raise ImportError('no such thing')",
    "collects": f"class Gone:\n    def __del__(self):\n        {PRESS}\n        os.getpid()\n",
}


@pytest.mark.parametrize(
    "code",
    [
        "import swallows",
        "import collects; collects.Gone()",
        f"{PRESS}; os.getpid()",
        "import atexit; atexit.register(lambda: os.getpid()); atexit.register(os.kill, os.getpid(), signal.SIGINT)",
    ],
)
def test_where_python_would_swallow_it_or_show_a_traceback(code, tmp_path):
    """An import that makes another error of it, a finaliser that cannot raise, code that nobody watches, the exit."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    watched = "import os, signal; from rungwise.util import interrupt; interrupt.watch()"
    paths = os.pathsep.join([str(SOURCE), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", f"{watched}; {code}; os.getpid()"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", LINE)

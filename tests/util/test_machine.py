"""What a machine offers is found out, whatever it is: bound or paid-for cores, no home, no name, no cache."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import SOURCE, WORDS
from rungwise.data.words import names_path
from rungwise.engine.process_group import World
from rungwise.training.run import own_threads
from rungwise.util import machine

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def system(monkeypatch, folder: Path, group: str, **files: str) -> None:
    """A system that says this process is in `group`, and holds these files under sys/fs/cgroup (__ stands for /)."""
    for name, text in {"proc/self/cgroup": group, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "ROOT", folder)


V1 = "4:memory:/pod\n1:cpu,cpuacct:/pod\n0::/\n"
QUOTAS = {
    "none": ("0::/a/b\n", {}, math.inf),
    "unlimited": ("0::/a/b\n", {"a__b__cpu.max": "max 100000\n"}, math.inf),
    "of the group": ("0::/a/b\n", {"a__b__cpu.max": "50000 100000\n"}, 1),
    "of one above": ("0::/a/b\n", {"a__b__cpu.max": "max 100000\n", "a__cpu.max": "100000 100000\n"}, 1),
    "in part": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    "version 1": (V1, {"cpu__pod__cpu.cfs_quota_us": "30000\n", "cpu__pod__cpu.cfs_period_us": "50000\n"}, 1),
    "version 1, unlimited": (V1, {"cpu__cpu.cfs_quota_us": "-1\n", "cpu__cpu.cfs_period_us": "100000\n"}, math.inf),
    "version 1, path of the host": (V1, {"cpu__cpu.cfs_quota_us": "9\n", "cpu__cpu.cfs_period_us": "10\n"}, 1),
    "nonsense": ("0::/\n", {"cpu.max": "many\n"}, math.inf),
}


@pytest.mark.parametrize(("group", "files", "paid"), QUOTAS.values(), ids=QUOTAS)
def test_cores_are_those_that_are_bound_and_paid_for(monkeypatch, tmp_path, group, files, paid):
    system(monkeypatch, tmp_path, group, **files)
    assert machine.cores() == min(HERE, paid)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_cores_are_those_that_this_process_is_bound_to():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(before)])
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/a\n", {"a__memory.max": "max\n"}, math.inf),
        ("0::/a\n", {"a__memory.max": "max\n", "memory.max": "1048576\n"}, 2**20),
        (V1, {"memory__pod__memory.limit_in_bytes": "1048576\n"}, 2**20),
        (V1, {"memory__pod__memory.limit_in_bytes": "9223372036854771712\n"}, math.inf),
    ],
)
def test_memory_is_no_more_than_the_control_group_s(monkeypatch, tmp_path, group, files, limit):
    system(monkeypatch, tmp_path, "")
    whole = machine.memory()
    assert whole > 2**27
    system(monkeypatch, tmp_path, group, **files)
    assert machine.memory() == min(whole, limit)


def test_no_core_has_two_threads_of_a_run():
    torch.set_num_threads(HERE + 3)
    assert own_threads(None) == machine.threads(1) == machine.cores()
    for ranks in (1, 2, 3, HERE, HERE + 1):
        each = own_threads(World(0, ranks, 0, ranks, 0))
        assert each == 1 or each * ranks <= machine.cores()
    torch.set_num_threads(1)
    assert own_threads(None) == 1  # who asked for fewer gets fewer


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_threads_that_wait_let_others_work(asked):
    """A thread of OpenMP that spins keeps from its core the one that it waits for."""
    environment = {**os.environ, "OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": asked} if asked else {})
    command = [sys.executable, "-c", "import rungwise, torch; torch.ones(9) @ torch.ones(9)"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    if "OMP_WAIT_POLICY" not in told:
        pytest.skip("this torch has another OpenMP, or none")
    assert f"OMP_WAIT_POLICY = '{asked or 'PASSIVE'}'" in told


# ------------------------------------------------------------------------------------------------------- the cache


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def occupied(tmp_path) -> str:
    """A cache that nobody can write, not even root: a file stands in its way."""
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "cache")


def test_the_users_cache_is_taken_where_it_can_be_written(monkeypatch, tmp_path, temporary):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert machine.cache() == tmp_path / "xdg/rungwise"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert machine.cache() == tmp_path / "home/.cache/rungwise"
    assert not list(temporary.iterdir())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_elsewhere_it_is_temporary_and_the_users_alone(monkeypatch, tmp_path, temporary):
    monkeypatch.setenv("XDG_CACHE_HOME", occupied(tmp_path))
    found = machine.cache()
    assert (
        found == machine.cache() == temporary / f"rungwise-{os.getuid()}"
    )  # the next process finds what this one made
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
@pytest.mark.parametrize("there", ["open to all", "link", "file"])
def test_a_temporary_cache_that_others_may_have_made_is_not_taken(monkeypatch, tmp_path, temporary, there):
    monkeypatch.setenv("XDG_CACHE_HOME", occupied(tmp_path))
    planted = temporary / f"rungwise-{os.getuid()}"
    if there == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        planted.symlink_to(tmp_path / "theirs")
    elif there == "file":
        planted.touch()
    else:
        planted.mkdir()
        planted.chmod(0o777)
    found = machine.cache()
    assert found.parent == temporary
    assert found != planted
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_a_cache_that_is_full_and_cannot_be_written_is_read(monkeypatch, tmp_path, temporary):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_can_be_written", lambda folder: False)  # root may write anywhere
    (tmp_path / "rungwise").mkdir()
    (tmp_path / "rungwise/names.txt").write_text("anna\n")
    assert machine.cached("names.txt") == tmp_path / "rungwise/names.txt"
    assert machine.cached("engine.so").parent == temporary / f"rungwise-{os.getuid()}"
    monkeypatch.delenv("RUNGWISE_DATA_DIR", raising=False)
    sha256 = hashlib.sha256(b"anna\n").hexdigest()
    assert names_path("http://127.0.0.1:1/gone", sha256) == tmp_path / "rungwise/names.txt"


TELLING = (
    *("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"),
    *("XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "RUNGWISE_DATA_DIR"),
)
NAMELESS = """
import pwd
def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
"""
"""A sitecustomize.py, for every process that is started there."""

EVERY_COMMAND = """
import getpass, sys
from rungwise.cli.main import main
for line in sys.stdin.read().splitlines():
    print("$", line, file=sys.stderr, flush=True)
    try:
        main(line.split())
    except SystemExit as exit_:
        sys.exit(f"{exit_.code} from {line}")
getpass.getuser()  # torch asks, and so do others
from rungwise.engine import native
print(native.why_not())
"""


def test_every_command_works_without_a_home_and_for_a_user_without_a_name(tmp_path):
    """As in a container that was started with --user 12345."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NAMELESS)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    environment = {name: value for name, value in os.environ.items() if name not in TELLING}
    source = str(SOURCE)
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), source]), "CXXFLAGS": "-O0"}
    environment |= {"TMPDIR": str(tmp_path / "temporary")}
    lines = [
        "train --data list.txt --steps 9 --out run",
        "train --data list.txt --steps 9 --engine torch --out torch",
        "sample run -n 2",
        "eval run list.txt",
        "climb --data list.txt --rungs baseline,2-heads --seeds 1 --steps 9 --out climb",
        "report climb",
        "play climb",
        "data list.txt",
    ]
    done = subprocess.run(
        [sys.executable, "-c", EVERY_COMMAND], input="\n".join(lines), cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for noise in ("Traceback", "Warning", "home", "Matplotlib"):
        assert noise not in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("~", "."))]
    if done.stdout.splitlines()[-1] == "None":  # there is a compiler
        assert list((tmp_path / "temporary").glob("rungwise-*/engine-*.so"))


def test_no_cache_at_all_is_not_called_a_missing_compiler(monkeypatch, tmp_path):
    """Neither the user's cache nor any temporary folder can be written."""
    script = "import tempfile; tempfile._candidate_tempdir_list = list\n"
    script += "from rungwise.engine import native; print(native.why_not())"
    environment = {**os.environ, "XDG_CACHE_HOME": occupied(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    if "compiler was found" in done.stdout:
        pytest.skip("there is no compiler")
    assert done.stdout.startswith("No native engine: ")
    assert "temporary directory" in done.stdout

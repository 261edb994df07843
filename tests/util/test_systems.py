"""What differs on macOS and Windows, on this system: each refusal and each missing function is brought about here."""

import ctypes
import errno
import getpass
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS

from conftest import make_words
from rungwise.config import get_protocol
from rungwise.errors import UserError
from rungwise.experiment import local_pool
from rungwise.experiment.climb import run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import RESULTS
from rungwise.ladder import select
from rungwise.util import files, machine

# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def windows_disk(monkeypatch):
    """A handle that only reads cannot be synced, and folders cannot be opened, as on Windows."""
    fcntl, fsync, open_ = pytest.importorskip("fcntl"), os.fsync, os.open

    def sync(handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(handle)

    def opened(path, *how, **options):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(path, *how, **options)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "open", opened)


def test_files_are_written_where_only_what_writes_can_be_synced(windows_disk, tmp_path):
    files.write_text(tmp_path / "text", "one\ntwo\n")
    assert (tmp_path / "text").read_bytes() == b"one\ntwo\n"
    files.append_line(tmp_path / "lines", {"a": 1})
    assert files.read_lines(tmp_path / "lines") == [{"a": 1}]
    with files.new_folder(tmp_path / "folder") as folder:
        (folder / "inside").write_text("x")
    assert (tmp_path / "folder/inside").read_text() == "x"


@pytest.fixture
def readers(monkeypatch):
    """As on Windows, a file that is read cannot be replaced: so many times, then the reader is done."""
    left, waited, take = [0], [], Path.replace

    def refused(new, path):
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "Permission denied", str(new), None, str(path))
        return take(new, path)

    monkeypatch.setattr(Path, "replace", refused)
    monkeypatch.setattr(files.time, "sleep", waited.append)
    monkeypatch.setattr(files.sys, "platform", "win32")
    return left, waited


def test_a_file_that_somebody_reads_is_replaced_when_he_has_read_it(readers, tmp_path):
    (left, waited), path = readers, tmp_path / "file"
    for times in (0, 1, len(files.WAITS)):
        left[0], before = times, len(waited)
        files.write_text(path, f"{times}\n")
        assert path.read_text() == f"{times}\n"
        assert waited[before:] == list(files.WAITS[:times])
    left[0] = len(files.WAITS) + 1
    with pytest.raises(UserError, match=r"^Cannot write .*file: Permission denied\.$"):
        files.write_text(path, "too late\n")
    assert path.read_text() == f"{len(files.WAITS)}\n"
    assert files.contents(tmp_path) == {"file"}


def test_elsewhere_a_refusal_is_final(readers, monkeypatch, tmp_path):
    monkeypatch.setattr(files.sys, "platform", "linux")
    readers[0][0] = 1
    with pytest.raises(UserError, match="Permission denied"):
        files.write_text(tmp_path / "file", "text")
    assert not readers[1]


def test_a_holder_is_named_although_its_locked_byte_cannot_be_read(tmp_path):
    with files.lock(tmp_path):
        assert (tmp_path / files.LOCK).read_bytes()[files.LOCKED :] == f"{os.getpid()}\n".encode()
        with pytest.raises(UserError, match=f"id {os.getpid()}"), files.lock(tmp_path):
            pass


# ----------------------------------------------------------------------------------------------------- the machine


def test_memory_is_what_windows_says(monkeypatch):
    class Kernel32:
        @staticmethod
        def GlobalMemoryStatusEx(status):
            assert status[0] == ctypes.sizeof(status) == 64  # what MEMORYSTATUSEX begins with, and is long
            status[1] = 7 << 30  # ullTotalPhys
            return 1

    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(ctypes, "windll", type("", (), {"kernel32": Kernel32}), raising=False)
    monkeypatch.setattr(machine, "ROOT", Path("/nowhere"))
    assert machine.memory() == 7 << 30


def test_peak_memory_is_known_where_the_system_tells(monkeypatch):
    held = machine.peak_memory()
    assert held and 10 << 20 < held < 100 << 30
    monkeypatch.setattr(sys, "platform", "darwin")  # it counts bytes, not kilobytes
    assert machine.peak_memory() == pytest.approx(held / 1024, rel=0.1)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert machine.peak_memory() is None


def test_a_user_without_a_name_or_a_number_has_one(monkeypatch):
    def nobody():
        raise ImportError("No module named 'pwd'")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.delattr(os, "getuid")
    monkeypatch.delenv("USER", raising=False)
    machine.prepare()
    assert os.environ["USER"] == "uid-None"


def test_cores_are_counted_where_processes_are_not_bound_to_some(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(machine, "ROOT", Path("/nowhere"))
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert machine.cores() == 5


def test_the_cache_of_macos(monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert machine.cache() == tmp_path / "Library/Caches/rungwise"


def test_a_temporary_cache_where_files_have_no_owner(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "getuid")
    (tmp_path / "rungwise-None").mkdir(mode=0o777)
    (tmp_path / "rungwise-None").chmod(0o777)
    assert machine._writable.__wrapped__(None, str(tmp_path)) == tmp_path / "rungwise-None"


def test_a_processor_is_named_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(machine, "ROOT", Path("/nowhere"))
    monkeypatch.setattr(machine.platform, "processor", lambda: "Intel64 Family 6")
    assert machine.cpu() == {"model name": "Intel64 Family 6"}
    told = subprocess.CompletedProcess([], 0, stdout="Apple M5\n")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda command, **how: told if command[0] == "sysctl" else None)
    assert machine.cpu() == {"model name": "Apple M5"}


def test_all_kinds_of_cores_are_told_apart(monkeypatch, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "CPU part : 0xd05\n\nCPU part : 0xd0a\n\nCPU part : 0xd05\nFeatures : asimd\n"
    )
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.cpu()["CPU part"] == "0xd05 / 0xd0a"
    assert machine.cpu()["Features"] == "asimd"


@pytest.mark.parametrize(
    ("names", "found"), [(["lo", "eth0"], "lo"), (["en0", "lo0"], "lo0"), (["ethernet_32768", "loopback_0"], None)]
)
def test_connections_within_a_machine_use_its_own_interface(monkeypatch, names, found):
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(names, 1)))
    assert machine.loopback() == found


# ------------------------------------------------------------------------------------------------------- processes


def test_no_pool_has_more_workers_than_the_system_can_wait_for(monkeypatch):
    monkeypatch.setattr(local_pool, "MOST_WORKERS", 61)
    assert [local_pool.LocalPool(n).width for n in (1, 61, 200)] == [1, 61, 61]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_climb_whose_workers_are_spawned(monkeypatch, tmp_path, system):
    """Not forked; and on Windows Ctrl-C is ignored while they start, because signals have no mask."""
    ignored = []
    monkeypatch.setattr(local_pool.sys, "platform", system)
    context = local_pool._context()
    monkeypatch.undo()
    assert context.get_start_method() == "spawn"
    monkeypatch.setattr(local_pool, "_context", lambda: context)
    if system == "win32":
        kernel32 = type("", (), {"SetConsoleCtrlHandler": staticmethod(lambda handler, how: ignored.append(how))})
        monkeypatch.setattr(ctypes, "windll", type("", (), {"kernel32": kernel32}), raising=False)
        monkeypatch.delattr(signal, "pthread_sigmask")
    experiment = Experiment(make_words(), get_protocol("strict"), select("gelu"), [0], steps=5)
    with local_pool.LocalPool(1) as pool:
        run(experiment, tmp_path / "out", pool, lambda progress: None)
    assert len(files.read_lines(tmp_path / "out" / RESULTS)) == 1
    assert ignored == ([True, False] if system == "win32" else [])


def test_what_is_started_where_signals_have_no_mask_does_not_hear_ctrl_c(monkeypatch):
    """As on Windows: who is started while Ctrl-C is ignored ignores it."""
    heard = signal.getsignal(signal.SIGINT)

    def ignore(handler, how):
        signal.signal(signal.SIGINT, signal.SIG_IGN if how else heard)

    kernel32 = type("", (), {"SetConsoleCtrlHandler": staticmethod(ignore)})
    monkeypatch.setattr(ctypes, "windll", type("", (), {"kernel32": kernel32}), raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask")
    ask = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"]
    with local_pool.deaf_children():
        child = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert child.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is heard


def test_signals_that_ask_to_stop_are_those_that_the_system_has():
    code = "import signal; signal.SIGBREAK = 21\nfrom rungwise.util.machine import STOPS; print(*STOPS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(signal.SIGINT)), str(int(signal.SIGTERM)), "21"]

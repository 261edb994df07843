"""Packages that cannot be loaded: too little memory, broken, or missing. One line says what to do."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import WORDS, tiny_run
from rungwise.util.loading import explain

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loading")
    (folder / "l").write_text("\n".join(WORDS))
    tiny_run(folder)
    return folder


def rungwise(place: Path, *arguments: str, mib: int | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, that may take so much memory; `code` runs before."""
    started = [sys.executable, "-c", f"{code}\nfrom rungwise.cli.main import main\nmain()", *arguments]
    limit = None
    if mib:
        resource = pytest.importorskip("resource")
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_AS, (mib * MIB, mib * MIB))
    return subprocess.run(started, cwd=place, capture_output=True, text=True, preexec_fn=limit, check=False)


SAMPLE = ("sample", "run-strict", "-n", "1")
TRAIN = ("train", "--data", "l", "--steps", "1", "--engine", "torch")


@linux
@pytest.mark.parametrize("mib", [60, 100, 200, 300, 488, 520, 560, 600, 640])
@pytest.mark.parametrize("arguments", [SAMPLE, TRAIN, ("data", "l", "--no-counts")], ids=lambda a: a[0])
def test_too_little_memory_is_one_line(place, tmp_path, arguments, mib):
    arguments = (*arguments, "--out", str(tmp_path / "new")) if arguments is TRAIN else arguments
    done = rungwise(place, *arguments, mib=mib)
    if done.returncode == 0:
        assert mib > 100
        return
    assert done.returncode == 2, done
    assert done.stderr.startswith("rungwise: error: Not enough memory"), done
    assert done.stderr.count("\n") == 1, done


@linux
def test_help_and_enough_memory_are_left_in_peace(place):
    assert rungwise(place, "--help", mib=200).returncode == 0
    done = rungwise(place, *SAMPLE, mib=3500)
    assert (done.returncode, done.stderr) == (0, ""), done


BROKEN = {
    "ImportError": "raise ImportError('libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent')",
    "OSError": "raise OSError('libcudart.so.13: cannot open shared object file: No such file or directory')",
    "empty": "",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_torch_is_one_line(place, tmp_path, how):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(BROKEN[how])
    done = rungwise(place, *SAMPLE, code=f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
    assert done.returncode == 2, done
    assert done.stderr.startswith("rungwise: error: The package torch cannot be loaded ("), done.stderr
    assert done.stderr.endswith("install it again: pip install --force-reinstall torch\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["torch", "polars", "pydantic"])
def test_a_missing_package_is_one_line(place, package):
    command = ("report", "run-strict") if package == "polars" else SAMPLE
    done = rungwise(place, *command, code=f"import sys; sys.modules[{package!r}] = None")
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"rungwise: error: The package {package} cannot be loaded ("), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_mistake_of_ours_is_not_blamed_on_a_package(place):
    done = rungwise(place, *SAMPLE, code="import sys; sys.modules['rungwise.inference.sample'] = None")
    assert done.returncode == 1
    assert done.stderr.startswith("rungwise: internal error: ")


def test_memory_that_runs_out_in_a_library_is_one_line():
    assert explain(RuntimeError("std::bad_alloc")) == "Not enough memory: std::bad_alloc."

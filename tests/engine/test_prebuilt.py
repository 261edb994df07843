"""Which library runs: the wheel's own, of the level that this processor has, unless another is asked for."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import SOURCE, WORDS, command
from rungwise.engine import native
from rungwise.engine.native import build
from rungwise.errors import UserError

pytestmark = pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))
VECTORS = {"v2": "SSE4.2", "v3": "AVX2", "v4": "AVX-512"}
HERE = build.platform.machine().lower()


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """Nothing is asked for by the environment, and the cache is empty."""
    for name in ("CXX", "CXXFLAGS", "RUNGWISE_NATIVE", "RUNGWISE_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build, "cached", lambda name: tmp_path / "cache" / name)
    (tmp_path / "cache").mkdir()
    native._found.cache_clear()
    yield
    native._found.cache_clear()


@pytest.fixture(scope="module")
def compiled() -> dict[str, Path]:
    """This machine's own library, and on x86-64 one of each level that its processor has."""
    found = {"base": build.find_library()}
    if HERE in ("x86_64", "amd64"):
        with pytest.MonkeyPatch.context() as patched:
            for isa in build.LEVELS[: ctypes.CDLL(str(found["base"])).rungwise_level() - 1]:
                patched.setenv("RUNGWISE_ISA", isa)
                found[isa] = build.find_library()
    return found


def wheel(monkeypatch, folder: Path, libraries: dict[str, Path]) -> None:
    """From now on the package is as a wheel with these libraries installs it."""
    folder.mkdir(exist_ok=True)
    for level, library in libraries.items():
        shutil.copy(library, folder / f"engine-{level}.so")
    monkeypatch.setattr(build, "PREBUILT", folder)
    monkeypatch.setattr(native, "PREBUILT", folder)


@pytest.fixture
def installed(monkeypatch, tmp_path, compiled) -> list[str]:
    """The levels that the wheel holds, the lowest first."""
    levels = {level: path for level, path in compiled.items() if level != "base"} or {"base": compiled["base"]}
    wheel(monkeypatch, tmp_path / "prebuilt", levels)
    return list(levels)


def test_the_wheels_library_of_the_highest_level_is_taken_and_nothing_is_compiled(installed, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    assert native.why_not() is None
    assert native.load().path.stem == f"engine-{installed[-1]}"
    assert native.describe() == f"native, {VECTORS.get(installed[-1], 'NEON')}, prebuilt"
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".checked"}
    monkeypatch.setattr(build, "what_is_wrong", None)
    native._found.cache_clear()  # as another process: it is not checked again
    assert native.why_not() is None


@pytest.mark.parametrize(("variable", "value"), [("RUNGWISE_NATIVE", "build"), ("CXX", "c++"), ("CXXFLAGS", "-O1")])
def test_who_asks_for_a_fresh_one_gets_it(installed, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert native.describe().endswith("compiled here")
    monkeypatch.setenv("RUNGWISE_NATIVE", "prebuilt")
    assert native.describe().endswith("prebuilt")


@pytest.mark.skipif(HERE not in ("x86_64", "amd64"), reason="levels are x86-64's")
def test_a_level_can_be_asked_for(installed, monkeypatch):
    for how in ("prebuilt", "build"):
        for level in installed:
            monkeypatch.setenv("RUNGWISE_NATIVE", how)
            monkeypatch.setenv("RUNGWISE_ISA", level)
            assert VECTORS[level] in native.describe()


STUB = 'extern "C" int rungwise_level() { return %d; }'


@pytest.mark.parametrize(
    ("level", "asked", "taken"),
    [
        (1, "", None),
        (2, "", "v2"),
        (3, "", "v3"),
        (4, "", "v3"),
        (4, "v2", "v2"),
        (3, "v4", "at most"),
        (1, "v2", "at"),
    ],
)
def test_no_processor_gets_instructions_that_it_lacks(monkeypatch, tmp_path, level, asked, taken):
    """Stand-ins that answer as the library would on another processor; the wheel has v2 and v3, as that for macOS."""
    (tmp_path / "stub.cpp").write_text(STUB % level)
    stub = tmp_path / f"stub{level}.so"
    subprocess.run([*build.compiler(), "-shared", "-fPIC", str(tmp_path / "stub.cpp"), "-o", str(stub)], check=True)
    wheel(monkeypatch, tmp_path / "prebuilt", {"v2": stub, "v3": stub})
    monkeypatch.setenv("RUNGWISE_ISA", asked)
    if taken and taken.startswith("at"):
        with pytest.raises(build.NoEngine, match=f"x86-64-v{level} at most, not RUNGWISE_ISA={asked}"):
            build.prebuilt()
    else:
        found = build.prebuilt()
        assert (found.stem if found else None) == (f"engine-{taken}" if taken else None)


def test_a_wrong_prebuilt_library_is_refused_once_and_for_all(compiled, monkeypatch, tmp_path, capfd):
    wheel(monkeypatch, tmp_path / "prebuilt", {"base": compiled["base"]})
    monkeypatch.setattr(build, "what_is_wrong", lambda library: "its loss of a batch differs from PyTorch's")
    native._tell.cache_clear()
    line = "No native engine: the prebuilt library engine-base.so is wrong: its loss of a batch differs from PyTorch's."
    for _ in range(2):
        assert (native.why_not() or "").startswith(line)
        native._found.cache_clear()
        monkeypatch.setattr(build, "what_is_wrong", None)  # the second time it is known
    assert "RUNGWISE_NATIVE=build" in capfd.readouterr().err
    monkeypatch.setenv("RUNGWISE_NATIVE", "0")
    assert "RUNGWISE_NATIVE=0" in (native.why_not() or "")


def test_what_is_asked_for_and_is_not_there_is_one_line(monkeypatch, tmp_path):
    wheel(monkeypatch, tmp_path / "prebuilt", {})
    monkeypatch.setenv("RUNGWISE_NATIVE", "prebuilt")
    assert "no prebuilt library for this processor" in (native.why_not() or "")
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    for variable, value in (("RUNGWISE_NATIVE", "maybe"), ("RUNGWISE_ISA", "avx2")):
        monkeypatch.setenv("RUNGWISE_NATIVE", "build")
        monkeypatch.setenv(variable, value)
        with pytest.raises(UserError, match=f"{variable} must be one of .*, not '{value}'"):
            native.why_not()
        done = command("train", "--data", tmp_path / "list.txt", "--steps", 5, "--out", tmp_path / "run")
        assert done.status == 2
        assert done.err.startswith(f"rungwise: error: {variable} must be one of")
        assert not (tmp_path / "run").exists()


def test_ziglang_compiles_where_there_is_no_compiler(monkeypatch):
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", "")
    zig, how = build.compiler(or_zig=True)
    assert Path(zig).stem == "zig"
    assert how == "c++"
    with pytest.raises(build.NoEngine, match=r"install one\.$"):  # torch.compile does not take it
        build.compiler()
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(build.NoEngine, match=r"no C\+\+ compiler was found .*pip install ziglang"):
        build.compiler(or_zig=True)


NO_MEMORY = """
import resource
import numpy as np
from rungwise.config import ModelConfig, TrainConfig
from rungwise.engine import native
from rungwise.model.cost import shapes
library, config = native.load(), ModelConfig(**{config})
parameters = {{name: np.zeros(shape, np.float32) for name, shape in shapes(config).items()}}
state = {{f"{{kind}}/{{name}}": array for kind in native.KINDS for name, array in parameters.items()}}
tokens, lengths = np.ones({words} * 16, np.int32), np.full({words}, 16, np.int32)
tokens[::7], ones = 2, np.ones({words} * 16, np.int32)
calls = (
    lambda: library.train_block(config, TrainConfig(), state, tokens, tokens, lengths[None], 0, 0, [1e-3], {threads}),
    lambda: library.loss_and_gradients(config, parameters, tokens, tokens, lengths, threads={threads}),
    lambda: library.score(config, parameters, tokens, tokens, ones, {threads}),
    lambda: library.tree(config, parameters, {words}, 16),
)
for call in calls if {threads} > 1 else ():
    call()  # the system keeps the stacks of threads that have ended
page, room = resource.getpagesize(), {room}
for left in range(0, room + 1, {step}):
    used = int(open("/proc/self/statm").read().split()[0]) * page
    for call in calls:
        resource.setrlimit(resource.RLIMIT_AS, (used + left, resource.RLIM_INFINITY))
        try:
            call()
            told = "there was enough"
        except MemoryError as error:
            told = str(error) or "no memory"
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        print(told)
"""


def without_memory(n_embd: int, **parts: int) -> list[str]:
    config = {"vocab_size": 3, "n_layer": 1, "n_head": 1, "n_embd": n_embd, "block_size": 17}
    at_once = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "4096"}  # given back
    done = subprocess.run(
        [sys.executable, "-c", NO_MEMORY.format(config=config, **parts)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **at_once},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


NONE_LEFT = re.compile(r"Try a smaller batch_size, n_embd or n_layer\.|Unable to allocate|no memory")
"""Said of the engine's memory, and by NumPy and Python of what is handed in."""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits a process's memory as Linux does")


@LINUX
def test_where_memory_runs_out_a_call_says_so_and_the_process_goes_on():
    told = without_memory(64, words=40_000, threads=1, room=0, step=1)
    assert len(told) == 4
    assert all(NONE_LEFT.match(line) for line in told)


@LINUX
def test_memory_may_run_out_wherever_several_threads_ask_for_it():
    """A little more each time: whatever piece is the one that is not to be had."""
    told = without_memory(64, words=300, threads=3, room=8 << 20, step=1 << 18)
    enough = "there was enough"
    assert enough in told
    assert all(line == enough or NONE_LEFT.match(line) for line in told)
    assert sum(line.startswith("Try a smaller") for line in told) > 20

"""The wheel of each system: what its engine asks of the system and shows of itself, and that it is used as it comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import binaries
from helpers import WORDS
from rungwise.util.machine import cpu

pytest.importorskip("hatchling")
from hatch_build import NATIVE, TARGETS
from scripts import build_wasm, build_wheels

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(build_wasm.why_not() is not None, reason=str(build_wasm.why_not())),
]
API = set(re.findall(r"^(?:extern \"C\" )?API .*?(rungwise_\w+)\(", "".join(
    (NATIVE / name).read_text(encoding="utf-8") for name in ("engine.cpp", "library.cpp")), re.MULTILINE))  # fmt: skip
LIBRARIES = {
    "manylinux": {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2",
                  "ld-linux-aarch64.so.1"},
    "musllinux": {"libc.so"},
    "macosx": {"/usr/lib/libSystem.B.dylib"},
    "win": {"KERNEL32.dll", "ntdll.dll"},
}  # fmt: skip
"""That every such system has; on Windows also the C library, api-ms-win-crt-*.dll."""
LINKERS = {"__dso_handle", "_mh_dylib_header"}
"""What every library of macOS shows."""
NEWER = {"aligned_alloc"}
"""Functions that the oldest macOS of a wheel, 10.13, lacks."""


@pytest.fixture(scope="session", params=TARGETS)
def wheel(request, tmp_path_factory) -> Path:
    return build_wheels.build(request.param, tmp_path_factory.mktemp("dist"))


def target(wheel: Path) -> str:
    return wheel.stem.split("-", 4)[4]


def test_its_engine_runs_on_the_oldest_system_that_its_name_tells_and_shows_its_api_alone(wheel, tmp_path):
    name = target(wheel)
    with zipfile.ZipFile(wheel) as archive:
        held = [x for x in archive.namelist() if "/prebuilt/" in x]
        assert "rungwise/engine/native/engine.cpp" in archive.namelist()
        assert (
            "Root-Is-Purelib: false"
            in archive.read(next(x for x in archive.namelist() if x.endswith("WHEEL"))).decode()
        )
        archive.extractall(tmp_path, held)
    assert {Path(x).stem.removeprefix("engine-") for x in held} == set(TARGETS[name][1])
    arm = name.endswith(("aarch64", "arm64"))
    for library in held:
        found = binaries.read(tmp_path / library)
        assert found.processor == ("arm64" if arm else "x86-64")
        assert found.exports - LINKERS == API - ({"rungwise_level"} if arm else set())
        kind = next(kind for kind in LIBRARIES if name.startswith(kind))
        assert {x for x in found.libraries if not x.startswith("api-ms-win-crt-")} <= LIBRARIES[kind]
        if version := re.match(r"(?:manylinux|macosx)_(\d+)_(\d+)", name):
            assert found.system <= tuple(map(int, version.groups()))
        if kind == "macosx":
            assert found.system == tuple(map(int, re.findall(r"\d+", name)[:2]))
            assert found.system >= (10, 15) or not found.imports & NEWER
        assert (tmp_path / library).stat().st_size < 1_000_000


def test_auditwheel_agrees(wheel):
    """Of a wheel for musl it judges only where musl is the system's: it looks for its libraries here."""
    if "manylinux" not in wheel.name:
        pytest.skip("no wheel of this system for auditwheel")
    pytest.importorskip("auditwheel")
    shown = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True, check=True
    ).stdout
    assert f'"{target(wheel)}"' in " ".join(shown.split())


CLIMB = ("climb", "--data", "list.txt", "--rungs", "baseline", "--seeds", "1", "--steps", "9", "--out", "climb")


def test_it_climbs_where_there_is_no_compiler(wheel, tmp_path):
    """As it is installed: unpacked, its dependencies lent by the environment of the tests, and no program in PATH."""
    here = {"linux": "manylinux", "darwin": "macosx", "win32": "win"}[sys.platform]
    machine = os.uname().machine if hasattr(os, "uname") else os.environ["PROCESSOR_ARCHITECTURE"].lower()
    if not target(wheel).startswith(here) or not target(wheel).endswith(machine):
        pytest.skip("for another system")
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    unwanted = ("CXX", "CXXFLAGS", "RUNGWISE_NATIVE", "RUNGWISE_ISA")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "rungwise", *CLIMB], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    flags = cpu().get("flags", "").split()
    vectors = next((name for flag, name in (("avx512vl", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    assert re.search(rf"Engine native, {vectors or '[A-Z]'}.*, prebuilt\.", done.stdout)

"""The native engine's library: compiled once a machine, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

SOURCES = [resources.files("rungwise.native") / name for name in ("engine.cpp", "attention.h", "rows.h", "matrix.h")]
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
"""None that would hide a NaN: a diverged run must show as one."""
COMPILE_TIMEOUT = 120.0
"""Seconds; it takes about three."""


class NoEngine(RuntimeError):
    """There is no native engine here; the message says why in one line."""


def build_library() -> Path:
    """The library in the user's cache, compiled first where it is not there."""
    found = compiler()
    command = [*found, *FLAGS, "-mcpu=native" if _is_arm() else "-march=native", *_words("CXXFLAGS")]
    source = {path.name: path.read_bytes() for path in SOURCES}
    version = _run([*found, "--version"])
    key = hashlib.sha256(repr((source, command, version, platform.machine(), _cpu())).encode()).hexdigest()
    library = cache() / f"engine-{key[:16]}.so"
    if not library.exists():
        cache().mkdir(parents=True, exist_ok=True)
        # Compiled aside and renamed: a second process at the same time does the same work, and neither sees half.
        with tempfile.TemporaryDirectory(dir=cache(), prefix="building-") as aside:
            for name, text in source.items():  # wherever the package lies
                (Path(aside) / name).write_bytes(text)
            made = Path(aside) / library.name
            _run([*command, str(Path(aside) / SOURCES[0].name), "-o", str(made)])
            made.replace(library)
    return library


def cache() -> Path:
    """Where compiled code is kept for this user. Deleting it costs time only."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rungwise"


def compiler() -> list[str]:
    """The command of the C++ compiler; NoEngine where there is none."""
    if named := _words("CXX"):
        if not shutil.which(named[0]):
            raise NoEngine(f"the compiler $CXX, {named[0]!r}, was not found.")
        return named
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise NoEngine(f"no C++ compiler was found ({', '.join(COMPILERS)}, or $CXX).")


def _run(command: list[str]) -> str:
    """What a command prints; NoEngine with its first error line where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise NoEngine(f"{command[0]} took longer than {COMPILE_TIMEOUT:.0f} s.") from None
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if "error" in line] or lines or [f"exit status {done.returncode}"]
        raise NoEngine(f"{command[0]} failed: {errors[0].strip()}")
    return done.stdout


def _words(variable: str) -> list[str]:
    return os.environ.get(variable, "").split()


def _is_arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")


def _cpu() -> str:
    """What the compiler's `native` stands for: a cache in a shared home directory may serve several kinds of CPU."""
    if sys.platform == "darwin":
        return _run(["sysctl", "-n", "machdep.cpu.brand_string"])
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(dict.fromkeys(x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))))

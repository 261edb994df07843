"""The native engine's library: compiled once a machine, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rungwise.engine.native.check import what_is_wrong
from rungwise.util.machine import cached

HERE = Path(__file__).parent
SOURCES = [HERE / name for name in ("engine.cpp", "attention.h", "muon.h", "teacher.h", "rows.h", "matrix.h")]
CHECK = HERE / "check.py"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")
EXACT = (
    *("-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-associative-math", "-fno-reciprocal-math"),
    *("-fno-finite-math-only", "-fsigned-zeros", "-fno-math-errno", "-fno-trapping-math"),
)
EXACT_CLANG = ("-ffp-model=precise", "-fno-approx-func", "-fhonor-nans", "-fhonor-infinities")
"""After the user's flags: sums keep their order, and a NaN stays one, for a diverged run must show.

The last two come after -fno-fast-math, which turns them off again in GCC (a step then takes 1.25 times as long)."""
COMPILE_TIMEOUT = 120.0
"""Seconds; it takes about three."""


class NoEngine(RuntimeError):
    """There is no native engine here; the message says why in one line."""


class Refused(NoEngine):
    """The compiler made a library, and it is wrong."""


def build_library() -> Path:
    """The library in the user's cache, compiled and checked first where it is not there.

    Refused: it is wrong (check.py). That is kept as well, so that it is not compiled again.
    """
    found = compiler()
    version = _run([*found, "--version"])
    command = [*found, *flags(version)]
    source = {path.name: path.read_bytes() for path in SOURCES}
    what = repr((source, CHECK.read_bytes(), command, version, platform.machine(), _cpu()))
    key = hashlib.sha256(what.encode()).hexdigest()[:16]
    library, refused = cached(f"engine-{key}.so"), cached(f"engine-{key}.refused")
    if refused.exists():
        raise Refused(refused.read_text())
    if not library.exists():
        # Compiled aside and renamed: a second process at the same time does the same work, and neither sees half.
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="building-") as aside:
            for name, text in source.items():  # wherever the package lies
                (Path(aside) / name).write_bytes(text)
            made = Path(aside) / library.name
            _run([*command, str(Path(aside) / SOURCES[0].name), "-o", str(made)])
            told = f"the library that {found[0]} made is wrong: %s. Check CXX and CXXFLAGS."
            try:
                wrong = what_is_wrong(made)
            except ChildProcessError as error:  # another time it may
                raise Refused(told % error) from None
            if wrong:
                (Path(aside) / refused.name).write_text(told % wrong)
                (Path(aside) / refused.name).replace(refused)
                raise Refused(told % wrong)
            made.replace(library)
    return library


def flags(version: str) -> list[str]:
    """What the compiler is given, $CXXFLAGS among it; version: its answer to --version."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    exact = EXACT + EXACT_CLANG * ("clang" in version)
    return [*FLAGS, "-mcpu=native" if arm else "-march=native", *_words("CXXFLAGS"), *exact]


def compiler() -> list[str]:
    """The command of the C++ compiler; NoEngine where there is none."""
    if named := _words("CXX"):
        if not shutil.which(named[0]):
            raise NoEngine(f"the compiler $CXX, {named[0]!r}, was not found.")
        return named
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise NoEngine(f"no C++ compiler was found ({', '.join(COMPILERS)}, or $CXX); install one.")


def _run(command: list[str]) -> str:
    """What a command prints; NoEngine with its first error line where it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMPILE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoEngine(f"{command[0]} took longer than {COMPILE_TIMEOUT:.0f} s.") from None
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if "error" in line] or lines or [f"exit status {done.returncode}"]
        raise NoEngine(f"{command[0]} failed: {errors[0].strip()}")
    return done.stdout


def _words(variable: str) -> list[str]:
    """-Ofast is -O3 -ffast-math, and takes flags that change the rounding of the whole process to the linker, too."""
    return ["-O3" if word == "-Ofast" else word for word in os.environ.get(variable, "").split()]


def _cpu() -> str:
    """What the compiler's `native` stands for: a cache in a shared home directory may serve several kinds of CPU."""
    if sys.platform == "darwin":
        return _run(["sysctl", "-n", "machdep.cpu.brand_string"])
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(dict.fromkeys(x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))))

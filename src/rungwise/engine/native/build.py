"""The native engine's library: the wheel's own, or compiled once a machine into the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rungwise.engine.native.check import what_is_wrong
from rungwise.engine.native.flags import FAST, FLAGS
from rungwise.errors import UserError
from rungwise.util.files import replace, write_text
from rungwise.util.machine import cached, cpu

HERE = Path(__file__).parent
PREBUILT = HERE / "prebuilt"
"""What hatch_build.py puts into a wheel: engine-v2, -v3 and -v4 for levels of x86-64, or engine-base."""
SOURCES = sorted([*HERE.glob("*.cpp"), *HERE.glob("*.h")])
MAIN = "library.cpp"
CHECK = HERE / "check.py"
COMPILERS = ("c++", "g++", "clang++")
EXACT = (
    *("-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-associative-math", "-fno-reciprocal-math"),
    *("-fno-finite-math-only", "-fsigned-zeros"),
)
EXACT_CLANG = ("-ffp-model=precise", "-fno-approx-func", "-fhonor-nans", "-fhonor-infinities")
"""After the user's flags: sums keep their order, and a NaN stays one, for a diverged run must show."""
COMPILE_TIMEOUT = 300.0
"""Seconds; it takes about three, and ziglang's first time, which compiles a library of C++, too, a minute."""
LEVELS = ("v2", "v3", "v4")


class NoEngine(RuntimeError):
    """There is no native engine here; the message says why in one line."""


class Refused(NoEngine):
    """There is a library, and it is wrong."""


def find_library() -> Path:
    """The library that is right for this processor, these flags and RUNGWISE_NATIVE, checked once on this machine.

    $CXX and $CXXFLAGS ask for a fresh one; else the wheel's own is taken, and where there is none one is compiled.
    Refused: it is wrong (check.py). That is kept as well, so that it is not asked again.
    """
    how = _one_of("RUNGWISE_NATIVE", "build", "prebuilt", "0", "1")
    if how == "prebuilt" or not (how == "build" or _words("CXX") or _words("CXXFLAGS")):
        if library := prebuilt():
            checked = _cached(library.read_bytes(), ".checked")
            if not checked.exists():
                told = f"the prebuilt library {library.name} is wrong: %s. Try RUNGWISE_NATIVE=build."
                _check(library, checked, told)
                checked.touch()
            return library
        if how == "prebuilt":
            raise NoEngine("this installation has no prebuilt library for this processor (RUNGWISE_NATIVE=prebuilt).")
    return _compiled()


def prebuilt() -> Path | None:
    """The library that came with the wheel, of the highest level that the processor has and RUNGWISE_ISA allows."""
    there = {path.stem.removeprefix("engine-"): path for path in PREBUILT.glob("engine-*")}
    if "v2" not in there:
        return there.get("base")
    level, most = ctypes.CDLL(str(there["v2"])).rungwise_level(), _one_of("RUNGWISE_ISA", *LEVELS)
    if most and level < int(most[1]):
        raise NoEngine(f"this processor has x86-64-v{level} at most, not RUNGWISE_ISA={most}.")
    fitting = [name for name in there if name <= (most or f"v{level}")]
    return there[max(fitting)] if fitting else None


def _compiled() -> Path:
    """The library in the user's cache, compiled and checked first where it is not there."""
    found = compiler(or_zig=True)
    version = _run([*found, "--version"])
    command = [*found, *flags(version)]
    library = _cached((command, version, {path.name: path.read_bytes() for path in SOURCES}), ".so")
    told = f"the library that {found[0]} made is wrong: %s. Check CXX and CXXFLAGS."
    _raise_what_was_wrong(library)
    if not library.exists():
        # Compiled aside and renamed: a second process at the same time does the same work, and neither sees half.
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="building-", ignore_cleanup_errors=True) as aside:
            for path in SOURCES:  # wherever the package lies
                (Path(aside) / path.name).write_bytes(path.read_bytes())
            made = Path(aside) / library.name
            _run([*command, str(Path(aside) / MAIN), "-o", str(made)])
            _check(made, library, told)
            replace(made, library)
    return library


def _cached(what: object, suffix: str) -> Path:
    """Where the cache keeps what is made of this, on this processor, or said of it."""
    about = {key: value for key, value in cpu().items() if key in ("model name", "flags", "Features", "CPU part")}
    key = hashlib.sha256(repr((what, CHECK.read_bytes(), platform.machine(), about)).encode()).hexdigest()[:16]
    return cached(f"engine-{key}{suffix}")


def _raise_what_was_wrong(accepted: Path) -> None:
    if (refused := accepted.with_suffix(".refused")).exists():
        raise Refused(refused.read_text(encoding="utf-8"))


def _check(library: Path, accepted: Path, told: str) -> None:
    """Refused, with what is told, where the library is wrong. `accepted`: what the cache will hold if it is right."""
    _raise_what_was_wrong(accepted)
    try:
        wrong = what_is_wrong(library)
    except ChildProcessError as error:  # another time it may
        raise Refused(told % error) from None
    if wrong:
        write_text(accepted.with_suffix(".refused"), told % wrong)
        raise Refused(told % wrong)


def flags(version: str) -> list[str]:
    """What the compiler is given, $CXXFLAGS among it; version: its answer to --version."""
    isa, arm = _one_of("RUNGWISE_ISA", *LEVELS), platform.machine().lower() in ("arm64", "aarch64")
    tuned = "-mcpu=native" if arm else f"-march=x86-64-{isa}" if isa else "-march=native"
    static = ["-static"] * (sys.platform == "win32")  # Python looks for no other library beside one that it loads
    exact = EXACT + EXACT_CLANG * ("clang" in version)
    return [*FLAGS, "-shared", "-fPIC", "-pthread", *static, tuned, *_words("CXXFLAGS"), *exact, *FAST]


def compiler(or_zig: bool = False) -> list[str]:
    """The command of the C++ compiler, or of the package ziglang's where there is no other; NoEngine: there is none."""
    if named := _words("CXX"):
        if not shutil.which(named[0]):
            raise NoEngine(f"the compiler $CXX, {named[0]!r}, was not found.")
        return named
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    missing = f"no C++ compiler was found ({', '.join(COMPILERS)}, or $CXX); install one"
    if not or_zig:
        raise NoEngine(f"{missing}.")
    if (package := find_spec("ziglang")) and (zig := shutil.which(Path(str(package.origin)).with_name("zig"))):
        return [zig, "c++"]
    raise NoEngine(f"{missing}, or: pip install ziglang")


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


def _one_of(variable: str, *values: str) -> str:
    """What an environment variable says, "" where it is not set; UserError where it is none of these."""
    if (value := os.environ.get(variable, "")) not in ("", *values):
        raise UserError(f"{variable} must be one of {', '.join(values)}, not {value!r}.")
    return value

"""engine.wasm: the native engine's sources, compiled for browsers with one pinned compiler, so that they give the same
bytes everywhere. `make wasm` writes it; a test builds it again and compares.

The compiler comes from PyPI: pip install ziglang==0.16.0.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rungwise.engine.native.flags import FAST, FLAGS, ZIG

HERE = Path(__file__).resolve().parents[1] / "src/rungwise/engine/native"
WASM = HERE / "engine.wasm"
SOURCES = ("wasm.cpp", "engine.cpp", *sorted(path.name for path in HERE.glob("*.h")))
TARGET = ("-target", "wasm32-wasi", "-mcpu=generic+simd128")  # no relaxed SIMD: not every browser has it
COMPILE = (*FLAGS, *FAST, "-fno-exceptions", "-fno-rtti", "-DNDEBUG", "-Wno-pass-failed", "-fno-ident")
EXPORTS = ("train", "gradients", "score", "tree", "grow", "fell", "take", "free")
MOST_MEMORY = 1 << 30
"""Bytes that one model may take in a page; beyond, the module traps."""
LINK = (
    *("-mexec-model=reactor", "-O3", "-s", "-Wl,-z,stack-size=262144", f"-Wl,--max-memory={MOST_MEMORY}"),
    *(f"-Wl,--export=rungwise_{name}" for name in EXPORTS),
)


def why_not() -> str | None:
    """None where the pinned compiler is installed; else one line."""
    try:
        found = version("ziglang")
    except PackageNotFoundError:
        return f"engine.wasm needs ziglang: pip install ziglang=={ZIG}"
    return None if found == ZIG else f"engine.wasm is built with ziglang {ZIG}, but {found} is installed."


def build(python: str = sys.executable) -> bytes:
    """Compile and link in two steps: so the module holds no C++ run-time library."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in SOURCES:
            shutil.copy(HERE / source, folder)
        zig = (python, "-m", "ziglang")
        for command in (
            (*zig, "c++", "-c", *TARGET, *COMPILE, "wasm.cpp", "-o", "wasm.o"),
            (*zig, "cc", *TARGET, *LINK, "wasm.o", "-o", "engine.wasm"),
        ):
            subprocess.run(command, cwd=folder, check=True)
        return (folder / "engine.wasm").read_bytes()


if __name__ == "__main__":
    if wrong := why_not():
        sys.exit(wrong)
    WASM.write_bytes(build())
    print(f"Wrote {WASM.relative_to(Path.cwd())}: {WASM.stat().st_size:,} bytes.")

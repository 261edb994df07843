"""Puts the native engine into a wheel: RUNGWISE_TARGET=win_amd64 python -m build --wheel.

RUNGWISE_TARGET is the wheel's platform tag, one of TARGETS. Without it the wheel is pure, and the engine is compiled
where it is used. One machine builds them all: zig, which ziglang brings, compiles for every system without its SDK.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "src/rungwise/engine/native"
HOW = runpy.run_path(str(NATIVE / "flags.py"))
FLAGS = (
    *(*HOW["FLAGS"], *HOW["FAST"], "-fPIC", "-fno-rtti", "-DNDEBUG", "-Wno-pass-failed"),
    *("-DRUNGWISE_SHIPPED", "-fvisibility-global-new-delete=force-hidden"),
)

LEVELS = {level: f"x86_64_{level}" for level in ("v2", "v3", "v4")}
TARGETS: dict[str, tuple[str, dict[str, str], str]] = {
    "manylinux_2_17_x86_64": ("x86_64-linux-gnu.2.17", LEVELS, "so"),
    "manylinux_2_17_aarch64": ("aarch64-linux-gnu.2.17", {"base": "generic"}, "so"),
    "musllinux_1_2_x86_64": ("x86_64-linux-musl", LEVELS, "so"),
    "musllinux_1_2_aarch64": ("aarch64-linux-musl", {"base": "generic"}, "so"),
    "macosx_11_0_arm64": ("aarch64-macos.11.0", {"base": "apple_m1"}, "dylib"),
    "macosx_10_13_x86_64": ("x86_64-macos.10.13", {level: LEVELS[level] for level in ("v2", "v3")}, "dylib"),
    "win_amd64": ("x86_64-windows-gnu", LEVELS, "dll"),
    "win_arm64": ("aarch64-windows-gnu", {"base": "generic"}, "dll"),
}
"""By the wheel's platform tag: zig's name of the system; the processor of each library; how their names end.

One library a level, not one for all: what the compiler puts into a library once for all its functions must run on the
oldest processor that loads it.
"""


def compile_engine(target: str, folder: Path) -> list[Path]:
    """The target's libraries, engine-LEVEL.ENDING, made in a folder.

    Each holds what it needs of C++'s own library, which zig compiles once a system, for its oldest processor: minutes
    for the first wheel, seconds for the next.
    """
    triple, processors, ending = TARGETS[target]
    oldest, made = next(iter(processors.values())), []
    for level, processor in processors.items():
        part, library = folder / f"engine-{level}.o", folder / f"engine-{level}.{ending}"
        _zig("-c", "-target", triple, f"-mcpu={processor}", *FLAGS, str(NATIVE / "library.cpp"), "-o", str(part))
        _zig("-shared", "-s", "-pthread", "-target", triple, f"-mcpu={oldest}", str(part), "-o", str(library))
        made.append(library)
    return made


def _zig(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", "c++", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"zig c++ {' '.join(arguments)}\n{done.stdout}{done.stderr}")


class EngineHook(BuildHookInterface):
    """What hatchling calls when it builds a wheel."""

    def dependencies(self) -> list[str]:
        return [f"ziglang=={HOW['ZIG']}"] if "RUNGWISE_TARGET" in os.environ else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not (target := os.environ.get("RUNGWISE_TARGET")) or version == "editable":
            return
        if target not in TARGETS:
            sys.exit(f"RUNGWISE_TARGET must be one of {', '.join(TARGETS)}, not {target!r}.")
        self.folder = tempfile.TemporaryDirectory()
        for library in compile_engine(target, Path(self.folder.name)):
            build_data["force_include"][str(library)] = f"rungwise/engine/native/prebuilt/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{target}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

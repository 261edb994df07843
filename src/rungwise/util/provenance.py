"""Where a result comes from: versions, the source's revision, the time, and the machine. No torch."""

import contextlib
import datetime
import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from rungwise.util.machine import cores, cpu, memory

PACKAGES = ("rungwise", "torch", "numpy")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
PACKAGE = Path(__file__).parent.parent


@functools.cache
def provenance() -> dict[str, Any]:
    """What made a result: versions, and the source's git revision (None outside a checkout)."""
    revision = None
    if PACKAGE.parent.name == "src":  # installed, it may lie in a repository that is somebody else's
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
            shown = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=5)
            revision = shown.stdout.strip() or None
    return {"versions": _versions(), "git_revision": revision}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in PACKAGES}}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe_machine() -> dict[str, Any]:
    """The machine and the versions, as far as this system tells them."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "caches": _caches(),
        "memory_gb": round(memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        **_versions(),
    }


def _cpu() -> str:
    """The processor's name, and the widest vectors that it knows."""
    values = cpu()
    flags = values.get("flags", "").split()
    name = values.get("model name") or platform.machine()
    if "cpu family" in values:  # "AMD EPYC" alone says little
        name += f", family {values['cpu family']} model {values.get('model')}"
    return name + next((f", {kind}" for flag, kind in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")


def _caches() -> list[str]:
    """L1d 32K, L2 512K, ... of the first core."""
    found = []
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return found

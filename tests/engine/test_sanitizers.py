"""The native engine under the compiler's sanitizers: no memory but its own, nothing undefined, no race."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from rungwise.engine import native
from rungwise.engine.native.build import COMPILERS, FLAGS, HERE

COMPILER = next((found for name in COMPILERS if (found := shutil.which(name))), "")
DRIVER = Path(__file__).parent / "sanitized.cpp"


@pytest.mark.long
@pytest.mark.skipif(native.why_not() is not None or not COMPILER, reason="no C++ compiler")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_engine_is_clean(sanitizer: str, tmp_path: Path) -> None:
    made = tmp_path / "engine"
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-O3")]
    command = [COMPILER, *flags, "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{HERE}"]
    level = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    built = subprocess.run([*command, level, str(DRIVER), "-o", str(made)], capture_output=True, text=True, check=False)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip("the compiler comes without this sanitizer")
    assert built.returncode == 0, built.stderr
    # Where the system scatters addresses widely, ThreadSanitizer finds no room for its own.
    still = [setarch, "-R"] if sanitizer == "thread" and (setarch := shutil.which("setarch")) else []
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # it cannot look under a debugger or in a container
    ran = subprocess.run([*still, str(made)], capture_output=True, text=True, env=environment, check=False, timeout=500)
    assert ran.returncode == 0, ran.stderr[-4000:] or f"exit status {ran.returncode}"

"""Every wheel, with the native engine in it, and the sdist, into dist/: `make wheels`, which is
python -m scripts.build_wheels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hatch_build import TARGETS

from rungwise.util.machine import cores

ROOT = Path(__file__).resolve().parents[1]


def build(target: str | None, out: Path) -> Path:
    """One wheel, of a target of hatch_build.py; None: the sdist."""
    what, environment = ("--sdist", {}) if target is None else ("--wheel", {"RUNGWISE_TARGET": target})
    place = out / (target or "sdist")
    command = [sys.executable, "-m", "build", "--no-isolation", what, "--outdir", str(place), str(ROOT)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{target or 'The sdist'} could not be built:\n{done.stdout}{done.stderr}")
    (made,) = place.iterdir()
    made = made.replace(out / made.name)
    place.rmdir()
    return made


def main() -> None:
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    with ThreadPoolExecutor(cores()) as pool:
        for made in pool.map(build, [*TARGETS, None], [out] * (len(TARGETS) + 1)):
            print(f"{made.relative_to(ROOT)}: {made.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

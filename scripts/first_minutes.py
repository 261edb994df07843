"""Run the README's commands in a fresh clone, and write how long each takes: python -m scripts.first_minutes

Writes results/first-minutes.json, which the README quotes. The clone, its .venv and its runs are removed at the end.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rungwise.util import files
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "first-minutes.json"
LIST = "given-names"
"""What `towns.txt` stands for here."""


def commands(readme: str) -> list[str]:
    """The lines of the README's shell blocks, without their comments, each once and in order."""
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def megabytes(folder: Path) -> int:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink()) / 1e6)


def measure(clone: Path, chosen: list[str]) -> dict[str, Any]:
    """Seconds of each command, one after the other; those that need an answer, such as make test, can be left out."""
    environment = os.environ | {"PATH": f"{clone / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    (clone / "towns.txt").write_text(given_names(), encoding="utf-8")
    seconds: dict[str, float] = {}
    for command in chosen:
        began = time.perf_counter()
        subprocess.run(shlex.split(command), cwd=clone, env=environment, check=True)
        seconds[command] = round(time.perf_counter() - began, 1)
        print(f"{seconds[command]:7.1f} s  {command}", flush=True)
    n_words = sum(1 for _ in (clone / "towns.txt").open())
    return {"seconds": seconds, "installed_mb": megabytes(clone / ".venv"), "list_words": n_words}


def given_names() -> str:
    from rungwise.data import words

    listed = words.load(LIST)
    return "".join(f"{listed[i]}\n" for i in range(len(listed)))


def main() -> None:
    arguments = common.parser(__doc__, FILE).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "rungwise"
        subprocess.run(["git", "clone", "--quiet", str(common.ROOT), str(clone)], check=True)
        chosen = commands((clone / "README.md").read_text(encoding="utf-8"))
        found = measure(clone, chosen)
    files.write_json(arguments.out, found | {"cores": os.cpu_count(), "date": now(), **provenance()})
    print(f"Wrote {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""The worked examples of docs/names.md and docs/passwords.md: commands, what they print, and a picture of each.

Run: python -m scripts.worked_examples [--out runs/examples]. Writes results/examples.json, of which blocks() and
picture() make what the pages show.

Lists: given-names (bundled), and the 30,000 passwords of the package zxcvbn (pip install zxcvbn).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from rungwise.judge.estimates import Estimate
from rungwise.judge.figures import Figure
from rungwise.report.judgement import pairs
from rungwise.util import files
from scripts import common

FILE = common.RESULTS / "examples.json"
MOST_LINES = 24
OWN = ("monkey12", "qwerty1", "jessica99", "sunshine!", "correcthorse", "xkq7vzp2")
EXAMPLES = {
    "names": (
        "train --data given-names --steps 3000 --out given",
        "sample given -n 8 --suffix a --length 5-7",
        "sample given -n 8 --pattern '[aeiou].*(l|n)' --unlike given-names",
        "sample given --top 10",
        "sample given -n 10000 > given.txt",
        "judge given-names given.txt --out given.html",
    ),
    "passwords": (
        "train --data passwords.txt --steps 3000 --out passwords",
        "sample passwords -n 8 --pattern '[a-z]{4,6}[0-9]{2}' --new-only",
        "sample passwords --top 10",
        "eval passwords own.txt --guess-number --words",
        "eval passwords passwords.txt --guess-number",
        "sample passwords -n 10000 > drawn.txt",
        "judge passwords.txt drawn.txt --out passwords.html",
    ),
}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run the commands of an example in a folder; what each prints, and the judgement in numbers."""
    files.make_folder(folder)
    if name == "passwords":
        lists = importlib.import_module("zxcvbn.frequency_lists").FREQUENCY_LISTS
        files.write_text(folder / "passwords.txt", "".join(f"{word}\n" for word in lists["passwords"]))
        files.write_text(folder / "own.txt", "".join(f"{word}\n" for word in OWN))
    steps = [{"command": f"rungwise {command}", "output": _output(command, folder)} for command in EXAMPLES[name]]
    judged = json.loads(_output(EXAMPLES[name][-1].split(" --out")[0] + " --json", folder, None))
    return {"steps": steps, "judgement": judged["figures"]}


def _output(command: str, folder: Path, most: int | None = MOST_LINES) -> str:
    """What a command prints, without the lines that tell how far training is."""
    arguments, _, into = command.partition(" > ")
    done = subprocess.run(
        [sys.executable, "-m", "rungwise", *shlex.split(arguments)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(common.ROOT / "src")},
    )
    if into:
        files.write_text(folder / into, done.stdout)
        return ""
    lines = [line for line in done.stdout.splitlines() if " left" not in line]
    return "".join(f"{line.rstrip()}\n" for line in lines[:most])


def blocks(name: str) -> dict[str, str]:
    """step-1, step-2, ...: each command with what it printed."""
    steps = files.read_json(FILE)[name]["steps"]
    return {f"step-{i}": f"```console\n$ {step['command']}\n{step['output']}```\n" for i, step in enumerate(steps, 1)}


def picture(name: str) -> str:
    """The distances of an example's words from its list, beside those of held-out words."""
    figures = [
        Figure(key, f["title"], f["unit"], Estimate(**f["samples"]), Estimate(**f["held_out"]))
        for key, f in files.read_json(FILE)[name]["judgement"].items()
        if key.endswith("_distance")
    ]
    return pairs(name, "Distances of distributions", "", figures, "bits").svg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples"))
    parser.add_argument("names", nargs="*", choices=[*EXAMPLES, []])
    arguments = parser.parse_args()
    for name in arguments.names or EXAMPLES:
        found = files.read_json(FILE) if FILE.exists() else {}
        common.keep(FILE, found | {name: measure(name, arguments.out / name)})


if __name__ == "__main__":
    main()

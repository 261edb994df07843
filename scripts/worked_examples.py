"""The worked examples of docs/names.md, docs/passwords.md and docs/molecules.md: commands, what they print, and a
picture of each.

Run: python -m scripts.worked_examples [--out runs/examples] [names] [passwords] [molecules]. Writes
results/examples.json, of which blocks() and picture() make what the pages show. A run that is there already is not
trained again.

Lists: given-names (bundled), the 30,000 passwords of the package zxcvbn (pip install zxcvbn), and the 10,000 molecules
of RDKit's own tests (pip install rdkit).
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import re
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
MOST_LINES = 40
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
    "molecules": (
        "train --data molecules.txt --tokens atoms.txt --steps 3000 --out molecules",
        "sample molecules -n 8 --suffix 'C(=O)O' --new-only",
        "sample molecules -n 8 --contains Br --length 15-25",
        "sample molecules --top 10",
        "sample molecules -n 5000 > drawn.txt",
        "judge molecules.txt drawn.txt --tokens atoms.txt --valid smiles --out molecules.html",
    ),
}
ATOM = re.compile(r"\[[^\]]+\]|Br|Cl|.")
"""A symbol of SMILES: an atom, or a sign between atoms."""


def measure(name: str, folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """Run the commands of an example in a folder; what each prints, and the judgement in numbers. `before`: what was
    found earlier; a run that prints the same but for its time keeps that time."""
    files.make_folder(folder)
    for file, words in _lists(name).items():
        files.write_text(folder / file, "".join(f"{word}\n" for word in words))
    steps, earlier = [], {step["command"]: step["output"] for step in before.get("steps", [])}
    for command in EXAMPLES[name]:
        printed, full = earlier.get(f"rungwise {command}"), f"rungwise {command}"
        if not (printed and command.startswith("train") and (folder / command.split(" --out ")[-1]).exists()):
            found = _output(command, folder)
            printed = printed if printed and _untimed(printed) == _untimed(found) else found
        steps.append({"command": full, "output": printed})
    judged = json.loads(_output(EXAMPLES[name][-1].split(" --out")[0] + " --json", folder, None))
    return {"steps": steps, "judgement": judged["figures"]}


def _untimed(printed: str) -> str:
    return re.sub(r" steps, [\d:]+( s)?", "", printed)


def _lists(name: str) -> dict[str, list[str]]:
    """The files of an example, and their lines."""
    if name == "passwords":
        lists = importlib.import_module("zxcvbn.frequency_lists").FREQUENCY_LISTS
        return {"passwords.txt": lists["passwords"], "own.txt": list(OWN)}
    if name == "molecules":
        chem, config = importlib.import_module("rdkit.Chem"), importlib.import_module("rdkit.RDConfig")
        path = Path(config.RDDataDir) / "Pains" / "test_data" / "wehi_mols.csv"
        with path.open(encoding="utf-8", newline="") as file:
            smiles = [chem.MolToSmiles(chem.MolFromSmiles(row[0])) for row in csv.reader(file)]
        return {"molecules.txt": smiles, "atoms.txt": sorted({atom for s in smiles for atom in ATOM.findall(s)})}
    return {}


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
        common.keep(FILE, found | {name: measure(name, arguments.out / name, found.get(name, {}))})


if __name__ == "__main__":
    main()

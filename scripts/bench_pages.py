"""How long others that train in a browser take for a step: python -m scripts.bench_pages

Fetches jax-js and TensorFlow.js from npm into a temporary folder, and runs a step of the same sizes with each and with
engine.wasm, in node, one after the other in every round (in_browser.mjs). TinyGPT is not on npm: --tinygpt takes a
checkout of github.com/sarthakagrawal927/tinygpt, which holds its module. Then the article's rungs train in the page, in
Chromium, from the press of a button to the last loss. Writes results/performance/in-browser.json.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from rungwise.data import words
from rungwise.ladder import RUNGS, SELECTIONS
from rungwise.model.cost import n_parameters
from rungwise.play import speed
from rungwise.play.page import build
from rungwise.play.trainable import empty
from rungwise.util.files import read_json
from rungwise.util.provenance import describe_machine, provenance
from scripts import common

FILE = common.PERFORMANCE / "in-browser.json"
PACKAGES = ("@jax-js/jax@0.1.25", "@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0")
SIZES = ("gelu", "scaled")
LADDER_STEPS = 5000
TRAINERS = {
    "rungwise": "rungwise, engine.wasm",
    "tinygpt": "TinyGPT, C++ with threads",
    "jax": "jax-js, WebAssembly, jit",
    "tfjs": "TensorFlow.js, WebAssembly",
}


def measure(folder: Path, tinygpt: Path | None, rounds: int, steps: int) -> dict[str, Any]:
    """{trainer: {rung: {"parameters": n, "ms": [a round], "cpu_ms": ..., "losses": [first, last]}}}.

    `folder`: for what is fetched. Milliseconds a step, by the clock and of the processor, all threads together.
    """
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    subprocess.run([*npm, *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    listed = folder / "words.txt"
    listed.write_text("\n".join(words.load("given-names")), encoding="utf-8")
    asked = {
        "folder": str(folder),
        "tinygpt": tinygpt and str(tinygpt.resolve()),
        "wasm": str(resources.files("rungwise.engine.native").joinpath("engine.wasm")),
        "list": str(listed),
        "rungs": [
            {"name": name, "model": RUNGS[name].model.to_dict(), "train": RUNGS[name].train.to_dict()} for name in SIZES
        ],
        "rounds": rounds,
        "steps": steps,
    }
    command = ["node", str(Path(__file__).with_name("in_browser.mjs"))]
    done = subprocess.run(command, input=json.dumps(asked), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def ladders(folder: Path, n: int) -> list[float]:
    """Seconds that the article's rungs take in the page, opened anew each time, one seed."""
    path = folder / "page.html"
    path.write_text(build(empty()), encoding="utf-8")
    with speed.chromium() as browser:
        return [
            common.seconds(lambda: speed.trained(browser, path, SELECTIONS["article"], LADDER_STEPS).close())
            for _ in range(n)
        ]


def table() -> str:
    """The processor's milliseconds a step of each trainer, and how many times ours they are, in the middle round."""
    found = read_json(FILE)
    measured, machine = found["trainers"], found["machine"]
    columns = {"trainer": "---"}
    for name in SIZES:
        title = RUNGS[name].title
        columns |= {f"{title}: {n_parameters(RUNGS[name].model):,} parameters": "--:"}
        columns |= {f"{title}: times ours": "--:", f"{title}: by the clock": "--:"}
    rows = []
    for trainer, title in TRAINERS.items():
        if trainer in measured:
            cells = [title]
            for name in SIZES:
                theirs, ours = measured[trainer][name], measured["rungwise"][name]
                ratios = [
                    median(their / our for their, our in zip(theirs[kind], ours[kind], strict=True))
                    for kind in ("cpu_ms", "ms")
                ]
                cells += [f"{median(theirs['cpu_ms']):.1f} ms", *(f"{ratio:.1f}" for ratio in ratios)]
            rows.append(cells)
    rounds = len(measured["rungwise"][SIZES[0]]["ms"])
    about = (
        "\nMilliseconds a step of the processor, all threads together: other programs disturb them least. Times ours: "
        f"of these, and by the clock. Medians of {rounds} rounds of {found['steps']} steps; node {found['node']}; "
        f"{machine['cpu']}, {machine['cores']} cores; {', '.join(PACKAGES)}.\n"
    )
    ladder = (
        f"\nThe article's {len(SELECTIONS['article'])} rungs, one seed, {LADDER_STEPS:,} steps each, take "
        f"{median(found['ladder_s']):.0f} s in the page, on {machine['cores']} cores (n = {len(found['ladder_s'])}).\n"
        if found["ladder_s"]
        else ""
    )
    return common.table(columns, rows) + about + ladder


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--tinygpt", type=Path, help="a checkout of TinyGPT, which holds its module")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--ladders", type=int, default=3, help="trainings of the article's rungs")
    options = arguments.parse_args()
    node = subprocess.run(["node", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        trainers = measure(Path(folder), options.tinygpt, options.rounds, options.steps)
        ladder_s = ladders(Path(folder), options.ladders)
    about = {"steps": options.steps, "node": node.removeprefix("v"), "git_revision": provenance()["git_revision"]}
    common.keep(options.out, {"trainers": trainers, "ladder_s": ladder_s, **about, "machine": describe_machine()})


if __name__ == "__main__":
    main()

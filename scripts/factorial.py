"""Five parts, each on and off with all others: what a part is worth whatever the order it is added in.

Run: python -m scripts.factorial [--work runs/factorial] [--out results/more/factorial.json] [--data names] [--splits 5]

32 arms, a ladder of its own (`rungwise climb --ladder`), all with a residual and a projection, and with as many numbers
in one head of 32 as in two of 16; all five parts on are the full model (rung gelu). The same command goes on where it
was stopped. From the file, table() and figure() show main effects, interactions and Shapley values (Shapley 1953): the
mean, over all orders in which parts may be added, of what a part brings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.analysis.stats import summary
from rungwise.analysis.tables import show
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.experiment import ladder_file
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import Result, by_rung, replicate
from rungwise.ladder import select
from rungwise.report import plots
from rungwise.report.document import Figure
from rungwise.report.plots import Level
from rungwise.util.files import make_folder, read_json, write_text
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "more/factorial.json"
PARTS: dict[str, dict[str, Any]] = {
    "heads": {"n_head": 2, "head_size": 16},
    "depth": {"n_layer": 4},
    "MLP": {"mlp": "gelu"},
    "LayerNorm": {"norm": "layernorm"},
    "RoPE": {"position": "rope"},
}
Arm = frozenset[str]
"""The parts that are on."""
ARMS: list[Arm] = [frozenset(on) for n in range(len(PARTS) + 1) for on in combinations(PARTS, n)]
Losses = Mapping[Arm, np.ndarray]
"""(n,) test losses of every arm, paired: a split each."""


def name(arm: Arm) -> str:
    return "-".join(["only", *(part.lower() for part in PARTS if part in arm)] if arm else ["none"])


def ladder() -> str:
    """The file of the 32 arms."""
    tables = []
    for arm in ARMS:
        changes = {"residual": True} | {
            key: value for part in PARTS if part in arm for key, value in PARTS[part].items()
        }
        inside = ", ".join(f"{key} = {json.dumps(value)}" for key, value in changes.items())
        tables.append(f'[[rung]]\nname = "{name(arm)}"\non = "1-head-32-projection"\nchanges = {{ {inside} }}\n')
    return "\n".join(tables)


def gains(losses: Losses, part: str) -> dict[Arm, np.ndarray]:
    """Arm without the part -> what the part brings to it: (n,) nats a character, above zero is better."""
    return {arm: losses[arm] - losses[arm | {part}] for arm in losses if part not in arm}


def shapley(losses: Losses, part: str) -> np.ndarray:
    """(n,) the mean gain over all orders. Those of all parts sum to the gain of the full model over the empty one."""
    n = len(PARTS)
    weights = [factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)]
    return sum((weights[len(arm)] * gain for arm, gain in gains(losses, part).items()), np.zeros(1))


def main_effect(losses: Losses, part: str) -> np.ndarray:
    """(n,) the mean gain over all settings of the other parts."""
    return np.mean(list(gains(losses, part).values()), axis=0)


def interaction(losses: Losses, a: str, b: str) -> np.ndarray:
    """(n,) how much more part a brings where b is on than where it is off."""
    found = gains(losses, a)
    return np.mean([found[arm | {b}] - gain for arm, gain in found.items() if b not in arm], axis=0)


def measure(work: Path, data: str, splits: int, steps: int | None) -> list[Result]:
    make_folder(work)
    write_text(work / ladder_file.LADDER_FILE, ladder())
    own = ladder_file.load(work / ladder_file.LADDER_FILE)
    rungs = select([rung.name for rung in own.rungs])
    listed = words.load(data)
    experiment = Experiment(listed, get_protocol("article"), rungs, [0], steps, splits=splits, ladder_file=ladder())
    return run(experiment, work / "climb", make_pool(experiment.how))


def losses_of(results: list[Result]) -> dict[str, list[float]]:
    """Arm's name -> its test losses, by split: of the splits that all arms have."""
    groups = {rung: {replicate(r): r.test_loss for r in found} for rung, found in by_rung(results).items()}
    common_ones = sorted(set.intersection(*(set(groups[name(arm)]) for arm in ARMS)))
    return {name(arm): [groups[name(arm)][key] for key in common_ones] for arm in ARMS}


def read() -> Losses:
    kept = read_json(FILE)["losses"]
    return {arm: np.array(kept[name(arm)]) for arm in ARMS}


def table(losses: Losses) -> str:
    columns = {"part": "---", "added first": "--:", "mean over all orders (Shapley)": "--:", "main effect": "--:"}
    columns |= {"taken from the full model": "--:"}
    rows = []
    for part in PARTS:
        found = gains(losses, part)
        first, last = found[frozenset()], found[frozenset(PARTS) - {part}]
        values = (first, shapley(losses, part), main_effect(losses, part), last)
        rows.append((part, *(show(summary(value)) for value in values)))
    pairs = {"parts": "---", "how much more together": "--:"}
    together = [(f"{a}, {b}", show(summary(interaction(losses, a, b)), signed=True)) for a, b in combinations(PARTS, 2)]
    n = len(next(iter(losses.values())))
    return (
        f"{common.table(columns, rows)}\nGain in test loss, nats a character (above zero is better); mean over {n} "
        f"splits ± 95 % CI.\n\n{common.table(pairs, together)}"
    )


def figure(losses: Losses) -> Figure:
    def levels(of: Mapping[str, np.ndarray]) -> list[Level]:
        found = {part: summary(values) for part, values in of.items()}
        return [Level(part, s.mean, s.low, s.high) for part, s in found.items()]

    orders = {part: shapley(losses, part) for part in PARTS}
    last = {part: gains(losses, part)[frozenset(PARTS) - {part}] for part in PARTS}
    groups = [("mean over all orders", levels(orders)), ("taken from the full model", levels(last))]
    caption = "Gain in test loss, with 95 % intervals over splits."
    return plots.bars("factorial", "What a part is worth, whatever the order", caption, "worth of the part", groups)


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--work", type=Path, default=Path("runs/factorial"))
    arguments.add_argument("--data", default="names")
    arguments.add_argument("--splits", type=int, default=5)
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    results = measure(given.work, given.data, given.splits, given.steps)
    about = {"data": given.data, "protocol": "article", "splits": given.splits, **provenance(), "date": now()}
    common.keep(given.out, {"losses": losses_of(results), **about})


if __name__ == "__main__":
    main()

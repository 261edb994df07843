"""The tables of docs/interop.md: what scripts/interop.py measured, and what a model must be to have a home."""

from __future__ import annotations

import json
from pathlib import Path

from rungwise.export.homes import HOMES
from rungwise.ladder import RUNGS

MEASURED = Path(__file__).parent.parent / "results/interop.json"


def number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.1e}"


def round_trips() -> str:
    """A row each."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    lines = [
        "| goes to | read by | what is compared | how many | largest difference | greedy words equal |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in measured["rows"]:
        spelled = f"{row['spelled'][0]} of {row['spelled'][1]}" if row["spelled"] else ""
        compared, error = row["compared"], number(row["error"])
        lines.append(f"| {row['to']} | {row['by']} | {compared} | {row['n']:,} | {error} | {spelled} |")
    told = (
        f"\nModels of these rungs after {measured['steps']:,} steps on {measured['data']}; logits of every position of "
        "so many test words. One run; scripts/interop.py measures it again. Figures repeat because float32 is coarse: "
        "between 4 and 8, where the largest logits lie, neighbours are 4.8e-7 apart.\n"
    )
    return "\n".join(lines) + "\n" + told


def homes() -> str:
    """What each class of transformers takes, and the rungs that fit."""
    lines = ["| class | what a model must be | rungs |", "|---|---|---|"]
    for home in HOMES:
        needs = ", ".join(f"{field} {' or '.join(map(str, ok))}" for field, ok in home.needs.items())
        heads = "heads of any size" if home.any_head_size else "heads of n_embd / n_head"
        rungs = ", ".join(name for name, rung in RUNGS.items() if not home.unmet(rung.model))
        lines.append(f"| {home.name} | {needs}; {heads} | {rungs} |")
    return "\n".join(lines) + "\n"

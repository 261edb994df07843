"""Measure the recipes of `rungwise train`, and write their table: python -m scripts.recipes [--write] [LIST ...]

Trains each candidate below for several numbers of steps on a list of its size, one core, and keeps validation losses
and seconds in results/recipes.json; what is there is not trained again. --write makes training/recipes.toml of it: a
candidate is worth its price from the fewest steps on with which its loss is lower than the next candidate's in
the same time; the one that is best in 240 seconds of a core (two minutes of two) is the default, with as many steps.
Test words are not read. page() makes docs/recipes.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.dataset import ListDataset
from rungwise.errors import UserError
from rungwise.training import budget
from rungwise.util.files import read_json, write_text
from rungwise.util.provenance import now, provenance
from scripts import common, real_lists
from scripts.records import loss, trained

FILE = common.RESULTS / "recipes.json"
DEFAULT_SECONDS = 240.0
COMMON: dict[str, Any] = {
    "norm": "rmsnorm", "mlp": "swiglu", "final_norm": True, "head_bias": False, "optimizer": "muon",
    "learning_rate": 3e-3, "targets": "smoothed", "dropout": 0.1, "n_embd": 64,
}  # fmt: skip
STUDENT = {"dropout": 0.0, "teacher_dropout": 0.1, "teacher_share": 0.5}
SHORT = {"n_embd": 32, "n_head": 2}
LARGE = {"batch_size": 64, "learning_rate": 2e-3, "dropout": 0.0}
LISTS: dict[str, tuple[int | None, list[dict[str, Any]], list[int]]] = {
    "short": (
        2_999,
        [{**SHORT, "teachers": 4, **STUDENT, "teacher_dropout": 0.2}, {**SHORT, "dropout": 0.2}],
        [500, 1_000, 2_500, 5_000],
    ),
    "names": (
        50_000,
        [
            {"teachers": 8, "teacher_embd": 128, **STUDENT, "teacher_dropout": 0.2},
            {"teachers": 4, "teacher_embd": 96, **STUDENT},
            {"teachers": 1, "teacher_embd": 96, **STUDENT},
            {},
        ],
        [2_500, 5_000, 10_000, 14_000, 20_000],
    ),
    "english": (
        300_000,
        [
            {**LARGE, "n_embd": 192, "n_head": 6, "teacher_weight": 0.3, "dropout": 0.1},
            {**LARGE, "n_embd": 128, "teacher_weight": 0.3},
        ],
        [3_000, 6_000, 12_000, 24_000],
    ),
    "ukrainian": (
        None,
        [{**LARGE, "n_embd": 256, "n_head": 8}, {**LARGE, "n_embd": 128}],
        [5_000, 10_000, 20_000, 40_000],
    ),
}
"""Up to how many training words; candidates, the richest first; numbers of steps."""
HEAD = """\
# How `rungwise train` trains where nobody says how (training/budget.py): for lists of at most so many training words,
# recipes from the richest on. least: with fewer steps than these, the next one is better; most: more were not measured;
# default: the steps where there is no --budget. The rest are fields of the model and the training; `common` holds what
# all share. Written by `python -m scripts.recipes --write`, but for comments; docs/recipes.md has losses and seconds.
"""


def dataset(name: str) -> ListDataset:
    """short: 2,500 names, of which 2,000 train."""
    if name == "short":
        whole = words.load("names")
        every = sorted({whole[i] for i in range(len(whole))})
        chosen = np.sort(np.random.default_rng(0).permutation(len(every))[:2_500])
        return ListDataset(words.from_words([every[i] for i in chosen], "2,500 names"), get_protocol("strict"))
    return ListDataset(words.load(real_lists.LISTS[name](Path("runs"))), get_protocol("strict"))


def told(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {_toml(value)}" for key, value in changes.items())


def _toml(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value!r}".replace("'", '"')


def measure(name: str, out: Path, most: int | None, seeds: int) -> None:
    """Into the file after each training; `most` steps, where given."""
    data, (_, candidates, numbers) = dataset(name), LISTS[name]
    for seed in range(seeds):
        for changes in reversed(candidates):  # the cheapest first
            for steps in [n for n in numbers if most is None or n <= most]:
                found = read_json(out) if out.exists() else {}
                key = f"{name}: {told(changes)}; steps = {steps}; seed = {seed}"
                if key not in found:
                    model, seconds = trained(data, {**COMMON, **changes, "steps": steps}, seed)
                    row = {"validation": loss(data, model, "validation"), "seconds": max(0.1, round(seconds, 1))}
                    common.keep(out, found | {key: {**row, **provenance(), "date": now()}})
                    print(key, row, flush=True)


def points(name: str, changes: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """Steps -> (seconds, validation loss), means over seeds."""
    found, result = read_json(FILE) if FILE.exists() else {}, {}
    for steps in LISTS[name][2]:
        rows = [row for key, row in found.items() if key.startswith(f"{name}: {told(changes)}; steps = {steps};")]
        if rows:
            result[steps] = tuple(float(np.mean([row[what] for row in rows])) for what in ("seconds", "validation"))
    return result


def worth(name: str) -> list[dict[str, Any]]:
    """The candidates that are worth their price somewhere, as rows of recipes.toml."""
    kept: list[tuple[dict[str, Any], int, dict[int, tuple[float, float]]]] = []
    for changes in reversed(LISTS[name][1]):
        if not (mine := points(name, changes)):
            continue
        least = min(mine)
        if kept:
            seconds, losses = zip(*kept[-1][2].values(), strict=True)
            better = [n for n, (s, loss) in mine.items() if loss < np.interp(np.log(s), np.log(seconds), losses)]
            if not better:
                continue
            least = min(better)
        kept.append((changes, least, mine))
    if not kept:
        raise UserError(f"{name} was not measured: python -m scripts.recipes {name}")
    in_time = [
        (loss, i, n) for i, (_, _, mine) in enumerate(kept) for n, (s, loss) in mine.items() if s <= DEFAULT_SECONDS
    ]
    _, which, default = min(in_time) if in_time else (0, 0, min(kept[0][2]))
    rows = []
    for i, (changes, least, mine) in enumerate(kept):
        of_default = {"default": default} if i == which else {}
        rows.append({**({"least": least} if i else {}), "most": max(mine), **of_default, **changes})
    return rows[::-1]


def write() -> None:
    lines = [HEAD, "[common]", *(f"{key} = {_toml(value)}" for key, value in COMMON.items())]
    for name, (most, *_) in LISTS.items():
        rows = (f"    {{ {told(row)} }}," for row in worth(name))
        lines += ["", "[[list]]", *([f"words = {most}"] if most else []), "recipes = [", *rows, "]"]
    write_text(budget.TABLE, "\n".join(lines) + "\n")


def page() -> str:
    """docs/recipes.md."""
    rows = []
    for name, (_, candidates, _) in LISTS.items():
        for changes in candidates:
            for steps, (seconds, validation) in points(name, changes).items():
                rows.append((name, told(changes) or "as common", f"{steps:,}", f"{seconds:.0f}", f"{validation:.4f}"))
    columns = {"list": "---", "recipe": "---", "steps": "--:", "seconds of one core": "--:", "validation": "--:"}
    measured = common.table(columns, rows) if rows else "Not measured yet: `recipes.toml` holds estimates.\n"
    return f"""# How `rungwise train` chooses

`rungwise train --data LIST` takes the default recipe for the list's size; `--budget 10m` (or `90s`, `1h`: time by the
clock on this machine) takes the richest recipe that fits. Whoever gives fields of the model or the training goes on
from the article's final recipe, suited to the list's size, and `--rung final` is the article's recipe itself. All that
was chosen stands in the run's `config.json`.

The recipes are the table in `src/rungwise/training/recipes.toml`, below. A student learns what its teachers say, on the
list's words and on words that they draw; they are trained first, side by side on the cores. How many steps fit is a
short law: steps = (budget - scoring) / (a student's step + a teacher's step * teachers / cores). Steps are timed on
this machine for half a second each; scoring is passes without gradients, {budget.FORWARD:g} of a step's price a
character: the teachers' over all training words and those that they draw, twenty looks at the validation words, and
the end. Where fewer than `least` steps fit, the next recipe is tried. Test words are read once, when all is trained.

```toml
{budget.TABLE.read_text(encoding="utf-8").rstrip()}
```

What the candidates reach, protocol strict, nats a character (`python -m scripts.recipes`; `--write` makes the table of
it):

{measured}"""


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--write", action="store_true", help="make recipes.toml of what is measured")
    arguments.add_argument("--most", type=int, help="no more steps than these")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("lists", nargs="*", choices=[*LISTS, []], help=", ".join(LISTS))
    given = arguments.parse_args()
    if given.write:
        write()
        return
    for name in given.lists or LISTS:
        measure(name, given.out, given.most, given.seeds)


if __name__ == "__main__":
    main()

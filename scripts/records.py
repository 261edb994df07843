"""How low a loss models of some size reach, and how soon a loss is reached.

Run: python -m scripts.records [RECIPE ...]. Trains the recipes below on the article's list, protocol strict, a seed
after the other on one core, and writes results/records.json, of which page() makes docs/records.md. What is there is
not trained again, unless --again is given: so a stopped run goes on. Recipes are chosen on validation words; test words
are read once, of what is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from rungwise.analysis.stats import summary
from rungwise.analysis.tables import show
from rungwise.config import EngineConfig, get_protocol
from rungwise.config.settings import Settings
from rungwise.data import words
from rungwise.data.dataset import ListDataset
from rungwise.engine.loop import models, train
from rungwise.engine.select import make_engine
from rungwise.experiment.results import RESULTS, Result, by_rung, read
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, get_rung
from rungwise.model.cost import n_parameters
from rungwise.model.transformer import Transformer
from rungwise.training import budget, distil
from rungwise.util.files import read_json
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "records.json"
SIZES = (4_192, 52_252, 202_780)
LOSSES = (2.05, 1.97)
"""Test losses that are to be reached: makemore's own quality, and the article's final recipe's."""
SEEDS, SCOUTS = range(5), (100, 101)
"""Seeds that are recorded, and those that choose."""
MARGIN = 0.004
"""By which the scouts' validation loss must be lower than the loss that is to be reached."""
P = 0.01

PLAIN = {"norm": "rmsnorm", "mlp": "swiglu", "final_norm": True, "head_bias": False, "optimizer": "muon"}
FAST = {**PLAIN, "targets": "smoothed", "learning_rate": 5e-3, "dropout": 0.0}
STUDENT = {**PLAIN, "targets": "smoothed", "learning_rate": 3e-3, "teachers": 4, "teacher_embd": 64, "dropout": 0.0}
DEFAULT = next(recipe for recipe in budget.recipes(25_000) if recipe.default)
RECIPES: dict[str, dict[str, Any]] = {
    "tiny-student": {**STUDENT, "n_layer": 1, "n_embd": 16, "n_head": 2, "steps": 10_000, "teacher_dropout": 0.0},
    "small-student": {**STUDENT, "n_embd": 32, "n_head": 2, "steps": 10_000, "teacher_dropout": 0.1},
    "default": {**DEFAULT.changes, "steps": DEFAULT.default},
    "long": {**DEFAULT.changes, "steps": 40_000, "teachers": 8, "teacher_embd": 128, "teacher_dropout": 0.2},
    "article": {"rung": "final"},
    "to-2.05": {**FAST, "reach": 2.05, "steps": [300, 400, 500, 600, 800, 1_000]},
    "to-1.97": {**FAST, "reach": 1.97, "steps": [1_500, 2_000, 2_500, 3_000, 4_000], "dropout": 0.1},
    "article-to-2.05": {"rung": "final", "reach": 2.05, "steps": [2_000, 3_000, 4_000, 5_000, 7_000]},
}
"""Fields of the model and the training. `rung`: what they change; `reach`: a loss, of which `steps` are candidates."""


def trained(dataset: ListDataset, fields: Mapping[str, Any], seed: int) -> tuple[Transformer, float]:
    """A model, and the seconds of one core that it took, targets and teachers among them."""
    rung = get_rung(fields.get("rung", "final"))
    asked = Settings.of({k: v for k, v in fields.items() if k not in ("rung", "reach")}, "records")
    model, config = asked.model_and_train(rung.model, rung.train, len(dataset.vocabulary), dataset.block_size)
    how, began = EngineConfig(), time.process_time()
    tape, teacher = dataset.train_tape, None
    if config.teachers:
        held_out = dataset.scored_tape("validation", dataset.protocol.word_start)
        room = distil.Classroom(how)
        lesson = distil.prepare(model, config, tape, held_out, dataset.vocabulary, None, seed, room)
        tape, teacher = lesson.tape, lesson.teacher
    engine = make_engine(model, config, tape, [seed], how, threads=1, teacher=teacher)
    train(engine, config)
    return models(engine, model, 1)[0], time.process_time() - began


def loss(dataset: ListDataset, model: Transformer, part: str) -> float:
    tape = dataset.scored_tape(part, dataset.protocol.word_start)
    assert tape is not None
    return score(model, tape).loss


def chosen(dataset: ListDataset, fields: Mapping[str, Any]) -> dict[str, Any]:
    """With the fewest steps with which the scouts' validation loss is low enough; the last candidate if none."""
    if "reach" not in fields:
        return dict(fields)
    steps = 0
    for steps in fields["steps"]:
        found = [trained(dataset, {**fields, "steps": steps}, seed)[0] for seed in SCOUTS]
        mean = float(np.mean([loss(dataset, model, "validation") for model in found]))
        print(f"{steps} steps: validation {mean:.4f}", flush=True)
        if mean <= fields["reach"] - MARGIN:
            break
    return {**fields, "steps": steps}


def measure(name: str, out: Path, again: bool, seeds: int) -> None:
    """Into the file after each seed."""
    found = read_json(out) if out.exists() else {}
    dataset = ListDataset(words.load("names"), get_protocol("strict"))
    entry = {} if again else found.get(name, {})
    entry = entry or {"fields": chosen(dataset, RECIPES[name]), "seeds": {}}
    for seed in SEEDS[:seeds]:
        if str(seed) in entry["seeds"]:
            continue
        model, seconds = trained(dataset, entry["fields"], seed)
        parts = {part: loss(dataset, model, part) for part in ("validation", "test")}
        entry["seeds"][str(seed)] = {**parts, "seconds": round(seconds, 1)}
        about = {"n_params": n_parameters(model.config), "data_sha256": dataset.sha256, **provenance(), "date": now()}
        common.keep(out, found | {name: entry | about})
        print(name, seed, entry["seeds"][str(seed)], flush=True)


# ------------------------------------------------------------------------------------------------------ the page


Row = tuple[str, int, list[float], float, list[float], str, str]
"""Of a recipe: name, parameters, test losses, mean validation loss, seconds, command, revision."""


def measured() -> list[Row]:
    """Of the recipes; without a time where one was not reached."""
    found = read_json(FILE) if FILE.exists() else {}
    rows: list[Row] = []
    for name, entry in found.items():
        seeds = list(entry["seeds"].values())
        test, validation, seconds = ([s[key] for s in seeds] for key in ("test", "validation", "seconds"))
        command = f"`python -m scripts.records {name}`"
        rows.append(
            (name, entry["n_params"], test, float(np.mean(validation)), seconds, command, entry["git_revision"])
        )
    return rows


def climbed() -> list[Row]:
    """Of the committed climb: the rungs of the article, and those beyond it."""

    def row(name: str, results: list[Result]) -> Row:
        who = "the article's" if RUNGS[name].group in ("article", "scaling") else "the ladder's"
        validation = float(np.mean([r.val_loss for r in results if r.val_loss is not None]))
        command = f"`rungwise climb --protocol strict --rungs {name}`"
        test, revision = [r.test_loss for r in results], str(results[0].git_revision)
        return f"{who} {RUNGS[name].title}", results[0].n_params, test, validation, [], command, revision

    of_rungs = by_rung(read(common.RESULTS / "names-strict" / RESULTS))
    groups = ("article", "scaling", "beyond")
    return [row(name, found) for name, found in of_rungs.items() if name in RUNGS and RUNGS[name].group in groups]


def better(row: Row, other: Row) -> str:
    """Is a row's mean lower than the other's? Welch's test, one-sided."""
    found: Any = stats.ttest_ind(row[2], other[2], equal_var=False, alternative="less")
    p = float(found.pvalue)
    return "" if math.isnan(p) else f"{p:.1g}"


def of_size(limit: int) -> str:
    """Ours first; then the article's best rung by validation, and the best beyond it."""
    ours = [row for row in measured() if limit / 4 < row[1] <= limit and len(row[2]) >= len(SEEDS)]
    ours = [row for row in ours if row[0] != "article"]
    others = [row for row in climbed() if row[1] <= limit]
    best = [min(some, key=lambda row: row[3]) for who in ("the a", "the l") if (some := _of(others, who))]
    rows = sorted(ours, key=lambda row: row[3]) + sorted(best, key=lambda row: row[3])
    columns = {"recipe": "---", "parameters": "--:", "validation": "--:", "test": ":-:", "n": "--:"}
    columns |= {"p, lower than the next": "--:", "command": "---", "revision": "---"}
    cells = []
    for i, row in enumerate(rows):
        name, n_params, test, validation, _, command, revision = row
        p = better(row, rows[i + 1]) if i + 1 < len(rows) else ""
        cells.append((name, f"{n_params:,}", f"{validation:.4f}", show(summary(test)), len(test), p, command, revision))
    return common.table(columns, cells)


def _of(rows: list[Row], who: str) -> list[Row]:
    return [row for row in rows if row[0].startswith(who)]


def of_time(reach: float) -> str:
    """Recipes whose mean test loss is low enough, the fastest first."""
    rows = [row for row in measured() if len(row[2]) >= len(SEEDS) and float(np.mean(row[2])) <= reach]
    columns = {"recipe": "---", "seconds of one core": ":-:", "test": ":-:", "n": "--:", "command": "---"}
    cells = [
        (name, f"{np.mean(seconds):.1f}", show(summary(test)), len(test), command, revision)
        for name, _, test, _, seconds, command, revision in sorted(rows, key=lambda row: float(np.mean(row[4])))
    ]
    return common.table(columns | {"revision": "---"}, cells) if cells else "Not measured yet.\n"


def page() -> str:
    """docs/records.md."""
    peer = read_json(common.RESULTS / "peers.json")["makemore"]
    sizes = "".join(f"## At most {limit:,} parameters\n\n{of_size(limit)}\n" for limit in SIZES)
    times = "".join(f"## Seconds to a test loss of {reach:g}\n\n{of_time(reach)}\n" for reach in LOSSES)
    return f"""# Records

Two kinds of track on the article's list of names, protocol strict, split seed 0: the lowest test loss that a single
model of at most so many parameters reaches, and the seconds of one core in which a loss is reached. Teachers of a
student may be larger: it is the student that is counted, and scored; the seconds are those of all of them. Mean ± 95 %
interval over seeds, nats a character. A recipe is chosen on validation words, by other seeds where it is chosen anew;
test words are read once. A record has n ≥ {len(SEEDS)} and is lower than the one before with p < {P:g} (Welch's
test).

{sizes}{times}makemore's default transformer ({peer["n_params"]:,} parameters, {peer["steps"]:,} steps, n = 1) has
{peer["test_loss"]:.4f} on its own test words, some of which it was trained on. In protocol strict, where no word is in
two parts, 2.05 is about its quality ([findings](findings.md)).

A record of your own: add a recipe to `RECIPES` in `scripts/records.py`, run `python -m scripts.records NAME`, then
`python -m scripts.write_docs`.
"""


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--again", action="store_true", help="train anew what is there")
    arguments.add_argument("--seeds", type=int, default=len(SEEDS), help="so many of them, for now")
    arguments.add_argument("recipes", nargs="*", choices=[*RECIPES, []], help=", ".join(RECIPES))
    given = arguments.parse_args()
    for name in given.recipes or RECIPES:
        measure(name, given.out, given.again, given.seeds)


if __name__ == "__main__":
    main()

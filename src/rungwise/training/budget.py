"""What `rungwise train` does where nobody says how: a recipe for the list's size, and for the time that there is.

recipes.toml is a table: for lists up to a size, recipes from the richest on, of fields of ModelConfig and TrainConfig.
`--budget 10m` times a step of each on this machine and takes the first of which at least `least` steps fit into the
time, with as many as fit and `most` at most. Without a budget, the recipe that has a `default` is taken, with so many
steps: the same on every machine. The table holds estimates from few trials until scripts/recipes.py has measured them
(docs/recipes.md); validation words choose, test words are not read. What a step costs, and passes without gradients in
parts of it, is all that the law of time knows; teachers are trained side by side on the cores.
"""

from __future__ import annotations

import dataclasses
import math
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rungwise.config import ModelConfig, RunConfig, TrainConfig
from rungwise.config.settings import Settings
from rungwise.data.batches import STEPS_A_BLOCK
from rungwise.data.dataset import EVALUATION_WORDS, SCORED_TRAIN_WORDS, Dataset
from rungwise.engine.loop import learning_rate
from rungwise.engine.select import make_engine
from rungwise.errors import UserError
from rungwise.ladder import Rung
from rungwise.training import distil
from rungwise.util.machine import cores
from rungwise.util.progress import duration

TABLE = Path(__file__).with_name("recipes.toml")
FORWARD = 0.3
"""Of a step's time for a token: a token that is only scored."""
START = 4.0
"""Seconds that no step takes: what is loaded, counted, drawn and judged."""
TRIAL = 0.4
"""Seconds, about, in which a step is timed."""
CHOSEN = ("steps", "teachers")
"""What a budget chooses in any case."""


@dataclass(frozen=True)
class Recipe:
    """A row of recipes.toml."""

    changes: dict[str, Any]
    """Fields of ModelConfig and TrainConfig, steps not among them."""
    least: int
    """With fewer steps than these, the next recipe is better."""
    most: int
    """More do not help."""
    default: int | None
    """Steps where there is no budget; None: then it is another recipe that is taken."""


@cache
def _table() -> list[tuple[float, list[Recipe]]]:
    """Up to how many training words, and the recipes for such lists."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))

    def recipe(least: int = 1, most: int = 1, default: int | None = None, **changes: Any) -> Recipe:
        return Recipe(table["common"] | changes, least, most, default)

    return [(of.get("words", math.inf), [recipe(**row) for row in of["recipes"]]) for of in table["list"]]


def recipes(n_words: int) -> list[Recipe]:
    """For a list of so many training words, the richest first."""
    return next(found for words, found in _table() if n_words <= words)


@dataclass(frozen=True)
class Plan:
    """What is done in a time."""

    changes: dict[str, Any]
    seconds: float
    """That it takes, about."""


Pace = Callable[[ModelConfig, TrainConfig, int], float]
"""Seconds of a step, so many engines at work at once; 1: one on all cores."""


def choose(asked: Settings, rung: Rung, dataset: Dataset, pace: Pace, n_cores: int) -> Plan:
    """What fits into asked.run.budget."""
    *richer, last = recipes(dataset.n_train)
    for recipe in richer:
        plan = _plan(recipe, asked, rung, dataset, pace, n_cores)
        if plan.changes["steps"] >= recipe.least:
            return plan
    return _plan(last, asked, rung, dataset, pace, n_cores)


def _plan(recipe: Recipe, asked: Settings, rung: Rung, dataset: Dataset, pace: Pace, n_cores: int) -> Plan:
    """With as many steps as fit, one at least."""
    assert dataset.tape is not None
    settings = asked.filled({**recipe.changes, "steps": recipe.most})
    model, config = settings.model_and_train(rung.model, rung.train, len(dataset.vocabulary), dataset.block_size)
    length = dataset.tape.mean_length
    held_out = [dataset.scored_tape(part, dataset.protocol.word_start) for part in ("validation", "test")]
    n_validation, n_test = (0 if tape is None else len(tape.starts) for tape in held_out)
    looked_at = asked.run.evaluations(recipe.most) * min(n_validation, EVALUATION_WORDS)
    scored = looked_at + min(dataset.n_train, SCORED_TRAIN_WORDS) + n_validation + n_test
    a_step = pace(model, config, 1)
    other = START + scored * length * FORWARD * a_step / config.tokens_per_step(length)
    if n := config.teachers:
        at_once = min(n, n_cores)
        of_teacher = pace(distil.teacher_of(model, config), config, at_once)
        asked_each = dataset.n_train + distil.DRAWN_WORDS
        other += n * asked_each * length * FORWARD * of_teacher / config.tokens_per_step(length)
        a_step += of_teacher * math.ceil(n / at_once) * config.teacher_share
    steps = max(1, min(recipe.most, int((asked.run.budget_seconds - other) / a_step)))
    return Plan(dict(settings.changes) | {"steps": steps}, other + steps * a_step)


def timed(dataset: Dataset, how: RunConfig) -> Pace:
    """This machine's pace on a list, by a short trial."""
    tape = dataset.tape
    assert tape is not None

    @cache
    def pace(model: ModelConfig, config: TrainConfig, at_once: int) -> float:
        config = config.replace(targets="words", teachers=0)
        threads = how.threads if at_once == 1 else 1
        engines = [make_engine(model, config, tape, [0], how, threads=threads) for _ in range(at_once)]

        def trial(engine: Any) -> float:
            shortest, step, ends = math.inf, 0, time.perf_counter() + TRIAL
            while step < 4 or (time.perf_counter() < ends and step < STEPS_A_BLOCK - 2):
                began = time.perf_counter()
                engine.run(step, [learning_rate(config, step), learning_rate(config, step + 1)])
                shortest, step = min(shortest, (time.perf_counter() - began) / 2), step + 2
            return shortest

        with ThreadPoolExecutor(at_once) as pool:
            return max(pool.map(trial, engines))

    return pace


def suited(asked: Settings, rung: Rung, dataset: Dataset, engine: str, log: Callable[[str], None]) -> Settings:
    """With a recipe for the list, in what nobody asked for.

    Without a budget, whoever gives fields of the model or the training goes on from the article's final recipe, and so
    do the engines that take minutes for a teacher.
    """
    if asked.run.budget is None:
        if asked.changes or engine != "native":
            return asked.suited_to(dataset.n_train)
        recipe = next(recipe for recipe in recipes(dataset.n_train) if recipe.default)
        return asked.filled({**recipe.changes, "steps": recipe.default})
    _refuse(asked, dataset, engine)
    plan = choose(asked, rung, dataset, timed(dataset, asked.run.replace(engine=engine)), cores())
    log(f"In {asked.run.budget}: {_told(plan.changes)}. It will take about {duration(plan.seconds)}.")
    return dataclasses.replace(asked, changes=plan.changes)


def _refuse(asked: Settings, dataset: Dataset, engine: str) -> None:
    given = [name for name in CHOSEN if name in asked.changes] + ["rung"] * (asked.run.rung is not None)
    if given:
        raise UserError(f"A budget chooses the recipe: leave out {given[0]}, or the budget.")
    if dataset.tape is None or engine == "distributed":
        raise UserError("A budget is for one process and a list in memory: give --steps instead.")


def _told(changes: Mapping[str, Any]) -> str:
    """A recipe in a line, for people."""
    n, width = changes.get("teachers", 0), changes["n_embd"]
    taught = f"{n} teacher{'s' * (n > 1)}, {changes.get('teacher_embd') or width} wide, and then " if n else ""
    return f"{taught}a model {width} wide, {changes['steps']:,} steps"

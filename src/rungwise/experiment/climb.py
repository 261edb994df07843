"""Rungs x seeds -> results: the plan, and the books. Resumes by what is already there.

Where the tasks run is a pool's business: processes of this machine (local.py), or a Ray cluster (on_ray.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from rungwise.config import EngineConfig, ModelConfig, Protocol, TrainConfig
from rungwise.data.batches import Tape, check_windows
from rungwise.data.words import Split, WordList, split
from rungwise.errors import UserError
from rungwise.experiment import baselines
from rungwise.experiment import results as results_module
from rungwise.experiment.local_pool import LocalPool
from rungwise.experiment.results import RESULTS, Result
from rungwise.ladder import Rung
from rungwise.util.files import contents, lock, make_folder, read_json, write_json
from rungwise.util.machine import cores

SETTINGS = "climb.json"


@dataclass(frozen=True, eq=False)
class Climb:
    """What is to be measured, and where it is written."""

    words: WordList
    protocol: Protocol
    rungs: Sequence[Rung]
    seeds: Sequence[int]
    out: Path
    steps: int | None = None
    """Instead of each rung's own."""
    split_seed: int = 0
    how: EngineConfig = field(default_factory=EngineConfig)
    processes: int | None = None
    """None: one a core, or one for a GPU. Of this machine only."""
    ray: str | None = None
    """The address of the Ray cluster that does the work: auto, HOST:PORT or ray://HOST:PORT. None: this machine."""
    snapshots: bool = False
    """Keep words drawn at log-spaced steps, too."""

    def configs(self, rung: Rung) -> tuple[ModelConfig, TrainConfig]:
        """Of a rung on this list."""
        model = rung.model.replace(vocab_size=len(self.words.vocabulary), block_size=self.words.block_size)
        return model, rung.trained(self.steps)

    def settings(self) -> dict[str, Any]:
        """What all results of one directory have in common."""
        return {
            "data": self.words.name,
            "data_sha256": self.words.sha256,
            "protocol": self.protocol.name,
            "steps": self.steps,
            "split_seed": self.split_seed,
        }


@dataclass(frozen=True)
class Task:
    """Replicas of one rung that are trained as one program, in one process."""

    rung: Rung
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """Where a climb stands."""

    done: list[Result]
    """All results so far, those of earlier climbs into the same directory too."""
    new: list[Result]
    """What has come since the last call."""
    share: float
    """Of the work, 0 to 1, by estimated cost."""
    seconds_left: float | None
    """None until enough is known."""


class Pool(AbstractContextManager["Pool"], Interface):
    """Where tasks run. When it is left, whatever still runs is ended."""

    width: int
    """How many tasks it runs at once; known when it is entered."""

    def run(
        self, climb: Climb, parts: Split, tasks: Sequence[Task]
    ) -> Iterator[tuple[list[Result], Mapping[int, float]]]:
        """Run every task to its end. Several times a second: the results that have come since, each once and with its
        run directory under climb.out; and for every task, by its number, the share of it that is done, 0 to 1."""
        ...


def make_pool(climb: Climb) -> Pool:
    """A process a core, each with one thread; one for a GPU, where the replicas of a rung are one program."""
    from rungwise.engine.select import on_a_gpu

    if climb.ray is None:
        return LocalPool(climb.processes or (1 if on_a_gpu(climb.how) else cores()))
    from rungwise.experiment.ray_pool import RayPool  # only where a cluster is asked for

    return RayPool(climb.ray)


def open_directory(climb: Climb) -> list[Result]:
    """Begin in an empty directory, or go on; one that holds another climb, or anything else, is refused."""
    make_folder(climb.out)
    if not contents(climb.out):
        write_json(climb.out / SETTINGS, climb.settings())
        return []
    if not (climb.out / SETTINGS).exists():
        raise UserError(f"{climb.out} holds something else than a climb; give another --out.")
    there, mine = read_json(climb.out / SETTINGS), climb.settings()
    for name, value in mine.items():
        if there.get(name) != value:
            raise UserError(
                f"{climb.out} holds another climb ({name} {there.get(name)!r}, not {value!r}); give another --out."
            )
    wanted = {rung.name: rung for rung in climb.rungs}
    found = results_module.read(climb.out / RESULTS)
    return [r for r in found if r.rung not in wanted or results_module.matches(r, wanted[r.rung], climb.steps)]


def cost(rung: Rung, steps: int | None) -> float:
    """Relative cost of a replica, for the estimate of the time left: multiply-adds grow with the blocks' parameters."""
    m = rung.model
    a_block = m.n_embd * (4 * m.attention_width + (3 if m.mlp == "swiglu" else 2) * m.mlp_hidden)
    return (steps or rung.train.steps) * (m.n_layer * a_block + 5_000)


def plan(climb: Climb, done: Sequence[Result], processes: int, together: Callable[[Rung], int]) -> list[Task]:
    """The tasks that are left, in the ladder's order.

    A rung's seeds stay together, `together` of them at most (engines.replicas_together), unless that would leave
    processes without work.
    """
    have = {(r.rung, r.seed) for r in done}
    tasks = []
    for rung in climb.rungs:
        seeds = [seed for seed in climb.seeds if (rung.name, seed) not in have]
        groups = min(len(seeds), max(-(-processes // len(climb.rungs)), -(-len(seeds) // together(rung))))
        tasks += [Task(rung, tuple(seeds[i::groups])) for i in range(groups)]
    return tasks


def run(climb: Climb, report: Callable[[Progress], None]) -> list[Result]:
    """Train and score whatever is missing; `report` is called with every result and several times a second.

    A result is appended to results.jsonl as soon as it is there, so a climb that is stopped loses only what was
    under way.
    """
    parts = split(climb.words, climb.protocol, climb.split_seed)  # refuses a list too short before work begins
    tape = Tape.of(climb.words, parts.train, climb.protocol)
    for rung in climb.rungs:
        check_windows(tape, rung.train)
    make_folder(climb.out)
    with lock(climb.out):
        return _run(climb, parts, report)


def _run(climb: Climb, parts: Split, report: Callable[[Progress], None]) -> list[Result]:
    from rungwise.engine.select import replicas_together

    done = open_directory(climb)
    with make_pool(climb) as pool:
        baselines.write(climb.out, climb.words, parts, climb.protocol, climb.split_seed)
        tasks = plan(
            climb, done, pool.width, lambda rung: replicas_together(climb.how, *climb.configs(rung), pool.width)
        )
        costs = [cost(task.rung, climb.steps) * len(task.seeds) for task in tasks]
        report(Progress(done, [], 0.0 if tasks else 1.0, None))
        began = time.monotonic()
        for new, shares in pool.run(climb, parts, tasks):
            for result in new:
                results_module.append(climb.out / RESULTS, result)
            done += new
            spent = sum(costs[number] * share for number, share in shares.items()) / sum(costs)
            elapsed = time.monotonic() - began
            left = elapsed * (1 - spent) / spent if spent > 0.01 and elapsed > 3 else None
            report(Progress(done, new, spent, left))
    return done

"""What is measured, in which tasks, and what a place that runs them must offer. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from rungwise.config import EngineConfig, ModelConfig, Protocol, TrainConfig
from rungwise.data.words import Split, WordList
from rungwise.experiment.results import Result
from rungwise.ladder import Rung
from rungwise.model.cost import n_parameters


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


def cost(rung: Rung, steps: int | None) -> float:
    """Relative cost of a replica, for the estimate of the time left: multiply-adds grow with the parameters."""
    return (steps or rung.train.steps) * (n_parameters(rung.model) + 5_000)


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

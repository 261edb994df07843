"""What is measured, in which tasks, and what a place that runs them must offer. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from rungwise.config import EngineConfig, ModelConfig, Protocol, TrainConfig
from rungwise.data.words import Split, WordList, split
from rungwise.experiment.results import Replicate, Result, replicate
from rungwise.ladder import Rung
from rungwise.model.cost import n_parameters

STRIDE = 1000
"""From the seeds of one split to those of the next."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """What is to be measured: rungs x splits x seeds of one list. It travels to the processes that do the work, the
    splits with it. A list too short for the protocol's split is a UserError.

    Every split has seeds of its own (`STRIDE` apart), so that no two splits share what a seed draws.
    """

    words: WordList
    protocol: Protocol
    rungs: Sequence[Rung]
    seeds: Sequence[int]
    """Of the first split."""
    steps: int | None = None
    """Instead of each rung's own."""
    split_seed: int = 0
    """Of the first split; the others count on from it."""
    splits: int = 1
    how: EngineConfig = field(default_factory=EngineConfig)
    """Which engine trains, on which device and in which precision."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Options with which the list was read, where they are not the defaults: column, lowercase, ..."""
    snapshots: bool = False
    """Keep words that the first seed of each rung draws at log-spaced steps, too."""
    ladder_file: str = ""
    """The text of a ladder of one's own (ladder_file.py), which the directory keeps."""
    parts: Split = field(init=False)
    """The first split."""
    others: tuple[Experiment, ...] = field(init=False)
    """The same on each further split."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", split(self.words, self.protocol, self.split_seed))
        object.__setattr__(self, "others", tuple(self._other(i) for i in range(1, self.splits)))

    def _other(self, i: int) -> Experiment:
        seeds = [seed + i * STRIDE for seed in self.seeds]
        return replace(self, seeds=seeds, split_seed=self.split_seed + i, splits=1, snapshots=False)

    @property
    def each(self) -> tuple[Experiment, ...]:
        """One experiment a split."""
        return (self, *self.others)

    @property
    def replicates(self) -> list[Replicate]:
        """What is measured of every rung."""
        return [(on.split_seed, seed) for on in self.each for seed in on.seeds]

    def configs(self, rung: Rung) -> tuple[ModelConfig, TrainConfig]:
        """Of a rung on this list."""
        model = rung.model.replace(vocab_size=len(self.words.vocabulary), block_size=self.words.block_size)
        return model, rung.trained(self.steps)

    def settings(self) -> dict[str, Any]:
        """What all results of one directory have in common: climb.json."""
        return {
            "data": self.words.name,
            "data_sha256": self.words.sha256,
            "protocol": self.protocol.name,
            "steps": self.steps,
            "split_seed": self.split_seed,
            **({"reading": dict(self.reading)} if self.reading else {}),
        }


@dataclass(frozen=True)
class Task:
    """Replicas of one rung that are trained as one program, in one process."""

    rung: Rung
    seeds: tuple[int, ...]
    split: int = 0
    """Which of the experiment's splits: a place in `each`."""


@dataclass(frozen=True)
class Progress:
    """How far a climb is."""

    done: list[Result]
    """All results so far, those of earlier climbs into the same directory too."""
    new: list[Result]
    """What has come since the last call."""
    share: float
    """Of the work, 0 to 1, by estimated cost."""
    seconds_left: float | None
    """None until enough is known."""


Update = tuple[list[Result], Mapping[int, float]]
"""The results that are new, each once and with its run directory RUNG/seed-N under `out`; and for every task, by its
number, the share of it that is done, 0 to 1."""


class Pool(AbstractContextManager["Pool"], Interface):
    """Where tasks run. When it is left, tasks that still run are ended."""

    width: int
    """How many tasks it runs at once; known when it is entered."""

    def run(self, experiment: Experiment, out: Path, tasks: Sequence[Task]) -> Iterator[Update]:
        """Run every task to its end, and report several times a second."""
        ...


def cost(rung: Rung, steps: int | None) -> float:
    """Relative cost of a replica, for the estimate of the time left: multiply-adds grow with the parameters."""
    return (steps or rung.train.steps) * (n_parameters(rung.model) + 5_000)


def plan(experiment: Experiment, done: Sequence[Result], processes: int, together: Callable[[Rung], int]) -> list[Task]:
    """The tasks that are left: split by split, in the ladder's order.

    A rung's seeds stay together, `together` of them at most (engine.select.replicas_together), unless that would leave
    processes without work.
    """
    have = {(r.rung, *replicate(r)) for r in done}
    tasks, least = [], -(-processes // (len(experiment.rungs) * experiment.splits))
    for number, on in enumerate(experiment.each):
        for rung in experiment.rungs:
            seeds = [seed for seed in on.seeds if (rung.name, on.split_seed, seed) not in have]
            groups = min(len(seeds), max(least, -(-len(seeds) // together(rung))))
            tasks += [Task(rung, tuple(seeds[i::groups]), number) for i in range(groups)]
    return tasks

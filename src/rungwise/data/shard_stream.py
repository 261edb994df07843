"""Batches from Parquet shards, each process its own part of them, for lists that no memory holds. No torch here."""

import heapq
from collections.abc import Iterator

import numpy as np

from rungwise.data.batches import Tape
from rungwise.data.shards import PROTOCOL, Shards, read_group
from rungwise.util.hashing import derive_seed

LANES = 8
"""The row groups are dealt to so many lanes, and every lane gives its part of every batch. With 2, 4 or 8 processes
each reads lanes of its own; with any number, batches are the same."""


class ShardStream:
    """Batches from shards: every training word once an epoch, in an order by (seed, epoch).

    Row groups come in random order, and the words of each in random order. Which words a step meets is a function of
    the seed and the step: nothing is to be saved, and a run that goes on meets the very next batch.
    """

    def __init__(self, shards: Shards, batch_size: int, seed: int) -> None:
        self.shards, self.batch_size = shards, batch_size
        filled = [group for group in shards.groups if group[2]]
        n = min(LANES, len(filled), batch_size)
        lanes: list[tuple[int, int, list[tuple[int, int, int]]]] = [(0, i, []) for i in range(n)]
        for group in sorted(filled, key=lambda group: -group[2]):  # the next largest to the emptiest lane
            words, i, groups = lanes[0]
            heapq.heapreplace(lanes, (words + group[2], i, [*groups, group]))
        self.lanes = [_Lane(shards, groups, seed, i) for _, i, groups in sorted(lanes, key=lambda lane: lane[1])]

    @property
    def mean_length(self) -> float:
        return self.shards.mean_length

    def rows(self, step: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of words first, ..., last - 1 of a step's batch (see distributed.Source)."""
        found: list[tuple[Tape, slice]] = []
        for i, lane in enumerate(self.lanes):
            begin, end = (self.batch_size * j // len(self.lanes) for j in (i, i + 1))
            if first < end and begin < last:
                before = step * (end - begin) - begin  # words of the lane that earlier steps took
                found += lane.take(before + max(begin, first), before + min(end, last))
        width = max(int(tape.lengths[some].max()) for tape, some in found)
        padded = [tape.padded(tape.starts[some], tape.lengths[some], width) for tape, some in found]
        inputs, targets = (np.concatenate(parts) for parts in zip(*padded, strict=True))
        return inputs, targets


class _Lane:
    """An endless row of words: its row groups, shuffled, epoch after epoch. One of them is in memory."""

    def __init__(self, shards: Shards, groups: list[tuple[int, int, int]], seed: int, number: int) -> None:
        self.shards, self.groups, self.key = shards, groups, [derive_seed(seed, "batches"), number]
        self.n = sum(n for _, _, n in groups)
        self.held: tuple[tuple[int, int], Tape] | None = None

    def take(self, first: int, last: int) -> Iterator[tuple[Tape, slice]]:
        """Words first, ..., last - 1 of the row, as parts of tapes."""
        while first < last:
            epoch, within = divmod(first, self.n)
            order = np.random.default_rng([*self.key, epoch]).permutation(len(self.groups))
            ends = np.cumsum([self.groups[i][2] for i in order])
            turn = int(np.searchsorted(ends, within, side="right"))
            begin = int(ends[turn]) - self.groups[order[turn]][2]
            some = slice(within - begin, min(int(ends[turn]), within + last - first) - begin)
            yield self._tape(epoch, int(order[turn])), some
            first += some.stop - some.start

    def _tape(self, epoch: int, which: int) -> Tape:
        """The training words of a row group in this epoch's order."""
        if self.held is None or self.held[0] != (epoch, which):
            self.held = None  # let it go before the next one comes
            words = read_group(self.shards, *self.groups[which])
            order = np.random.default_rng([*self.key, epoch, which]).permutation(len(words))
            self.held = ((epoch, which), Tape.of(words, order, PROTOCOL))
        return self.held[1]

"""What bounds a step: the arithmetic of its matrix products, and memory traffic; both measured on one thread.

Dimensions: N rows (distinct beginnings of words in a batch), D n_embd, A width of attention, M hidden, V vocabulary.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import Tape, draw
from rungwise.engine import native
from rungwise.model.cost import products

REPEATS = 12
BIG = 1024
"""Side of the matrices whose product shows the peak."""


@dataclass(frozen=True)
class Work:
    """The least arithmetic of a step that we know of: each distinct beginning of a batch's words once."""

    tokens: float
    """Real tokens a step."""
    rows: float
    """Distinct beginnings among them, a step."""
    attended: float
    """Places that the rows attend to, a step."""

    @classmethod
    def of(cls, tape: Tape, config: TrainConfig, steps: int = 64) -> Work:
        """Means over the first steps of seed 0."""
        rows, attended = 0, 0
        starts, lengths = (x[:steps] for x in draw(tape, config, 0, 0))
        for step_starts, step_lengths in zip(starts.tolist(), lengths.tolist(), strict=True):
            begins = {
                tape.tokens[s : s + t + 1].tobytes(): t + 1
                for s, n in zip(step_starts, step_lengths, strict=True)
                for t in range(n)
            }
            rows, attended = rows + len(begins), attended + sum(begins.values())
        return cls(float(lengths.sum()) / len(lengths), rows / len(lengths), attended / len(lengths))


def best_seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest of several runs: what the machine can do when nothing disturbs it."""
    return min(timeit.repeat(run, number=1, repeat=repeats))


def peak_gflops() -> float:
    """Of torch's own float32 matrix product, large square matrices, in this process's threads."""
    a, b, out = torch.rand(BIG, BIG), torch.rand(BIG, BIG), torch.empty(BIG, BIG)
    return 2 * BIG**3 / best_seconds(lambda: torch.mm(a, b, out=out)) / 1e9


def multiply_add_peak_gflops() -> float | None:
    """Of one core's multiply-adds in registers: what no product can exceed. None where there is no native engine."""
    if native.why_not():
        return None
    library, rounds = native.load(), 200_000
    return library.multiply_adds(rounds) / best_seconds(lambda: library.multiply_adds(rounds), 4 * REPEATS) / 1e9


def products_ms(work: Work, m: ModelConfig) -> float:
    """The linear layers' products of one step alone, in their own shapes, by torch: forward and both gradients."""
    total = 0.0
    for times, n, inner, columns in products(m, round(work.rows)):
        x, w, dy = torch.rand(n, inner), torch.rand(columns, inner), torch.rand(n, columns)
        y, dx, dw = torch.empty(n, columns), torch.empty(n, inner), torch.empty(columns, inner)

        three = [(x, w.T, y), (dy, w, dx), (dy.T, x, dw)]
        total += times * best_seconds(partial(_multiply, three), 3 * REPEATS)
    return total * 1000


def _multiply(products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
    for a, b, out in products:
        torch.mm(a, b, out=out)


def copy_gb_s(n_bytes: int) -> float:
    """Gigabytes read and written a second by a plain copy of so many bytes."""
    source, target = np.ones(n_bytes // 4, np.float32), np.zeros(n_bytes // 4, np.float32)
    return 2 * n_bytes / best_seconds(lambda: np.copyto(target, source)) / 1e9

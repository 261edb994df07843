"""Exact, token-weighted likelihood over a whole split: never a mean of batch means, never a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from rungwise.data.batches import Tape
from rungwise.engine import native
from rungwise.model.transformer import Transformer
from rungwise.util.machine import cores

TOKENS_A_BATCH = 1 << 15
WORDS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model thinks of every scored token of a tape, in the tape's order."""

    lengths: np.ndarray
    """(words,) scored tokens of each word."""
    nats: np.ndarray
    """(tokens,) float64: -log probability of each token, all words one after the other."""
    correct: np.ndarray
    """(tokens,) bool: was it the most probable one?"""

    @property
    def loss(self) -> float:
        """Nats a scored token."""
        return float(self.nats.mean())

    @property
    def accuracy(self) -> float:
        """Share of tokens that were the most probable one."""
        return float(self.correct.mean())

    @property
    def mean_probability(self) -> float:
        """Arithmetic mean of the probability given to the right token; exp(-loss) is the geometric one."""
        return float(np.exp(-self.nats).mean())

    @property
    def words(self) -> np.ndarray:
        """(words,) nats of each whole word."""
        return np.add.reduceat(self.nats, np.cumsum(self.lengths) - self.lengths)

    @property
    def position(self) -> np.ndarray:
        """(tokens,) place of each token among the scored ones of its word, from 0."""
        return np.arange(len(self.nats)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)

    def by_position(self) -> list[float | None]:
        """Mean nats of the first, second, ... scored token."""
        return _means(self.position, self.nats)

    def by_length(self) -> list[float | None]:
        """Mean nats a token of words with 0, 1, 2, ... scored tokens; None where there is none."""
        return _means(np.repeat(self.lengths, self.lengths), self.nats)


def _means(index: np.ndarray, values: np.ndarray) -> list[float | None]:
    sums, counts = np.bincount(index, values), np.bincount(index)
    return [float(total / n) if n else None for total, n in zip(sums, counts, strict=True)]


def score(model: Transformer, tape: Tape, engine: str = "auto") -> Scores:
    """Score every word of a tape: in C++ where there is a compiler and the model is on the CPU, else in PyTorch."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    use_native = engine == "native" or (engine == "auto" and on_cpu and not native.why_not())
    nats, correct = (_score_native if use_native else _score_torch)(model, tape)
    return scored(tape, nats, correct)


def scored(tape: Tape, nats: np.ndarray, correct: np.ndarray) -> Scores:
    """Of all tokens of a tape, those that count."""
    counts = Scores(tape.lengths, nats, correct).position >= tape.unscored
    return Scores(tape.lengths - tape.unscored, nats[counts], correct[counts])


def _score_native(model: Transformer, tape: Tape) -> tuple[np.ndarray, np.ndarray]:
    """Many words at once, so that common beginnings are computed once; not all, so that memory stays flat."""
    parameters = {name: p.detach().numpy() for name, p in model.named_parameters()}
    nats, correct = np.empty(tape.n_tokens), np.empty(tape.n_tokens, dtype=bool)
    threads = min(torch.get_num_threads(), cores())
    position = 0
    for begin in range(0, len(tape.starts), WORDS_AT_ONCE):
        starts, lengths = (x[begin : begin + WORDS_AT_ONCE] for x in (tape.starts, tape.lengths))
        found = native.load().score(model.config, parameters, *tape.packed(starts, lengths), lengths, threads)
        here = slice(position, position + len(found[0]))
        nats[here], correct[here] = found
        position = here.stop
    return nats, correct


@torch.no_grad()
def _score_torch(model: Transformer, tape: Tape) -> tuple[np.ndarray, np.ndarray]:
    """Words of like length go together, so that little is padding."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(tape.lengths, kind="stable")
    nats, correct = np.empty(tape.n_tokens), np.empty(tape.n_tokens, dtype=bool)
    first = np.cumsum(tape.lengths) - tape.lengths
    position = 0
    while position < len(order):
        longest = tape.lengths[order[min(position + 255, len(order) - 1)]]
        rows = order[position : position + max(1, TOKENS_A_BATCH // int(longest))]
        position += len(rows)
        lengths = tape.lengths[rows]
        inputs, targets = tape.padded(tape.starts[rows], lengths, int(lengths.max()))
        logits = model(torch.from_numpy(inputs).to(device)).float()
        target = torch.from_numpy(targets).to(device)
        loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        inside = np.arange(inputs.shape[1]) < lengths[:, None]
        at = (first[rows][:, None] + np.arange(inputs.shape[1]))[inside]
        nats[at] = loss.cpu().numpy()[inside]
        correct[at] = (logits.argmax(-1) == target).cpu().numpy()[inside]
    model.train(was_training)
    return nats, correct

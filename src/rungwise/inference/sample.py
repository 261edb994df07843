"""Sampling in batches, on every core: word i is a function of (seed, i), however many are drawn.

What words have in common is computed once, and finished words leave the batch (prefix_tree.py).
"""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from rungwise.data.known_words import KnownWords, Part
from rungwise.data.words import Vocabulary
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import Drawer, Sampling, Several
from rungwise.model.transformer import Transformer
from rungwise.util.machine import cores

MOST_WORDS = 1 << 15
"""In one batch: the more, the more of their beginnings are the same."""
FEWEST_WORDS = 1 << 11
"""In a batch that is one of several."""
MOST_THREADS = 4
"""Each takes a cache of its own."""
GIVE_UP_AFTER = 20_000
"""Drawing ends when so many words in a row bring fewer than one in a thousand that will do."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    """As a list would hold it (sources.comparable()): without outer blanks, in Unicode's composed form. So it is read
    back as it is, is in the model's alphabet, and is told from the others."""
    log_likelihood: float
    """Nats of the whole word, as evaluate.score() scores it: temperature 1, nothing cut off, a prefix included. Of
    what was drawn, outer blanks and marks apart from their letters too: where there were any, evaluate.score() gives
    `text` another."""
    part: Part | None = None
    """Where it is in the list that the model was made for; None where that is not known."""

    @property
    def new(self) -> bool | None:
        """Not in the list that the model was made for; None where that is not known."""
        return None if self.part is None else self.part == "new"


def generate(
    model: Transformer | Several,
    vocabulary: Vocabulary,
    n: int,
    firsts: np.ndarray | None,
    sampling: Sampling | None = None,
    seed: int = 0,
    known: KnownWords | None = None,
    first_scored: bool = True,
) -> Iterator[Word]:
    """Draw n words; fewer where the model hardly gives any more that will do: with `unique` or `new_only`, or of a
    model that hardly draws what a list of its alphabet could hold (prefix_tree.py). What will not do is left out.

    `firsts`: for a model without a start token (protocol article), how often each token id begins a training word,
    (V,): such a model never predicts a first character, so it is drawn from the training words' own. None: the model
    is fed END and draws its first character itself. `known`: the words of the list. `first_scored`: the first character
    that a model draws counts in the word's log-likelihood (config.WordStart).

    Memory stays bounded whatever n; `unique` takes 8 bytes a word.
    """
    sampling = sampling or Sampling()
    if n < 0:
        raise UserError(f"n must be at least 0, but is {n}.")
    if sampling.new_only and known is None:
        raise UserError("This run keeps no list of its words, so new ones cannot be told: leave out new_only.")
    drawer = Drawer(model, vocabulary, firsts, sampling, seed, first_scored)
    return accepted(_batches(drawer, n), n, sampling, KnownWords(vocabulary) if sampling.unique else None, known)


def accepted(
    batches: Iterator[tuple[list[str], np.ndarray]],
    n: int,
    sampling: Sampling,
    seen: KnownWords | None,
    known: KnownWords | None,
) -> Iterator[Word]:
    """The first n words that will do. Ends before where they have become rare (GIVE_UP_AFTER)."""
    missing, drawn, recent = n, 0, 0
    while missing > 0:
        texts, log_likelihoods = next(batches)
        good, hashes = _choose(texts, sampling, seen, known)
        chosen = np.flatnonzero(good)
        parts = [None] * len(chosen) if known is None else known.parts(hashes[chosen])
        nats = log_likelihoods[chosen].tolist()
        for i, log_likelihood, part in list(zip(chosen.tolist(), nats, parts, strict=True))[:missing]:
            yield Word(texts[i], log_likelihood, part)
        missing, drawn, recent = missing - len(chosen), drawn + len(texts), recent + len(chosen)
        if drawn >= GIVE_UP_AFTER:
            if recent * 1000 < drawn:
                return
            drawn, recent = 0, 0


def _batches(drawer: Drawer, wanted: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Words and their log-likelihoods without end: few at once where few are wanted, else batches from every core."""
    first = wanted if wanted < FEWEST_WORDS else 0
    if first:
        yield drawer.words(0, first)
    drawers = [drawer, *(drawer.another() for _ in range(min(MOST_THREADS, cores()) - 1))]
    n = min(MOST_WORDS, max(FEWEST_WORDS, -(-wanted // len(drawers))))
    # One thread of torch's for each of ours. Words are independent: this beats splitting every small operation.
    with ThreadPoolExecutor(len(drawers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pending: deque[Future[tuple[list[str], np.ndarray]]] = deque()
        for mine in itertools.cycle(drawers):
            if len(pending) == len(drawers):  # the oldest is the one that uses `mine`
                yield pending.popleft().result()
            pending.append(pool.submit(mine.words, first, n))
            first += n


def _choose(
    texts: list[str], sampling: Sampling, seen: KnownWords | None, known: KnownWords | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the words will do, and the hash of each, where there is something to compare with. Those that will are
    added to `seen`."""
    good = np.fromiter(map(bool, texts), dtype=bool, count=len(texts))
    any_words = known or seen
    hashes = any_words.hash(texts) if any_words is not None else np.empty(0, dtype=np.uint64)
    if known is not None and sampling.new_only:
        good &= ~known.holds(hashes)
    if seen is not None:
        first_of_its_kind = np.zeros(len(texts), dtype=bool)
        first_of_its_kind[np.unique(hashes, return_index=True)[1]] = True
        good &= first_of_its_kind & ~seen.holds(hashes)
        seen.add(hashes[good])
    return good, hashes

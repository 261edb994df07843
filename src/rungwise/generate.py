"""Sampling in batches: what words have in common is computed once, and finished words leave the batch.

Many words that are drawn side by side begin alike: all with nothing, then with one of a few dozen characters. So a
batch is kept as its distinct prefixes, each run through the model once with a key-value cache, and every word draws
its next character from the distribution of its prefix. Word i is a function of (seed, i), however many are drawn.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.config import UserError, derive_seed
from rungwise.known import KnownWords
from rungwise.model import Transformer
from rungwise.words import END, PAD, Vocabulary

WORDS_A_BLOCK = 4096
"""Words whose random numbers are drawn together."""
CACHE_BYTES = 1 << 26
"""At most so much for keys and values; where words are long, fewer go side by side."""
MOST_THREADS = 4
"""Each takes a cache of its own."""
GIVE_UP_AFTER = 20_000
"""--unique and --new-only end when so many words in a row bring fewer than one in a thousand that will do."""


@dataclass(frozen=True)
class Sampling:
    """How words are drawn from a model."""

    temperature: float = 1.0
    """Divides the logits; below 1: safer words; above: wilder; 0: the most probable character each time."""
    top_k: int = 0
    """Only the k most probable characters; 0: all."""
    top_p: float = 1.0
    """Only the most probable characters that together hold this much probability (Holtzman et al. 2020)."""
    prefix: str = ""
    """What every word begins with."""
    max_length: int | None = None
    """Words end here at the latest; None: the longest word that the model was made for."""
    unique: bool = False
    """No word twice."""
    new_only: bool = False
    """No word that stands in the list that the model was made for, its held-out words included."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature must be at least 0 and finite, but is {self.temperature}.")
        if self.top_k < 0:
            raise UserError(f"top_k must be at least 0, but is {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, but is {self.top_p}.")
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"max_length must be at least 1, but is {self.max_length}.")


class SamplingFields(TypedDict, total=False):
    """The same fields for editors and type checkers; a test holds them to the dataclass."""

    temperature: float
    top_k: int
    top_p: float
    prefix: str
    max_length: int | None
    unique: bool
    new_only: bool


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    log_likelihood: float
    """Nats of the whole word, as evaluate.score() scores it: temperature 1, nothing cut off, a prefix included."""
    new: bool | None = None
    """Not in the list that the model was made for; None where that is not known."""


def generate(
    model: Transformer,
    vocabulary: Vocabulary,
    n: int,
    firsts: np.ndarray | None,
    sampling: Sampling | None = None,
    seed: int = 0,
    known: KnownWords | None = None,
) -> Iterator[Word]:
    """Draw n words; with `unique` or `new_only` fewer, where the model hardly gives any more.

    `firsts`: for a model without a start token (protocol article), how often each token id begins a training word,
    (V,): such a model never predicts a first character, so it is drawn from the training words' own. None: the model
    was trained with a start token and draws its first character itself. `known`: the words of the list.

    Memory stays bounded whatever n; `unique` takes 8 bytes a word.
    """
    sampling = sampling or Sampling()
    if sampling.new_only and known is None:
        raise UserError("This run keeps no list of its words, so new ones cannot be told: leave out new_only.")
    drawer = _Drawer(model, vocabulary, firsts, sampling, seed)
    return _accepted(_batches(drawer, n), n, sampling, KnownWords(vocabulary) if sampling.unique else None, known)


def _accepted(
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
        good, new = _choose(texts, sampling, seen, known)
        chosen = np.flatnonzero(good)
        for i in chosen[:missing]:
            yield Word(texts[i], float(log_likelihoods[i]), None if new is None else bool(new[i]))
        missing, drawn, recent = missing - len(chosen), drawn + len(texts), recent + len(chosen)
        if drawn >= GIVE_UP_AFTER:
            if recent * 1000 < drawn:
                return
            drawn, recent = 0, 0


def _batches(drawer: _Drawer, wanted: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Words and their log-likelihoods without end: at first as many as are wanted, then batches from every core."""
    first = min(wanted, drawer.room(0))
    if first:
        yield drawer.words(0, first)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    drawers = [drawer, *(drawer.another() for _ in range(min(MOST_THREADS, cores) - 1))]
    # One thread of torch's for each of ours. Words are independent: this beats splitting every small operation.
    with ThreadPoolExecutor(len(drawers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pending: deque[Future[tuple[list[str], np.ndarray]]] = deque()
        for mine in itertools.cycle(drawers):
            if len(pending) == len(drawers):  # the oldest is the one that uses `mine`
                yield pending.popleft().result()
            pending.append(pool.submit(mine.words, first, mine.room(first)))
            first += mine.room(first)


def _choose(
    texts: list[str], sampling: Sampling, seen: KnownWords | None, known: KnownWords | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Which of the words will do, and which are new (None: not known). Those that will are added to `seen`."""
    good = np.ones(len(texts), dtype=bool)
    new = None
    any_words = known or seen
    hashes = any_words.hash(texts) if any_words is not None else np.empty(0, dtype=np.uint64)
    if known is not None:
        new = ~known.holds(hashes)
        if sampling.new_only:
            good &= new
    if seen is not None:
        first_of_its_kind = np.zeros(len(texts), dtype=bool)
        first_of_its_kind[np.unique(hashes, return_index=True)[1]] = True
        good &= first_of_its_kind & ~seen.holds(hashes)
        seen.add(hashes[good])
    return good, new


class KeyValueCache:
    """Keys and values of every position of every prefix, once each however many prefixes share it (layers.Memory).

    They lie one row a position and head, in the order in which they came, in arrays that are made once and used for
    one batch after the other; `path` says which of them make up each of the present prefixes.
    """

    def __init__(self, n_head: int, capacity: int) -> None:
        self.n_head, self.capacity = n_head, capacity
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.clear()

    def clear(self) -> None:
        self.path = torch.empty(1, 0, dtype=torch.int64)
        """(prefixes, positions)"""
        self.old = self.full = 0
        """Positions in use, before and with those of this step."""

    def step(self, parents: Tensor, n_new: int) -> None:
        """The next tokens, (prefixes, n_new), continue the prefixes `parents` of before."""
        self.old, self.full = self.full, self.full + len(parents) * n_new
        new = torch.arange(self.old, self.full).view(-1, n_new)
        self.path = torch.cat([self.path[parents], new], dim=1)
        heads = torch.arange(self.n_head)[:, None]
        self.rows = (self.path[:, None] * self.n_head + heads).flatten()  # (prefixes, heads, positions)

    def extend(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: (prefixes, heads, new, K)."""
        size = k.shape[-1]
        if layer not in self.seen:
            self.seen[layer] = (
                torch.empty(self.capacity, self.n_head, size),
                torch.empty(self.capacity, self.n_head, size),
            )
        found = []
        for held, x in zip(self.seen[layer], (k, v), strict=True):
            held[self.old : self.full].view(len(x), -1, self.n_head, size).copy_(x.transpose(1, 2))
            rows = held.view(-1, size).index_select(0, self.rows)
            found.append(rows.view(len(x), self.n_head, -1, size))
        return found[0], found[1]


class _Drawer:
    """Draws word i of a seed, any i."""

    def __init__(
        self, model: Transformer, vocabulary: Vocabulary, firsts: np.ndarray | None, sampling: Sampling, seed: int
    ) -> None:
        config = model.config
        self.model, self.vocabulary, self.firsts, self.sampling = model.eval(), vocabulary, firsts, sampling
        self.seed = derive_seed(seed, "sampling")
        self.start = firsts is None  # END is fed before the first character
        longest = min(sampling.max_length or config.block_size - 1, config.block_size - 1)
        given = vocabulary.encode(sampling.prefix)
        if len(given) > longest:
            raise UserError(f"The prefix {sampling.prefix!r} is longer than the longest word ({longest} characters).")
        self.given = np.concatenate([[END], given]) if self.start else given
        self.width = longest + self.start
        a_word = config.n_layer * 2 * config.attention_width * self.width * 4
        self.side_by_side = max(1, min(WORDS_A_BLOCK, CACHE_BYTES // a_word))
        self.cache = KeyValueCache(config.n_head, self.side_by_side * self.width)

    def another(self) -> _Drawer:
        """The same for another thread: only the cache is its own."""
        twin = copy.copy(self)
        twin.cache = KeyValueCache(self.model.config.n_head, self.cache.capacity)
        return twin

    def room(self, first: int) -> int:
        """How many words from number `first` on may go in one batch."""
        return min(self.side_by_side, WORDS_A_BLOCK - first % WORDS_A_BLOCK)

    def words(self, first: int, n: int) -> tuple[list[str], np.ndarray]:
        """Words `first` to `first + n`, at most room(first), and their log-likelihoods."""
        block, within = divmod(first, WORDS_A_BLOCK)
        rng = np.random.default_rng([self.seed, block])
        # Multiples of 2^-32, so that adding a row's number (see _pick) is exact.
        uniform = rng.integers(2**32, size=(WORDS_A_BLOCK, self.width + 1), dtype=np.uint32)[within : within + n]
        ids, log_likelihood = self._draw(uniform / 2**32)
        return self.vocabulary.decode_rows(ids[:, self.start :]), log_likelihood

    def _begin(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prefixes that words begin with, (prefixes, t), and the prefix of each word, (words,)."""
        if len(self.given) or self.firsts is None:
            return self.given[None], np.zeros(len(uniform), dtype=np.int64)
        share = np.cumsum(self.firsts, dtype=np.float64)
        drawn = np.searchsorted(share / share[-1], uniform[:, 0], side="right")
        tokens, row = np.unique(drawn, return_inverse=True)
        return tokens[:, None], row

    @torch.inference_mode()
    def _draw(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Words as ids (words, width + 1), each with its END and then PAD, and their log-likelihoods."""
        prefixes, row = self._begin(uniform)
        time = prefixes.shape[1]
        ids = np.full((len(uniform), self.width + 1), PAD, dtype=np.int64)
        ids[:, :time] = prefixes[row]
        log_likelihood = np.zeros(len(uniform))
        alive, cache, new = np.arange(len(uniform)), self.cache, torch.from_numpy(prefixes)
        cache.clear()
        cache.step(torch.zeros(len(new), dtype=torch.int64), time)
        while len(alive):
            logits = self.model(new, cache, time - new.shape[1]).double()  # (prefixes, new, V)
            log_probability = logits.log_softmax(-1).numpy()
            if new.shape[1] > 1:  # the given characters are scored, too
                for t, token in enumerate(self.given[1:]):
                    log_likelihood += log_probability[row, t, token]
            last = log_probability[:, -1]
            if time == self.width:  # no room for another character: the word ends
                token = np.full(len(alive), END)
            else:
                allowed = logits[:, -1].clone()
                allowed[:, PAD] = -torch.inf
                if self.start and time == 1:
                    allowed[:, END] = -torch.inf  # a word has at least one character
                token = _pick(self._distribution(allowed).numpy(), row, uniform[alive, time])
            ids[alive, time] = token
            log_likelihood[alive] += last[row, token]
            goes_on = token != END
            alive, row, token = alive[goes_on], row[goes_on], token[goes_on]
            keys, row = np.unique(row * last.shape[1] + token, return_inverse=True)
            parents, tokens = np.divmod(keys, last.shape[1])
            cache.step(torch.from_numpy(parents), 1)
            new = torch.from_numpy(tokens)[:, None]
            time += 1
        return ids, log_likelihood

    def _distribution(self, logits: Tensor) -> Tensor:
        """Probabilities of the next token after temperature, top_k and top_p: (prefixes, V)."""
        sampling = self.sampling
        if sampling.temperature == 0:
            return torch.zeros_like(logits).scatter(1, logits.argmax(-1, keepdim=True), 1.0)
        logits = logits - logits.amax(-1, keepdim=True)  # so that a tiny temperature leaves the best one finite
        logits = torch.where(logits.isneginf(), logits, logits / sampling.temperature)
        if sampling.top_k:
            kth = logits.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
            logits = logits.masked_fill(logits < kth, -torch.inf)
        if sampling.top_p < 1:
            ranked, order = logits.sort(dim=-1, descending=True)
            probability = ranked.softmax(-1)
            beyond = probability.cumsum(-1) - probability >= sampling.top_p  # the mass before it already suffices
            logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
        return logits.softmax(-1)


def _pick(probability: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A token for each word from the distribution of its row, (rows, V), by inverting its cumulative sum.

    All rows lie one after the other on one line, row r on r to r + 1, so that one search serves all words.
    """
    line = probability.cumsum(-1)
    line = line / line[:, -1:] + np.arange(len(line))[:, None]
    return np.searchsorted(line.ravel(), row + uniform, side="right") - row * line.shape[1]

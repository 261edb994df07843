"""Drawing words: the tree of what they begin with, walked from its root with a key-value cache.

Many words that are drawn side by side begin alike: all with nothing, then with one of a few dozen characters. So each
distinct prefix is run through the model once, and every word draws its next character from the distribution of its
prefix.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.config import UserError, derive_seed
from rungwise.model import Transformer
from rungwise.words import END, PAD, Vocabulary

WORDS_A_BLOCK = 4096
"""Words whose random numbers are drawn together."""
MOST_PREFIXES = 1 << 11
"""In one pass through the model; more go in parts, one after the other."""
CACHE_BYTES = 1 << 26
"""At most so much for keys and values; where words are long, fewer prefixes go side by side."""


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


Place = tuple[Tensor, int]
"""Of a KeyValueCache: where each prefix's positions lie, (prefixes, positions), and how many are in use."""


class KeyValueCache:
    """Keys and values of every position of every prefix, once each however many prefixes share it (layers.Memory).

    They lie one row a position and head, in the order in which they came, in arrays that are made once and used for
    one batch after the other; `path` says which of them make up each of the present prefixes. What lies behind a
    place to which one goes back is overwritten: the tree of prefixes is walked in depth, part by part.
    """

    def __init__(self, n_head: int, capacity: int) -> None:
        self.n_head, self.capacity = n_head, capacity
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.go_to(self.beginning)

    @property
    def beginning(self) -> Place:
        """Where nothing has been seen."""
        return torch.empty(1, 0, dtype=torch.int64), 0

    @property
    def place(self) -> Place:
        """Where one is, to go back to."""
        return self.path, self.full

    def go_to(self, place: Place) -> None:
        self.path, self.full = place
        self.old = self.full

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


@dataclass(frozen=True, slots=True)
class _Branch:
    """Words that go on from one place in the tree of prefixes, and what each of their distinct prefixes is fed next."""

    alive: np.ndarray
    """(words,) their numbers in the batch."""
    row: np.ndarray
    """(words,) which of the prefixes each one has."""
    parents: np.ndarray
    """(prefixes,) which of those at `place` they continue."""
    tokens: np.ndarray
    """(prefixes, new)"""
    place: Place

    def parts(self, most: int) -> list[_Branch]:
        """The same in parts of at most so many prefixes."""
        n = len(self.tokens)
        edges = np.linspace(0, n, -(-n // most) + 1).astype(np.int64)
        part = np.searchsorted(edges, self.row, side="right") - 1
        found = []
        for i, (begin, end) in enumerate(itertools.pairwise(edges)):
            mine = part == i
            found.append(
                _Branch(
                    self.alive[mine],
                    self.row[mine] - begin,
                    self.parents[begin:end],
                    self.tokens[begin:end],
                    self.place,
                )
            )
        return found


class Drawer:
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
        a_prefix = config.n_layer * 2 * config.attention_width * self.width * 4
        self.most = max(1, min(MOST_PREFIXES, CACHE_BYTES // a_prefix))
        self.cache = KeyValueCache(config.n_head, self.most * self.width)  # one pass a position at most is remembered

    def another(self) -> Drawer:
        """The same for another thread: only the cache is its own."""
        twin = copy.copy(self)
        twin.cache = KeyValueCache(self.model.config.n_head, self.cache.capacity)
        return twin

    def words(self, first: int, n: int) -> tuple[list[str], np.ndarray]:
        """Words `first` to `first + n`, and their log-likelihoods."""
        blocks = range(first // WORDS_A_BLOCK, -(-(first + n) // WORDS_A_BLOCK))
        numbers = np.concatenate([self._numbers(block) for block in blocks])
        begin = first - blocks[0] * WORDS_A_BLOCK
        ids, log_likelihood = self._draw(numbers[begin : begin + n])
        return self.vocabulary.decode_rows(ids[:, self.start :]), log_likelihood

    def _numbers(self, block: int) -> np.ndarray:
        """(WORDS_A_BLOCK, width + 1) whole numbers below 2^32, uniform: whole, so that _pick's sums are exact."""
        rng = np.random.default_rng([self.seed, block])
        return rng.integers(2**32, size=(WORDS_A_BLOCK, self.width + 1), dtype=np.uint32)

    def _begin(self, numbers: np.ndarray) -> _Branch:
        """All words, before anything is fed."""
        every, place = np.arange(len(numbers)), self.cache.beginning
        if len(self.given) or self.firsts is None:
            return _Branch(every, np.zeros_like(every), np.zeros(1, dtype=np.int64), self.given[None], place)
        share = np.cumsum(self.firsts, dtype=np.float64)
        drawn = np.searchsorted(share / share[-1], numbers[:, 0] / 2**32, side="right")
        tokens, row = _distinct(drawn, len(share))
        return _Branch(every, row, np.zeros_like(tokens), tokens[:, None], place)

    @torch.inference_mode()
    def _draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Words as ids (words, width + 1), each with its END and then PAD, and their log-likelihoods.

        The tree of what the words begin with is walked from the root: all branches side by side where there is room
        for them, else part by part.
        """
        ids = np.full((len(numbers), self.width + 1), PAD, dtype=np.int64)
        log_likelihood = np.zeros(len(numbers))
        root = self._begin(numbers)
        ids[:, : root.tokens.shape[1]] = root.tokens[root.row]
        pending = [root]
        while pending:
            branch = pending.pop()
            if len(branch.tokens) > self.most:
                pending += branch.parts(self.most)
            elif (goes_on := self._step(branch, numbers, ids, log_likelihood)) is not None:
                pending.append(goes_on)
        return ids, log_likelihood

    def _step(
        self, branch: _Branch, numbers: np.ndarray, ids: np.ndarray, log_likelihood: np.ndarray
    ) -> _Branch | None:
        """Draw the next token of a branch's words; what is left of the branch when those that end are gone."""
        alive, row, cache, new = branch.alive, branch.row, self.cache, torch.from_numpy(branch.tokens)
        cache.go_to(branch.place)
        cache.step(torch.from_numpy(branch.parents), new.shape[1])
        time = cache.path.shape[1]
        logits = self.model(new, cache, time - new.shape[1]).double()  # (prefixes, new, V)
        log_probability = logits.log_softmax(-1).numpy()
        if new.shape[1] > 1:  # the given characters are scored, too
            for t, token in enumerate(self.given[1:]):
                log_likelihood[alive] += log_probability[row, t, token]
        last = log_probability[:, -1]
        if time == self.width:  # no room for another character: the word ends
            token = np.full(len(alive), END)
        else:
            allowed = logits[:, -1]  # a copy of its own: double() made it
            allowed[:, PAD] = -torch.inf
            if self.start and time == 1:
                allowed[:, END] = -torch.inf  # a word has at least one character
            token = _pick(self._distribution(allowed).numpy(), row, numbers[alive, time] / 2**32)
        ids[alive, time] = token
        log_likelihood[alive] += last[row, token]
        goes_on = token != END
        if not goes_on.any():
            return None
        keys, row = _distinct(row[goes_on] * last.shape[1] + token[goes_on], last.size)
        parents, tokens = np.divmod(keys, last.shape[1])
        return _Branch(alive[goes_on], row, parents, tokens[:, None], cache.place)

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


def _distinct(keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """np.unique(keys, return_inverse=True) for keys 0 to n - 1, without sorting them."""
    there = np.zeros(n, dtype=bool)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def _pick(probability: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A token for each word from the distribution of its row, (rows, V), by inverting its cumulative sum.

    All rows lie one after the other on one line, row r on r to r + 1, so that one search serves all words.
    """
    line = probability.cumsum(-1)
    line = line / line[:, -1:] + np.arange(len(line))[:, None]
    return np.searchsorted(line.ravel(), row + uniform, side="right") - row * line.shape[1]

"""Drawing words: the tree of what they begin with, walked from its root with a key-value cache.

Many words that are drawn side by side begin alike. So each distinct prefix is run through the model once, and every
word draws its next character from the distribution of its prefix.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.config import Config, ModelConfig
from rungwise.data.sources import comparable
from rungwise.data.words import END, PAD, Vocabulary
from rungwise.engine import native
from rungwise.errors import UserError
from rungwise.model.transformer import Transformer
from rungwise.util.hashing import derive_seed

WORDS_A_BLOCK = 4096
"""Words whose random numbers are drawn together."""
MOST_PREFIXES = 1 << 11
"""In one pass through the model; more go in parts, one after the other."""
CACHE_BYTES = 1 << 26
"""At most so much for keys and values; where words are long, fewer prefixes go side by side."""


@dataclass(frozen=True)
class Sampling(Config):
    """How words are drawn from a model."""

    temperature: float = 1.0
    """Divides the logits; below 1: safer words; above: wilder; 0: the most probable character each time."""
    top_k: int = 0
    """Only the k most probable characters; 0: all."""
    top_p: float = 1.0
    """Only the most probable characters that together hold this much probability (Holtzman et al. 2020)."""
    prefix: str = ""
    """What every word begins with: any text, as sources.comparable() has the beginning of a word."""
    max_length: int | None = None
    """Words end here at the latest; None: the longest word that the model was made for."""
    unique: bool = False
    """No word twice."""
    new_only: bool = False
    """No word that stands in the list that the model was made for, its held-out words included."""
    given: str | None = None
    """What every word is given, of a model with a condition; None: as often as in the training words."""

    def __post_init__(self) -> None:
        self._require("temperature", 0 <= self.temperature < float("inf"), "at least 0 and finite")
        self._require("top_k", self.top_k >= 0, "at least 0")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("max_length", self.max_length is None or self.max_length >= 1, "at least 1")


class SamplingFields(TypedDict, total=False):
    """The same fields for editors and type checkers; a test holds them to the dataclass."""

    temperature: float
    top_k: int
    top_p: float
    prefix: str
    max_length: int | None
    unique: bool
    new_only: bool
    given: str | None


ROOT = np.empty((1, 0), dtype=np.int32)
"""The paths of one empty prefix. Paths are (prefixes, T) int32: the nodes from the tree's root to each prefix's end."""


def grown(paths: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """One token further: new nodes, numbered after those of `paths`, continue the prefixes `parents`."""
    first = int(paths[-1, -1]) + 1 if paths.size else 0
    new = np.arange(first, first + len(parents), dtype=np.int32)
    return np.concatenate([paths[parents], new[:, None]], axis=1)


class Grower(Interface):
    """A tree of prefixes."""

    def grow(self, tokens: np.ndarray, paths: np.ndarray) -> np.ndarray:
        """Logits, (n, V), after n new nodes, the last column of paths (n, T), that read tokens (n,)."""
        ...


class Several(Interface):
    """More than one model, drawn from as if it were one: mixture.py."""

    @property
    def config(self) -> ModelConfig: ...

    def tree(self, rows: int, length: int) -> Grower:
        """As make_tree."""
        ...


class TorchTree:
    """What native.Tree does, by the model's own forward pass; what a layer asks to keep lies one row a node (and head)
    (layers.Memory)."""

    def __init__(self, model: Transformer, rows: int, length: int) -> None:
        self.model, self.capacity = model.eval(), rows * length
        self.kept: dict[tuple[nn.Module, int], Tensor] = {}

    @torch.inference_mode()
    def grow(self, tokens: np.ndarray, paths: np.ndarray) -> np.ndarray:
        self.nodes = torch.from_numpy(paths).long()
        return self.model(torch.from_numpy(tokens)[:, None], self, self.nodes.shape[1] - 1)[:, 0].numpy()

    def all(self, layer: nn.Module, x: Tensor, slot: int = 0) -> Tensor:
        """x: (prefixes, 1, K), or with heads (prefixes, heads, 1, K)."""
        heads, size = x.shape[1:-2].numel(), x.shape[-1]
        held = self._keep(layer, slot, x.reshape(len(x), heads, size))
        rows = self.nodes[:, None] * heads + torch.arange(heads)[:, None]  # (prefixes, heads, positions)
        return held.view(-1, size).index_select(0, rows.flatten()).view(*x.shape[:-2], -1, size)

    def last(self, layer: nn.Module) -> Tensor | None:
        return None if self.nodes.shape[1] == 1 else self.kept[layer, 0][self.nodes[:, -2], 0]

    def keep(self, layer: nn.Module, states: Tensor) -> None:
        self._keep(layer, 0, states)

    def _keep(self, layer: nn.Module, slot: int, new: Tensor) -> Tensor:
        """Store new rows (prefixes, heads, K); returns all."""
        if (layer, slot) not in self.kept:
            self.kept[layer, slot] = torch.empty(self.capacity, *new.shape[1:])
        held = self.kept[layer, slot]
        held[int(self.nodes[0, -1]) : int(self.nodes[-1, -1]) + 1].copy_(new)
        return held


def make_tree(model: Transformer | Several, rows: int, length: int) -> Grower:
    """A tree of prefixes of at most `length` tokens, `rows` at most side by side, with their keys and values.

    Nodes are numbered in the order in which they come. The tree is walked in depth, part by part: what comes after a
    place to which the walk goes back is overwritten.
    """
    if not isinstance(model, Transformer):
        return model.tree(rows, length)
    if native.why_not():
        return TorchTree(model, rows, length)
    parameters = {name: p.detach().numpy() for name, p in model.named_parameters()}
    return native.load().tree(model.config, parameters, rows, length)


@dataclass(frozen=True, slots=True)
class _Branch:
    """Words that go on from one place in the tree of prefixes, and what each of their distinct prefixes reads next."""

    alive: np.ndarray
    """(words,) their numbers in the batch."""
    row: np.ndarray
    """(words,) which of the prefixes each one has."""
    parents: np.ndarray
    """(prefixes,) which of the prefixes of `paths` they continue."""
    tokens: np.ndarray
    """(prefixes,)"""
    paths: np.ndarray

    def parts(self, most: int) -> Iterator[_Branch]:
        """The same in parts of at most so many prefixes."""
        n = len(self.tokens)
        edges = np.linspace(0, n, -(-n // most) + 1).astype(np.int64)
        part = np.searchsorted(edges, self.row, side="right") - 1
        for i, (begin, end) in enumerate(itertools.pairwise(edges)):
            mine, prefixes = part == i, slice(begin, end)
            row, parents, tokens = self.row[mine] - begin, self.parents[prefixes], self.tokens[prefixes]
            yield _Branch(self.alive[mine], row, parents, tokens, self.paths)


class Drawer:
    """Draws word i of a seed, any i."""

    def __init__(
        self,
        model: Transformer | Several,
        vocabulary: Vocabulary,
        firsts: np.ndarray | None,
        sampling: Sampling,
        seed: int,
        first_scored: bool = True,
    ) -> None:
        config = model.config
        self.model, self.vocabulary, self.firsts, self.sampling = model, vocabulary, firsts, sampling
        self.seed = derive_seed(seed, "sampling")
        self.start = firsts is None  # END is fed before the first character
        self.scored_from = 2 if self.start and not first_scored else 1  # tokens read before the first one that counts
        conditioned = bool(vocabulary.conditions)
        self.begin = self.start + conditioned  # tokens before the first character: END, or what a word is given
        self.longest = longest = min(sampling.max_length or config.block_size, config.block_size - 1 - conditioned)
        self.prefix = comparable(sampling.prefix, beginning=True)
        given = vocabulary.encode(self.prefix)
        if len(given) > longest:
            unit = vocabulary.tokens.unit
            raise UserError(f"The prefix {self.prefix!r} is longer than the longest word ({longest} {unit}s).")
        self.given = np.concatenate([[END], given]) if self.start else given
        if conditioned or sampling.given is not None:
            condition = PAD if sampling.given is None else vocabulary.condition(sampling.given)
            self.given = np.concatenate([[condition], given])
        self.width = longest + self.begin
        a_prefix = config.n_layer * 2 * config.attention_width * self.width * 4
        self.most = max(1, min(MOST_PREFIXES, CACHE_BYTES // a_prefix))
        self.tree = make_tree(model, self.most, self.width)  # one pass a position is remembered

    @property
    def root(self) -> np.ndarray:
        """What every word is known to begin with before its first character, (1, tokens): END, or what it is given;
        nothing where that is drawn."""
        fed = self.given[: self.begin]
        return fed[None, fed != PAD]

    def another(self) -> Drawer:
        """The same for another thread: only what it remembers is its own."""
        twin = copy.copy(self)
        twin.tree = make_tree(self.model, self.most, self.width)
        return twin

    def words(self, first: int, n: int) -> tuple[list[str], np.ndarray]:
        """Words `first` to `first + n` as _word() has them, and the log-likelihoods of what was drawn, (n,)."""
        ids, log_likelihood, _ = self.draw(first, n)
        return [self._word(text) for text in self.vocabulary.decode_rows(ids[:, self.begin :])], log_likelihood

    def draw(self, first: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words `first` to `first + n`: token ids (n, width + 1), each with its END and then PAD; their log-likelihoods
        (n,); and the logarithms of the probabilities with which they were drawn, (n,): these follow temperature, top_k
        and top_p, count every character that was not given, and never an end that was forced."""
        blocks = range(first // WORDS_A_BLOCK, -(-(first + n) // WORDS_A_BLOCK))
        numbers = np.concatenate([self._numbers(block) for block in blocks])
        begin = first - blocks[0] * WORDS_A_BLOCK
        return self._draw(numbers[begin : begin + n])

    def _word(self, drawn: str) -> str:
        """The word that was drawn, as a list would hold it. Empty where none of this alphabet and length could, such
        as a blank alone, a letter and a mark whose composed form is not in the alphabet, or symbols that together are
        another one; and where what is drawn behind the prefix changes it."""
        word, tokens = comparable(drawn), self.vocabulary.tokens
        if word == drawn and tokens.kind == "chars":
            return word
        fits = len(tokens.split(word)) <= self.longest and word.startswith(self.prefix) and self.vocabulary.spells(word)
        return word if fits else ""

    def _numbers(self, block: int) -> np.ndarray:
        """(WORDS_A_BLOCK, width + 1) whole numbers below 2^32, uniform: whole, so that pick's sums are exact."""
        rng = np.random.default_rng([self.seed, block])
        return rng.integers(2**32, size=(WORDS_A_BLOCK, self.width + 1), dtype=np.uint32)

    def _begin(self, numbers: np.ndarray) -> tuple[_Branch, np.ndarray]:
        """All words, before anything is read, and the logarithms of the probabilities of their first tokens."""
        every = np.arange(len(numbers))
        if self.firsts is None or (len(self.given) and self.given[0] != PAD):
            branch = _Branch(every, np.zeros_like(every), np.zeros(1, dtype=np.int64), self.given[:1], ROOT)
            return branch, np.zeros(len(every))
        share = np.cumsum(self.firsts, dtype=np.float64)
        drawn = np.searchsorted(share / share[-1], numbers[:, 0] / 2**32, side="right")
        tokens, row = distinct(drawn, len(share))
        return _Branch(every, row, np.zeros_like(tokens), tokens, ROOT), np.log(self.firsts[drawn] / share[-1])

    def _draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What draw() returns.

        The tree of what the words begin with is walked from the root: all branches side by side where there is room
        for them, else part by part.
        """
        ids = np.full((len(numbers), self.width + 1), PAD, dtype=np.int64)
        log_likelihood = np.zeros(len(numbers))
        root, log_drawn = self._begin(numbers)
        ids[:, 0] = root.tokens[root.row]
        pending = [root]
        while pending:
            branch = pending.pop()
            if len(branch.tokens) > self.most:
                pending += branch.parts(self.most)
            elif (goes_on := self._step(branch, numbers, ids, log_likelihood, log_drawn)) is not None:
                pending.append(goes_on)
        return ids, log_likelihood, log_drawn

    def _step(
        self,
        branch: _Branch,
        numbers: np.ndarray,
        ids: np.ndarray,
        log_likelihood: np.ndarray,
        log_drawn: np.ndarray,
    ) -> _Branch | None:
        """Draw the next token of a branch's words; what is left of the branch when those that end are gone."""
        alive, row, paths = branch.alive, branch.row, grown(branch.paths, branch.parents)
        time = paths.shape[1]
        logits = torch.from_numpy(self.tree.grow(branch.tokens, paths)).double()  # (prefixes, V)
        log_probability = logits.log_softmax(-1).numpy()
        if time < len(self.given):
            token = np.full(len(alive), self.given[time])
        elif time == self.width:  # no room for another character: the word ends
            token = np.full(len(alive), END)
        else:
            logits[:, PAD] = logits[:, self.vocabulary.first_condition :] = -torch.inf
            if time == self.begin == 1:
                logits[:, END] = -torch.inf  # a word has at least one character
            probability = self.distribution(logits).numpy()
            token = pick(probability, row, numbers[alive, time] / 2**32)
            log_drawn[alive] += np.log(probability[row, token])
        ids[alive, time] = token
        if time >= self.scored_from:
            log_likelihood[alive] += log_probability[row, token]
        goes_on = token != END
        if not goes_on.any():
            return None
        n_tokens = logits.shape[1]
        keys, row = distinct(row[goes_on] * n_tokens + token[goes_on], logits.numel())
        return _Branch(alive[goes_on], row, *np.divmod(keys, n_tokens), paths)

    def distribution(self, logits: Tensor) -> Tensor:
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


def distinct(keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """np.unique(keys, return_inverse=True) for keys 0 to n - 1, without sorting them."""
    there = np.zeros(n, dtype=bool)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def pick(probability: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A token for each word from the distribution of its row, (rows, V), by inverting its cumulative sum.

    All rows lie one after the other on one line, row r on r to r + 1, so that one search serves all words.
    """
    line = probability.cumsum(-1)
    line = line / line[:, -1:] + np.arange(len(line))[:, None]
    return np.searchsorted(line.ravel(), row + uniform, side="right") - row * line.shape[1]

"""Words that keep rules, exactly as often as the model gives them among all words that do.

Masking what cannot lead to a fitting word is not enough: it favours beginnings that rarely end well. So each prefix has
an upper bound of the probability that a word goes on from it and fits: 0 where the automaton says that it cannot, 1
where nothing is known, and the sum over its next characters once the model has read it. A walk takes a next character
in proportion to probability times bound. Where it comes to a prefix whose bound turns out to be m instead of b, it goes
on with probability m / b, else it is dropped. So each walk ends in a word with probability p(word) / bound(root),
whatever is already known: the words that arrive are independent, and distributed as p given the rules. The more is
known, the fewer walks are dropped; with nothing known this is rejection that stops as early as it can.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from rungwise.data.known_words import KnownWords
from rungwise.data.words import END, FIRST_CHARACTER, PAD
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import ROOT, Drawer, distinct, grown, pick
from rungwise.inference.sample import Word, accepted
from rungwise.inference.wanted import NOTHING, Rules, Wanted, rules_by_length, rules_of
from rungwise.util.hashing import GOLDEN, mix64

WALKS = 2048
"""Walks side by side; bounds are brought up to date when all have ended."""
MOST_KNOWN = 1_000_000
"""Prefixes whose bounds are kept; where there are more, all are forgotten, which costs time alone."""
GIVE_UP_AFTER = 50
"""Rounds of walks without a word."""


def draw(drawer: Drawer, wanted: Wanted, n: int, seed: int, known: KnownWords | None = None) -> Iterator[Word]:
    """n words that keep all that is wanted, each as often as the model gives it among all that do; fewer where, with
    `unique`, there are hardly any more. UserError where none fits. `drawer` brings prefix, longest word, temperature
    and the rest of Sampling; `known` the words of its list."""
    if wanted.like_lengths:
        stream = _of_lengths(drawer, rules_by_length(wanted, drawer, known), seed)
    else:
        stream = Constrained(drawer, rules_of(wanted, drawer, known), seed).words()
    seen = KnownWords(drawer.vocabulary) if drawer.sampling.unique else None
    return accepted(_batches(stream, min(WALKS, max(1, n))), n, drawer.sampling, seen, known)


def _batches(stream: Iterator[tuple[str, float]], size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    while some := list(itertools.islice(stream, size)):
        yield [text for text, _ in some], np.array([nats for _, nats in some])


def _of_lengths(drawer: Drawer, by_length: dict[int, tuple[float, Rules]], seed: int) -> Iterator[tuple[str, float]]:
    """A length is drawn as often as the list has it, then a word of that length. Lengths of which no word is found are
    left out. UserError where none is left."""
    streams = {
        length: Constrained(drawer, rules, seed + length).words()
        for length, (_, rules) in by_length.items()
        if rules.automaton.left[0] <= drawer.longest
    }
    rng = np.random.default_rng([drawer.seed, seed])
    while streams:
        share = np.array([by_length[length][0] for length in streams])
        length = int(rng.choice(list(streams), p=share / share.sum()))
        try:
            yield next(streams[length])
        except UserError:  # no word of this length
            del streams[length]
    raise UserError(NOTHING)


@dataclass(frozen=True, eq=False)
class _Level:
    """Prefixes of one length that walks of one round have reached, n of them."""

    prefixes: np.ndarray
    """(n, T) tokens, a start token included."""
    keys: np.ndarray
    """(n,) hashes of them."""
    states: np.ndarray
    """(n,) of the automaton."""
    before: np.ndarray
    """(n,) their bounds when the round began."""
    parents: np.ndarray
    """(n,) the prefix of the level before that each one continues, by its last token."""


@dataclass(frozen=True, eq=False)
class _Read:
    """What the model says of them, all (n, V)."""

    probability: np.ndarray
    """Of each next token, as it is drawn."""
    scores: np.ndarray
    """The model's own log-probabilities."""
    bounds: np.ndarray
    """Of the prefix with each next token."""


class Constrained:
    """Draws words that keep rules."""

    def __init__(self, drawer: Drawer, rules: Rules, seed: int) -> None:
        """UserError where the automaton alone says that no word fits."""
        self.drawer, self.rules = drawer, rules
        self.rng = np.random.default_rng([drawer.seed, seed])
        self.bound = 1.0
        """Of the root."""
        self.known: dict[int, dict[int, float]] = {}
        """Hash of a prefix -> next token -> the bound of both, where that is known; of END, 0 or 1."""
        if rules.automaton.left[0] > drawer.longest:
            raise UserError(NOTHING)

    def words(self) -> Iterator[tuple[str, float]]:
        """Words and their log-likelihoods, without end. UserError where none fits, or none is found for long."""
        idle = 0
        while True:
            arrived = self._round(min(WALKS, self.drawer.most))
            if self.bound <= 0:
                raise UserError(NOTHING)
            idle = 0 if arrived else idle + 1
            if idle == GIVE_UP_AFTER:
                raise UserError(f"No word that fits came in {idle * WALKS:,} tries: the model gives hardly any.")
            if len(self.known) > MOST_KNOWN:
                self.known.clear()
                self.bound = 1.0
            yield from arrived

    def _round(self, n: int) -> list[tuple[str, float]]:
        """Walks from the root to the ends of words: those that are not dropped, in the order of the walks."""
        walks, row, log_likelihood = np.arange(n), np.zeros(n, dtype=np.int64), np.zeros(n)
        level, paths, levels, arrived = self._root(), ROOT, [], {}
        while len(walks):
            if level.prefixes.shape[1]:
                paths = grown(paths, level.parents)
            read = self._read(level, paths)
            levels.append((level, read))
            weights = read.probability * read.bounds
            bounds = weights.sum(axis=1)
            goes_on = self.rng.random(len(walks)) * level.before[row] < bounds[row]
            walks, row = walks[goes_on], row[goes_on]
            if not len(walks):
                break
            token = pick(np.where(bounds[:, None] > 0, weights, 1), row, self.rng.random(len(walks)))
            if level.prefixes.shape[1] >= self.drawer.scored_from:
                log_likelihood[walks] += read.scores[row, token]
            for i, word in self._ended(level, read, walks, row, token):
                arrived[i] = word, float(log_likelihood[i])
            inner = token != END
            keys, new_row = distinct(row[inner] * weights.shape[1] + token[inner], weights.size)
            level, walks, row = self._next(level, read, *np.divmod(keys, weights.shape[1])), walks[inner], new_row
        self._learn(levels)
        return [arrived[i] for i in sorted(arrived)]

    def _root(self) -> _Level:
        zero = np.zeros(1, dtype=np.int64)
        return _Level(self.drawer.root, np.ones(1, dtype=np.uint64), zero, np.array([self.bound]), zero)

    def _next(self, level: _Level, read: _Read, parents: np.ndarray, tokens: np.ndarray) -> _Level:
        return _Level(
            np.concatenate([level.prefixes[parents], tokens[:, None]], axis=1),
            mix64(level.keys[parents] + (tokens + 1).astype(np.uint64) * GOLDEN),
            self.rules.automaton.step[level.states[parents], tokens - FIRST_CHARACTER],
            read.bounds[parents, tokens],
            parents,
        )

    @torch.inference_mode()
    def _read(self, level: _Level, paths: np.ndarray) -> _Read:
        drawer, length = self.drawer, level.prefixes.shape[1]
        bounds = self.rules.allowed(drawer, length, level.states).astype(float)
        if length:
            logits = torch.from_numpy(drawer.tree.grow(level.prefixes[:, -1], paths)).double()
            scores = logits.log_softmax(-1).numpy()
            logits[:, PAD] = logits[:, drawer.vocabulary.first_condition :] = -torch.inf
            if length == drawer.begin:
                logits[:, END] = -torch.inf  # a word has at least one character
            if length == drawer.width:  # no room for another character: the word ends
                logits[:, FIRST_CHARACTER:] = -torch.inf
            probability = drawer.distribution(logits).numpy()
        else:  # the first character, or what a word is given, is drawn as often as it begins words of the list
            assert drawer.firsts is not None
            probability = drawer.firsts[None] / drawer.firsts.sum()
            scores = np.zeros_like(probability)
        for i, key in enumerate(level.keys.tolist()):
            if key in self.known:
                bounds[i, list(self.known[key])] = list(self.known[key].values())
        return _Read(probability, scores, bounds)

    def _ended(
        self, level: _Level, read: _Read, walks: np.ndarray, row: np.ndarray, token: np.ndarray
    ) -> Iterator[tuple[int, str]]:
        """Walks at the end of a word that may stay, and the word. Each word is asked about once."""
        ended = np.flatnonzero(token == END)
        for r in np.unique(row[ended]):
            word = self.rules.fitting(self.drawer, level.prefixes[r])
            read.bounds[r, END] = self.known.setdefault(int(level.keys[r]), {})[END] = float(word is not None)
            if word is not None:
                yield from ((int(i), word) for i in walks[ended[row[ended] == r]])

    def _learn(self, levels: list[tuple[_Level, _Read]]) -> None:
        """Bring the bounds of all prefixes of a round up to date, from the ends to the root."""
        below, bounds = None, np.ones(1)
        for level, read in reversed(levels):
            if below is not None:
                tokens = below.prefixes[:, -1]
                read.bounds[below.parents, tokens] = bounds
                of_parents = level.keys[below.parents].tolist()
                for key, token, bound in zip(of_parents, tokens.tolist(), bounds.tolist(), strict=True):
                    self.known.setdefault(key, {})[token] = bound
            below, bounds = level, (read.probability * read.bounds).sum(axis=1)
        self.bound = float(bounds[0])

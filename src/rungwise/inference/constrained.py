"""Words that keep rules, exactly as often as the model gives them among all words that do.

Masking what cannot lead to a fitting word is not enough: it favours beginnings that rarely end well. So a tree of
prefixes holds for each prefix an upper bound of the probability that a word goes on from it and fits: 0 where the
automaton says that it cannot, 1 where nothing is known, and the sum over its next characters once the model has read
it. A walk takes a next character in proportion to probability times bound. Where it comes to a prefix that is read for
the first time, the bound falls from 1 to some m, and the walk goes on with probability m, else it is dropped. So each
walk ends in a word with probability p(word) / bound(root), whatever the tree already knows: the words that arrive are
independent, and distributed as p given the rules. The more the tree knows, the fewer walks are dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from rungwise.data.known_words import KnownWords
from rungwise.data.words import END, FIRST_CHARACTER, PAD
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import Drawer
from rungwise.inference.sample import Word, accepted
from rungwise.inference.wanted import NOTHING, Rules, Wanted, rules_by_length, rules_of

WALKS = 512
"""Walks side by side; bounds are brought up to date when all have ended."""
TREE_BYTES = 1 << 28
"""A tree that needs more is begun anew."""
GIVE_UP_AFTER = 200
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


@dataclass(slots=True, eq=False)
class _Node:
    tokens: tuple[int, ...]
    """What has been read, a start token included."""
    state: int
    """Of the automaton."""
    log_likelihood: float
    probability: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(V,) of the next token, as it is drawn; empty: not read yet."""
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(V,) the model's own log-probabilities."""
    bounds: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(V,) of the prefix with each next token."""
    children: dict[int, _Node] = field(default_factory=dict)

    @property
    def bound(self) -> float:
        return float(self.probability @ self.bounds)


class Constrained:
    """Draws words that keep rules."""

    def __init__(self, drawer: Drawer, rules: Rules, seed: int) -> None:
        """UserError where the automaton alone says that no word fits."""
        self.drawer, self.rules = drawer, rules
        self.rng = np.random.default_rng([drawer.seed, seed])
        if rules.automaton.left[0] > drawer.longest:
            raise UserError(NOTHING)
        self._plant()

    def _plant(self) -> None:
        """The tree, with nothing known."""
        drawer, n_tokens = self.drawer, len(self.drawer.vocabulary)
        self.root, self.n_nodes = _Node((END,) if drawer.start else (), 0, 0.0), 0
        if drawer.firsts is not None:  # the first character is drawn as often as it begins words of the list
            self._open([self.root], drawer.firsts[None] / drawer.firsts.sum(), np.zeros((1, n_tokens)))

    def _open(self, nodes: list[_Node], probability: np.ndarray, scores: np.ndarray) -> None:
        """What follows prefixes of one length that have been read; both (nodes, V)."""
        prefixes, states = np.array([node.tokens for node in nodes]), np.array([node.state for node in nodes])
        bounds = self.rules.allowed(self.drawer, prefixes, states).astype(float)
        for node, *values in zip(nodes, probability, scores, bounds, strict=True):
            node.probability, node.scores, node.bounds = values
        self.n_nodes += len(nodes)

    @torch.inference_mode()
    def _read(self, nodes: list[_Node]) -> None:
        """The model reads prefixes of one length."""
        tokens = torch.tensor([node.tokens for node in nodes])
        logits = self.drawer.model(tokens)[:, -1].double()
        scores, read = logits.log_softmax(-1).numpy(), tokens.shape[1] - self.drawer.start
        logits[:, PAD] = -torch.inf
        if read == 0:
            logits[:, END] = -torch.inf  # a word has at least one character
        if read == self.drawer.longest:  # no room for another character: the word ends
            logits[:, FIRST_CHARACTER:] = -torch.inf
        self._open(nodes, self.drawer.distribution(logits).numpy(), scores)

    def words(self) -> Iterator[tuple[str, float]]:
        """Words and their log-likelihoods, without end. UserError where none fits, or none is found for long."""
        idle = 0
        while True:
            arrived = self._round()
            if self.root.bound <= 0:
                raise UserError(NOTHING)
            idle = 0 if arrived else idle + 1
            if idle == GIVE_UP_AFTER:
                raise UserError(f"No word that fits was found in {idle * WALKS:,} walks: the model gives hardly any.")
            if self.n_nodes * len(self.root.bounds) * 24 > TREE_BYTES:
                self._plant()
            for node in arrived:
                yield self.drawer.vocabulary.decode(np.array(node.tokens[self.drawer.start :])), node.log_likelihood

    def _round(self) -> list[_Node]:
        """Walks from the root to the ends of words: those that are not dropped, in the order of the walks."""
        walks = [(i, self.root) for i in range(WALKS)]
        arrived: dict[int, _Node] = {}
        moved: dict[_Node, tuple[_Node, int]] = {}
        while walks:
            new = {node for _, node in walks if not len(node.probability)}
            if new:
                self._read(list(dict.fromkeys(node for _, node in walks if node in new)))
            following = []
            for i, node in walks:
                if (bound := node.bound) <= 0 or (node in new and self.rng.random() >= bound):
                    continue
                token = self._choose(node)
                child = self._child(node, token)
                if token == END:
                    arrived[i] = child
                    continue
                moved[child] = (node, token)
                following.append((i, child))
            walks = following
        for child, (parent, token) in reversed(moved.items()):  # from the ends to the root
            parent.bounds[token] = child.bound
        return [arrived[i] for i in sorted(arrived)]

    def _choose(self, node: _Node) -> int:
        line = np.cumsum(node.probability * node.bounds)
        return int(np.searchsorted(line, self.rng.random() * line[-1], side="right"))

    def _child(self, node: _Node, token: int) -> _Node:
        """The prefix with one more token; with END, a whole word."""
        if token not in node.children:
            counts = len(node.tokens) >= self.drawer.scored_from
            log_likelihood = node.log_likelihood + (float(node.scores[token]) if counts else 0.0)
            if token == END:
                return _Node(node.tokens, node.state, log_likelihood)
            state = int(self.rules.automaton.step[node.state, token - FIRST_CHARACTER])
            node.children[token] = _Node((*node.tokens, token), state, log_likelihood)
        return node.children[token]

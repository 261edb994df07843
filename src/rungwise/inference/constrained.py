"""Words that keep rules, exactly as often as the model gives them among all words that do.

Masking what cannot lead to a fitting word is not enough: it favours beginnings that rarely end well. So the tree of
prefixes remembers for each prefix an upper bound of the probability that a word goes on from it and fits: 0 where the
automaton says that it cannot, 1 where nothing is known, and the sum over its next characters once the model has read
it. A walk takes a next character in proportion to probability times bound; when it comes to a prefix that is read for
the first time, its bound falls from 1 to m, and the walk goes on with probability m, else it is dropped. So each word
comes with probability p(word) / bound(root): the words that arrive are independent, and distributed as p given the
rules, whatever the tree already knows. The more it knows, the fewer walks are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from rungwise.data.sources import comparable
from rungwise.data.words import END, FIRST_CHARACTER, PAD
from rungwise.errors import UserError
from rungwise.inference.automaton import DEAD, Automaton
from rungwise.inference.prefix_tree import Drawer

WALKS = 512
"""Walks that go side by side; bounds are brought up to date when all have ended."""
TREE_BYTES = 1 << 28
"""A tree that needs more is planted anew."""
GIVE_UP_AFTER = 200
"""Rounds of walks without a word."""
NOTHING = "No word fits: the model cannot write one that keeps all that is asked for."


@dataclass(slots=True, eq=False)
class _Node:
    tokens: tuple[int, ...]
    """What has been read, a start token included."""
    state: int
    """Of the automaton."""
    log_likelihood: float
    probability: np.ndarray | None = None
    """(V,) of the next token, as it is drawn; None: not read yet."""
    scores: np.ndarray | None = None
    """(V,) the model's own log-probabilities."""
    bounds: np.ndarray | None = None
    """(V,) of the prefix with each next token."""
    children: dict[int, _Node] = field(default_factory=dict)

    @property
    def bound(self) -> float:
        assert self.probability is not None and self.bounds is not None
        return float(self.probability @ self.bounds)


class Constrained:
    """Draws words that an automaton accepts and `forbidden` lets pass."""

    def __init__(self, drawer: Drawer, automaton: Automaton, forbidden: Callable[[str], bool], seed: int) -> None:
        self.drawer, self.automaton, self.forbidden = drawer, automaton, forbidden
        self.rng = np.random.default_rng([drawer.seed, seed, 4])
        self.n_tokens = len(drawer.vocabulary)
        if automaton.left[0] > drawer.longest:
            raise UserError(NOTHING)
        self._plant()

    def _plant(self) -> None:
        """The tree, with nothing known."""
        drawer = self.drawer
        self.root = _Node((END,) if drawer.start else (), 0, 0.0)
        self.n_nodes = 1
        if drawer.firsts is not None:  # the first character is drawn as often as it begins words of the list
            share = np.array([n / drawer.firsts.sum() for n in drawer.firsts])
            self._open(self.root, share, np.zeros(self.n_tokens), may_end=False)

    def _open(self, node: _Node, probability: np.ndarray, scores: np.ndarray, may_end: bool) -> None:
        """Bounds of what follows a prefix that has been read."""
        read = len(node.tokens) - self.drawer.start
        bounds = np.zeros(self.n_tokens)
        step, left = self.automaton.step[node.state], self.automaton.left
        room = self.drawer.longest - read - 1
        bounds[FIRST_CHARACTER:] = (step != DEAD) & (left[step] <= room) & (room >= 0)
        if may_end and left[node.state] == 0:
            text = self.drawer.vocabulary.decode(node.tokens[self.drawer.start :])
            bounds[END] = comparable(text) == text and not self.forbidden(text)
        node.probability, node.scores, node.bounds = probability, scores, bounds

    @torch.inference_mode()
    def _read(self, nodes: list[_Node]) -> None:
        """The model reads prefixes of one length."""
        tokens = torch.tensor([node.tokens for node in nodes])
        logits = self.drawer.model(tokens)[:, -1].double()
        scores = logits.log_softmax(-1).numpy()
        read = tokens.shape[1] - self.drawer.start
        logits[:, PAD] = -torch.inf
        if read == 0:
            logits[:, END] = -torch.inf
        if read == self.drawer.longest:  # no room for another character: the word ends
            probability = np.zeros(scores.shape)
            probability[:, END] = 1
        else:
            probability = self.drawer.distribution(logits).numpy()
        for node, p, s in zip(nodes, probability, scores, strict=True):
            self._open(node, p, s, may_end=read > 0)
            self.n_nodes += 1

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
            if self.n_nodes * self.n_tokens * 24 > TREE_BYTES:
                self._plant()
            for node in arrived:
                yield self.drawer.vocabulary.decode(node.tokens[self.drawer.start :]), node.log_likelihood

    def _round(self) -> list[_Node]:
        """Walks from the root to the ends of words, those that are not dropped, in the order of the walks."""
        walks: list[tuple[int, _Node]] = [(i, self.root) for i in range(WALKS)]
        arrived: dict[int, _Node] = {}
        moved: dict[_Node, tuple[_Node, int]] = {}
        while walks:
            fresh = list({id(node): node for _, node in walks if node.probability is None}.values())
            if fresh:
                self._read(fresh)
            new = {id(node) for node in fresh}
            following = []
            for i, node in walks:
                bound = node.bound
                if bound <= 0 or (id(node) in new and self.rng.random() >= bound):
                    continue
                assert node.probability is not None and node.bounds is not None and node.scores is not None
                line = np.cumsum(node.probability * node.bounds)
                token = int(np.searchsorted(line, self.rng.random() * line[-1], side="right"))
                added = float(node.scores[token]) if len(node.tokens) >= self.drawer.scored_from else 0.0
                if token == END:
                    arrived[i] = _Node(node.tokens, node.state, node.log_likelihood + added)
                    continue
                if token not in node.children:
                    state = int(self.automaton.step[node.state, token - FIRST_CHARACTER])
                    node.children[token] = _Node((*node.tokens, token), state, node.log_likelihood + added)
                moved[node.children[token]] = (node, token)
                following.append((i, node.children[token]))
            walks = following
        for child, (parent, token) in reversed(moved.items()):  # from the ends to the root
            assert parent.bounds is not None
            parent.bounds[token] = child.bound
        return [arrived[i] for i in sorted(arrived)]

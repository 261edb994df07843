"""The most probable words in their exact order: a search of the tree of prefixes, the likeliest first."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
import torch

from rungwise.data.known_words import KnownWords
from rungwise.data.words import END, FIRST_CHARACTER
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import ROOT, Drawer, grown
from rungwise.inference.sample import Word
from rungwise.inference.wanted import NOTHING, Rules

AT_ONCE = 512
"""Prefixes that the model reads together."""


@dataclass(frozen=True)
class _Block:
    """Prefixes of one length that wait to be read, the most probable first."""

    prefixes: np.ndarray
    """(n, T) tokens, a start token included."""
    parents: np.ndarray
    """(n,) which row of `paths` each one continues."""
    paths: np.ndarray
    states: np.ndarray
    """(n,) of the automaton."""
    nats: np.ndarray
    """(n,) of all that is read."""
    aside: np.ndarray
    """(n,) of these, nats of a first character that is not scored."""

    def where(self, chosen: np.ndarray | slice) -> _Block:
        """Some of them."""
        parts = (self.prefixes, self.parents, self.states, self.nats, self.aside)
        prefixes, parents, states, nats, aside = (part[chosen] for part in parts)
        return _Block(prefixes, parents, self.paths, states, nats, aside)


_Found = tuple[float, str, float]
"""Minus the nats of a word, the word, and the nats that are scored of it; best words are a heap, the worst first."""


def most_probable(drawer: Drawer, rules: Rules, n: int, known: KnownWords | None = None) -> list[Word]:
    """The n words of the highest probability that keep the rules, the highest first; fewer where there are no more.
    UserError where there is none. `known`: the words of the model's list.

    A prefix is at least as probable as all that goes on from it, so one that is less probable than the n-th word found
    is let go. What waits is at most AT_ONCE * V prefixes for each character of the longest word, so memory does not
    grow with the search. Temperature, top_k and top_p change nothing: the order is that of the model's own
    probabilities, of words at most `drawer.longest` characters long.
    """
    if not n:
        return []
    best: list[_Found] = []
    zero, most = np.zeros(1), min(AT_ONCE, drawer.most)
    start = _Block(np.full((1, int(drawer.start)), END), zero.astype(int), ROOT, zero.astype(int), zero, zero)
    if drawer.firsts is not None:  # the first character comes as often as it begins words of the list
        with np.errstate(divide="ignore"):
            start = _following(drawer, rules, start, -np.log(drawer.firsts[None] / drawer.firsts.sum()), best, n)
    waiting = [start]
    while waiting:
        block = waiting.pop()
        block = block.where(block.nats <= _limit(best, n))
        if len(block.nats) > most:
            waiting.append(block.where(slice(most, None)))
            block = block.where(slice(most))
        if len(block.nats):
            read = replace(block, paths=grown(block.paths, block.parents))
            logits = drawer.tree.grow(block.prefixes[:, -1], read.paths)
            nats = -torch.from_numpy(logits).double().log_softmax(-1).numpy()
            waiting.append(_following(drawer, rules, read, nats, best, n))
    if not best:
        raise UserError(NOTHING)
    best.sort(key=lambda found: (-found[0], found[1]))
    parts = known.parts(known.hash([word for _, word, _ in best])) if known else [None] * len(best)
    return [Word(word, -scored, part) for (_, word, scored), part in zip(best, parts, strict=True)]


def _limit(best: list[_Found], n: int) -> float:
    """Nats beyond which nothing is among the n best."""
    return -best[0][0] if len(best) == n else np.inf


def _following(drawer: Drawer, rules: Rules, block: _Block, nats: np.ndarray, best: list[_Found], n: int) -> _Block:
    """Words that end behind the prefixes of a block go to `best`; what goes on is the next block. nats: (n, V) of each
    next token."""
    counts = block.prefixes.shape[1] >= drawer.scored_from
    nats = np.where(rules.allowed(drawer, block.prefixes, block.states), nats, np.inf)
    total = block.nats[:, None] + nats
    for i in np.flatnonzero(total[:, END] <= _limit(best, n)):
        if np.isfinite(total[i, END]):
            word = drawer.vocabulary.decode(block.prefixes[i, drawer.start :])
            push = heapq.heappush if len(best) < n else heapq.heappushpop
            push(best, (-float(total[i, END]), word, float(total[i, END] - block.aside[i])))
    rows, characters = np.nonzero(total[:, FIRST_CHARACTER:] <= min(_limit(best, n), np.finfo(float).max))
    tokens = characters + FIRST_CHARACTER
    order = np.argsort(total[rows, tokens], kind="stable")
    rows, tokens = rows[order], tokens[order]
    return _Block(
        np.concatenate([block.prefixes[rows], tokens[:, None]], axis=1),
        rows,
        block.paths,
        rules.automaton.step[block.states[rows], tokens - FIRST_CHARACTER],
        total[rows, tokens],
        block.aside[rows] + (0 if counts else nats[rows, tokens]),
    )

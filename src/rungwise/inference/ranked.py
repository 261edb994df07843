"""The most probable words in their exact order: a search of the tree of prefixes, down to a probability."""

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
MOST_READ = 4_000_000
"""Prefixes that one search reads: a minute or so."""
FIRST_LIMIT = 4.0
"""Nats."""


def most_probable(drawer: Drawer, rules: Rules, n: int, known: KnownWords | None = None) -> list[Word]:
    """The n words of the highest probability that keep the rules, the highest first; fewer where there are no more, or
    where finding them takes more than MOST_READ prefixes. UserError where there is none. `known`: the words of the
    model's list.

    A prefix is at least as probable as all that goes on from it. So the tree is searched for words above a probability,
    again with a lower one until there are n (iterative deepening, Korf 1985): most of the work is in the last search,
    and what waits is at most AT_ONCE * V prefixes for each character of the longest word. Temperature, top_k and top_p
    change nothing: the order is that of the model's own probabilities, of words at most `drawer.longest` symbols
    long.
    """
    if drawer.vocabulary.conditions and drawer.sampling.given is None:
        raise UserError("The most probable words depend on what they are given: say --given, too.")
    best: list[_Found] = []
    limit, may_read, more = FIRST_LIMIT, MOST_READ, rules.automaton.left[0] <= drawer.longest
    while more and len(best) < n:
        search = _Search(drawer, rules, n, limit, may_read)
        if not search.run():
            break
        best, more, may_read, limit = search.best, search.cut, search.may_read, limit + 1
    if n and not best:
        raise UserError(f"No word that fits is among the model's most probable {MOST_READ:,}." if more else NOTHING)
    best = sorted(best, key=lambda found: (-found[0], found[1]))
    parts = known.parts(known.hash([word for _, word, _ in best])) if known else [None] * len(best)
    return [Word(word, -scored, part) for (_, word, scored), part in zip(best, parts, strict=True)]


_Found = tuple[float, str, float]
"""Minus the nats of a word, the word, and those of its nats that are scored."""


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


@dataclass
class _Search:
    """For the n most probable words, none of more than `limit` nats."""

    drawer: Drawer
    rules: Rules
    n: int
    limit: float
    may_read: int
    """Prefixes."""
    cut: bool = False
    """Something lay beyond the limit."""

    def __post_init__(self) -> None:
        self.best: list[_Found] = []  # a heap, the worst first

    def run(self) -> bool:
        """False where it would have to read too much."""
        drawer, zero, most = self.drawer, np.zeros(1), min(AT_ONCE, self.drawer.most)
        start = _Block(drawer.root, zero.astype(int), ROOT, zero.astype(int), zero, zero)
        if drawer.firsts is not None and not drawer.root.size:  # the first one comes as often as in the list
            with np.errstate(divide="ignore"):
                start = self._following(start, -np.log(drawer.firsts[None] / drawer.firsts.sum()))
        waiting = [start]
        while waiting and self.may_read > 0:
            block = waiting.pop()
            block = block.where(block.nats <= self.limit)
            if len(block.nats) > most:
                waiting.append(block.where(slice(most, None)))
                block = block.where(slice(most))
            if len(block.nats):
                read = replace(block, paths=grown(block.paths, block.parents))
                logits = drawer.tree.grow(block.prefixes[:, -1], read.paths)
                waiting.append(self._following(read, -torch.from_numpy(logits).double().log_softmax(-1).numpy()))
                self.may_read -= len(block.nats)
        return not waiting

    def _following(self, block: _Block, nats: np.ndarray) -> _Block:
        """Words that end behind the prefixes of a block are kept; what goes on is the next block. nats: (n, V) of each
        next token."""
        length = block.prefixes.shape[1]
        nats = np.where(self.rules.allowed(self.drawer, length, block.states), nats, np.inf)
        total = block.nats[:, None] + nats
        self.cut |= bool((np.isfinite(total) & (total > self.limit)).any())
        for i in np.flatnonzero(total[:, END] <= self.limit):
            self._keep(block.prefixes[i], float(total[i, END]), float(block.aside[i]))
        rows, characters = np.nonzero(total[:, FIRST_CHARACTER:] <= self.limit)
        tokens = characters + FIRST_CHARACTER
        order = np.argsort(total[rows, tokens], kind="stable")
        rows, tokens = rows[order], tokens[order]
        return _Block(
            np.concatenate([block.prefixes[rows], tokens[:, None]], axis=1),
            rows,
            block.paths,
            self.rules.automaton.step[block.states[rows], tokens - FIRST_CHARACTER],
            total[rows, tokens],
            block.aside[rows] + (0 if length >= self.drawer.scored_from else nats[rows, tokens]),
        )

    def _keep(self, prefix: np.ndarray, nats: float, aside: float) -> None:
        """A word that may be one of the best; when there are n, the limit is the worst of them."""
        word = self.rules.fitting(self.drawer, prefix) if nats <= self.limit else None
        if word is not None:
            push = heapq.heappush if len(self.best) < self.n else heapq.heappushpop
            push(self.best, (-nats, word, nats - aside))
            if len(self.best) == self.n:
                self.limit = -self.best[0][0]

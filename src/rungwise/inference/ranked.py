"""The most probable words in their exact order: best-first search on the tree of prefixes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import torch

from rungwise.data.sources import comparable
from rungwise.data.words import END, FIRST_CHARACTER
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import Drawer
from rungwise.inference.sample import Word

MOST_OPEN = 2_000_000
"""Prefixes that wait."""
AT_ONCE = 64
"""Prefixes that the model reads together: some are read that were not needed."""

Open = tuple[float, tuple[int, ...]]
"""Nats of what has been read, and its tokens; END at the end is a whole word."""


def most_probable(drawer: Drawer, n: int) -> Iterator[Word]:
    """The n words of the highest probability, the highest first; of equal ones, by their token ids.

    A prefix is at least as probable as all that goes on from it, so a word that is the best of all that waits is the
    next one. No more than n whole words wait, and a prefix less probable than the n-th of them is let go. UserError
    where more than MOST_OPEN wait all the same. Temperature, top_k and top_p change nothing here: exact order is that
    of the model's own probabilities, with words at most `drawer.longest` characters long.
    """
    waiting: list[Open] = _roots(drawer)
    heapq.heapify(waiting)
    best: list[float] = []  # negative nats of the n best words that were met, the worst of them first
    missing = n
    while waiting and missing > 0:
        if waiting[0][1][-1:] == (END,) and len(waiting[0][1]) > drawer.start:
            nats, tokens = heapq.heappop(waiting)
            text = drawer.vocabulary.decode(tokens[drawer.start :])
            missing -= 1
            yield Word(text, -nats)
            continue
        prefixes = _pop(waiting, drawer)
        for width in {len(tokens) for _, tokens in prefixes}:
            for following in _read([p for p in prefixes if len(p[1]) == width], drawer):
                if len(best) >= n and following[0] > -best[0]:
                    continue
                if following[1][-1] == END:
                    heapq.heappush(best, -following[0])
                    if len(best) > n:
                        heapq.heappop(best)
                heapq.heappush(waiting, following)
        if len(waiting) > MOST_OPEN:
            raise UserError(f"More than {MOST_OPEN:,} beginnings of words wait: ask for fewer words than {n:,}.")


def _roots(drawer: Drawer) -> list[Open]:
    if drawer.firsts is None:
        return [(0.0, (END,))]
    share = drawer.firsts / drawer.firsts.sum()
    return [(float(-np.log(share[i])), (int(i),)) for i in np.flatnonzero(share)]


def _pop(waiting: list[Open], drawer: Drawer) -> list[Open]:
    """The best prefixes, up to the first whole word."""
    found: list[Open] = []
    while waiting and len(found) < AT_ONCE:
        tokens = waiting[0][1]
        if tokens[-1] == END and len(tokens) > drawer.start:
            break
        found.append(heapq.heappop(waiting))
    return found


@torch.inference_mode()
def _read(prefixes: list[Open], drawer: Drawer) -> Iterator[Open]:
    """All that goes on from prefixes of one length, and could be a word of a list."""
    logits = drawer.model(torch.tensor([tokens for _, tokens in prefixes]))[:, -1].double()
    nats = -logits.log_softmax(-1).numpy()
    for (before, tokens), row in zip(prefixes, nats, strict=True):
        read = tokens[drawer.start :]
        text = drawer.vocabulary.decode(read)
        if read and comparable(text) == text:
            yield before + float(row[END]), (*tokens, END)
        if len(read) < drawer.longest:
            for token in range(FIRST_CHARACTER, len(row)):
                yield before + float(row[token]), (*tokens, token)

"""Kneser-Ney as the textbook writes it, slowly, and small lists of words to count."""

import io
from collections import Counter, defaultdict

import numpy as np
from hypothesis import strategies as st

from rungwise.config import Protocol
from rungwise.data import words
from rungwise.data.batches import Tape

DISCOUNT = 0.75
WHOLE = Protocol("whole", start_token=True, distinct=True, val_fraction=0, test_fraction=0.1)
GIVEN = WHOLE.replace(name="given", start_token=False)

ABC = "abcde"  # of which training words use four, so that one character is never met
lists = st.lists(st.text("abcd", min_size=1, max_size=7), min_size=1, max_size=12)
either = st.sampled_from([WHOLE, GIVEN])


def word_list(*some: str, alphabet: str = ABC) -> tuple[words.WordList, int]:
    """The words, with every character of the alphabet in the vocabulary, and the vocabulary's size."""
    read = words.read(io.BytesIO("\n".join([*some, *alphabet]).encode()), "some")
    return read, len(read.vocabulary)


def tape(some: list[str], protocol: Protocol, alphabet: str = ABC) -> Tape:
    return Tape.of(word_list(*some, alphabet=alphabet)[0], np.arange(len(some)), protocol)


def sequences(some: list[str], protocol: Protocol) -> list[tuple[str, str]]:
    """(history, prediction) of each scored token; ^ is the start, $ the end, each token one letter."""
    first = 0 if protocol.start_token else 1
    return [("^" + word[:t], (word + "$")[t]) for word in some for t in range(first, len(word) + 1)]


def oracle(train: list[str], order: int, protocol: Protocol, n_symbols: int, discount: float = DISCOUNT):
    return oracle_of(sequences(train, protocol), order, n_symbols, discount)


def oracle_of(events: list[tuple[str, str]], order: int, n_symbols: int, discount: float):
    """With sets and dicts and recursion: P(prediction | history)."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for n in range(order):
        before = defaultdict(set)
        for history, w in events:
            if n > len(history):
                continue
            context = history[len(history) - n :]
            if n == order - 1 or context.startswith("^"):
                counts[context][w] += 1
            else:
                before[context, w].add(history[-n - 1])
        for (context, w), symbols in before.items():
            counts[context][w] += len(symbols)

    def probability(w: str, history: str) -> float:
        context = history[max(0, len(history) - order + 1) :]
        p = 1 / n_symbols
        for n in range(len(context) + 1):
            if found := counts.get(context[len(context) - n :]):
                total = sum(found.values())
                p = max(found[w] - discount, 0) / total + discount * len(found) / total * p
        return p

    return probability

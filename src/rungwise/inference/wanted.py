"""Words as a user wants them: what is asked for becomes an automaton, and what no automaton holds a last question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rungwise.data.known_words import KnownWords
from rungwise.data.sources import comparable
from rungwise.errors import UserError
from rungwise.inference import automaton
from rungwise.inference.constrained import NOTHING, Constrained
from rungwise.inference.prefix_tree import Drawer
from rungwise.inference.sample import Word, accepted

AT_ONCE = 256


@dataclass(frozen=True)
class Wanted:
    """What every word keeps; the defaults ask for nothing."""

    suffix: str = ""
    contains: str = ""
    pattern: str | None = None
    """A regular expression that the whole word matches."""
    length: str | None = None
    """"5", or "4-8" characters."""
    exclude: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    """Words are at least `edits` edits (Levenshtein) from each of these."""
    edits: int = 2
    like_lengths: tuple[int, ...] = ()
    """Lengths of a list's words: each is drawn as often as it is there."""


def draw(drawer: Drawer, wanted: Wanted, n: int, seed: int, known: KnownWords | None = None) -> Iterator[Word]:
    """n words that keep all that is wanted, each as often as the model gives it among all that do (constrained.py).
    UserError where none fits. `drawer` brings prefix, longest word, temperature and the rest of Sampling."""
    sampling = drawer.sampling
    rules = _rules(wanted, drawer.prefix)
    forbidden = _forbidden(wanted, known if sampling.new_only else None)
    if wanted.like_lengths:
        stream = _of_lengths(drawer, rules, Counter(wanted.like_lengths), forbidden, seed)
    else:
        machine = automaton.combined(rules, drawer.vocabulary.characters)
        stream = Constrained(drawer, machine, forbidden, seed).words()
    seen = KnownWords(drawer.vocabulary) if sampling.unique else None
    return accepted(_batches(stream, min(AT_ONCE, max(1, n))), n, sampling, seen, known)


def _batches(stream: Iterator[tuple[str, float]], size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    while True:
        some = [next(stream) for _ in range(size)]
        yield [text for text, _ in some], np.array([nats for _, nats in some])


def _rules(wanted: Wanted, prefix: str) -> list[automaton.Rule]:
    rules = [automaton.begins(prefix)] if prefix else []
    if wanted.suffix:
        rules.append(automaton.contains(comparable(wanted.suffix), at_end=True))
    if wanted.contains:
        rules.append(automaton.contains(comparable(wanted.contains)))
    if wanted.pattern is not None:
        rules.append(automaton.pattern(wanted.pattern))
    if wanted.length is not None:
        rules.append(automaton.length(*_range(wanted.length)))
    return rules


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= fewest <= most:
        raise UserError(f"--length must be a number of characters or a range such as 4-8, but is {text!r}.")
    return fewest, most


def _forbidden(wanted: Wanted, known: KnownWords | None) -> Callable[[str], bool]:
    excluded = set(wanted.exclude)
    near = _near(wanted.unlike, wanted.edits) if wanted.unlike else None

    def forbidden(word: str) -> bool:
        if word in excluded or (known is not None and bool(known.holds(known.hash([word]))[0])):
            return True
        return near is not None and near(word)

    return forbidden


def _near(words: Iterable[str], edits: int) -> Callable[[str], bool]:
    """Is a word fewer edits than that from any of the words?"""
    if edits < 1:
        raise UserError(f"--edits must be at least 1, but is {edits}.")
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise UserError("--unlike needs the package RapidFuzz: pip install rapidfuzz.") from None
    choices = list(dict.fromkeys(words))
    return lambda word: (
        process.extractOne(word, choices, scorer=Levenshtein.distance, score_cutoff=edits - 1) is not None
    )


def _of_lengths(
    drawer: Drawer, rules: list[automaton.Rule], lengths: Counter[int], forbidden: Callable[[str], bool], seed: int
) -> Iterator[tuple[str, float]]:
    """A length is drawn as often as the list has it, then a word of that length. Lengths that no word fits are left
    out. UserError where none is left."""
    streams: dict[int, Iterator[tuple[str, float]]] = {}
    for length in sorted(lengths):
        machine = automaton.combined([*rules, automaton.length(length, length)], drawer.vocabulary.characters)
        if machine.left[0] <= drawer.longest:
            streams[length] = Constrained(drawer, machine, forbidden, seed + length).words()
    rng = np.random.default_rng([drawer.seed, seed, 5])
    while streams:
        share = np.array([lengths[length] for length in streams], dtype=float)
        length = int(rng.choice(list(streams), p=share / share.sum()))
        try:
            yield next(streams[length])
        except UserError:  # no word of this length
            del streams[length]
    raise UserError(NOTHING)

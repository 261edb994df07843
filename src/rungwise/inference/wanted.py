"""Words as a user wants them: what is asked for becomes an automaton, and what no automaton holds a last question."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rungwise.data.known_words import KnownWords
from rungwise.data.sources import comparable
from rungwise.data.words import END, FIRST_CHARACTER
from rungwise.errors import UserError
from rungwise.inference import automaton
from rungwise.inference.automaton import DEAD, Automaton
from rungwise.inference.prefix_tree import Drawer

NOTHING = "No word fits: the model cannot write one that keeps all that is asked for."
NO_RAPIDFUZZ = "--unlike needs the package RapidFuzz: pip install rapidfuzz."


@dataclass(frozen=True)
class Wanted:
    """What every word keeps; the defaults ask for nothing."""

    suffix: str = ""
    contains: str = ""
    pattern: str | None = None
    """A regular expression that the whole word matches."""
    length: str | None = None
    """"5", or "4-8" characters, however many symbols these are."""
    exclude: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    """Words are at least `edits` edits (Levenshtein) from each of these."""
    edits: int = 2
    like_lengths: tuple[int, ...] = ()
    """Characters of each of a list's words: each length is drawn as often as it is there."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What is wanted, for a model's alphabet."""

    automaton: Automaton
    """Over the symbols; and over what a word may be given, which changes no state."""
    forbidden: Callable[[str], bool]
    """Of a whole word that the automaton accepts."""

    def allowed(self, drawer: Drawer, length: int, states: np.ndarray) -> np.ndarray:
        """(n, V) bool: may a token follow prefixes of `length` tokens, what stands before a word included, so that a
        word that the automaton accepts can still come? END: the word is one."""
        read, conditions = length - drawer.begin, drawer.vocabulary.first_condition
        following, left = self.automaton.step[states], self.automaton.left
        found = np.zeros((len(states), len(drawer.vocabulary)), dtype=bool)
        found[:, FIRST_CHARACTER:] = (following != DEAD) & (left[following] <= drawer.longest - read - 1)
        found[:, END] = (left[states] == 0) & (read > 0)
        found[:, slice(conditions) if read < 0 else slice(conditions, None)] = False
        return found

    def fitting(self, drawer: Drawer, prefix: np.ndarray) -> str | None:
        """The word of a prefix that the automaton accepts, what stands before it included; None where a list would not
        hold it as it is, or where it is forbidden."""
        word = drawer.vocabulary.listed(prefix[drawer.begin :].tolist())
        return None if word is None or self.forbidden(word) else word


def rules_of(wanted: Wanted, drawer: Drawer, known: KnownWords | None = None) -> Rules:
    """`drawer` brings the prefix; with its sampling.new_only, words of `known` are not wanted."""
    forbidden = _forbidden(wanted, known if drawer.sampling.new_only else None)
    return Rules(_combined(_parts(wanted, drawer), drawer), forbidden)


def rules_by_length(wanted: Wanted, drawer: Drawer, known: KnownWords | None = None) -> dict[int, tuple[float, Rules]]:
    """For each length that words of wanted.like_lengths have: its share of them, and the rules of words that long,
    where the model can write such."""
    forbidden = _forbidden(wanted, known if drawer.sampling.new_only else None)
    found, parts = {}, _parts(wanted, drawer)
    for length, n in sorted(Counter(wanted.like_lengths).items()):
        if length <= _most_characters(drawer):
            machine = _combined([*parts, automaton.length(length, length)], drawer)
            found[length] = n / len(wanted.like_lengths), Rules(machine, forbidden)
    return found


def _combined(parts: list[automaton.Part], drawer: Drawer) -> Automaton:
    vocabulary = drawer.vocabulary
    return automaton.combined(parts, [*vocabulary.characters, *[""] * len(vocabulary.conditions)])


def _most_characters(drawer: Drawer) -> int:
    """Of a word: a symbol may be several."""
    return drawer.longest * max(map(len, drawer.vocabulary.characters))


def _parts(wanted: Wanted, drawer: Drawer) -> list[automaton.Part]:
    parts = [automaton.begins(drawer.prefix)] if drawer.prefix else []
    if wanted.suffix:
        parts.append(automaton.contains(comparable(wanted.suffix), at_end=True))
    if wanted.contains:
        parts.append(automaton.contains(comparable(wanted.contains)))
    if wanted.pattern is not None:
        parts.append(automaton.pattern(wanted.pattern))
    if wanted.length is not None:
        fewest, most = _range(wanted.length)
        parts.append(automaton.length(fewest, min(most, _most_characters(drawer))))
    return parts


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text, re.ASCII)
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= fewest <= most:
        raise UserError(f"--length must be a number of characters or a range such as 4-8, but is {text!r}.")
    return fewest, most


def _forbidden(wanted: Wanted, known: KnownWords | None) -> Callable[[str], bool]:
    excluded, near = set(wanted.exclude), _near(wanted) if wanted.unlike else None

    def forbidden(word: str) -> bool:
        if word in excluded or (known is not None and bool(known.holds(known.hash([word]))[0])):
            return True
        return near is not None and near(word)

    return forbidden


def _near(wanted: Wanted) -> Callable[[str], bool]:
    """Is a word fewer edits than wanted from any of the words?"""
    if wanted.edits < 1:
        raise UserError(f"--edits must be at least 1, but is {wanted.edits}.")
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise UserError(NO_RAPIDFUZZ) from None
    choices, most = list(dict.fromkeys(wanted.unlike)), wanted.edits - 1
    return lambda word: process.extractOne(word, choices, scorer=Levenshtein.distance, score_cutoff=most) is not None

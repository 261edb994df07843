"""The symbols of a list as token ids, and back. No torch here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Self

import numpy as np

from rungwise.data.sources import comparable
from rungwise.data.tokens import CHARS, Tokens
from rungwise.errors import UserError, require_known

PAD, END = 0, 1
"""Token ids, never characters: a list may hold any character. END also starts a word where a start is fed."""
FIRST_CHARACTER = 2


def one_line(condition: str) -> str:
    """What a word is given, as it is kept and compared: comparable(), any blanks inside as one space."""
    return " ".join(comparable(condition).split())


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a list in code-point order; a symbol's id is its place plus FIRST_CHARACTER."""

    characters: Sequence[str]
    """A text, where each symbol is a character (--tokens chars); else a tuple."""
    tokens: Tokens = CHARS
    conditions: tuple[str, ...] = ()
    """What a word may be given, in order; their ids come after those of the symbols."""

    @classmethod
    def of(cls, symbols: Iterable[str], tokens: Tokens, conditions: Iterable[str] = ()) -> Self:
        ordered = sorted(symbols)
        return cls("".join(ordered) if tokens.kind == "chars" else tuple(ordered), tokens, tuple(sorted(conditions)))

    def __len__(self) -> int:
        return self.first_condition + len(self.conditions)

    @property
    def first_condition(self) -> int:
        """Its id; len(self) where there are none."""
        return FIRST_CHARACTER + len(self.characters)

    def condition(self, value: str) -> int:
        """The id of what a word is given."""
        if not self.conditions:
            raise UserError("This model was trained without --condition: no word of it is given anything.")
        value = one_line(value)
        require_known(value, self.conditions, "No word of the training list was given")
        return self.first_condition + self.conditions.index(value)

    def to_json(self) -> dict[str, Any]:
        """JSON values: characters, a text or a list; and the tokens, where these are not characters."""
        conditions = {"conditions": list(self.conditions)} if self.conditions else {}
        if self.tokens == CHARS:
            return {"characters": self.characters, **conditions}
        return {"characters": list(self.characters), "tokens": self.tokens.to_json(), **conditions}

    def encode(self, word: str) -> np.ndarray:
        """The ids of a word's symbols, (symbols,) int64, without END. A symbol unknown here is an error."""
        try:
            return np.array([self.ids[symbol] for symbol in self.tokens.split(word)], dtype=np.int64)
        except KeyError as error:
            known = ("" if isinstance(self.characters, str) else " ").join(self.characters[:80])
            known += "..." * (len(self) > 80)
            shown = word if len(word) <= 80 else word[:80] + "..."
            raise UserError(f"{error} in {shown!r} is not in the alphabet of the training list: {known}") from None

    def encode_all(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Of many words: the ids of all, one after the other, and the offsets (words + 1,) at which each begins."""
        split, ids = self.tokens.split_all(words), self.ids
        offsets = np.concatenate([[0], np.cumsum([len(symbols) for symbols in split], dtype=np.int64)])
        return np.array([ids[symbol] for symbols in split for symbol in symbols], dtype=np.int64), offsets

    @cached_property
    def ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.characters, FIRST_CHARACTER)}

    @property
    def told(self) -> str:
        """How many symbols, for people."""
        conditions = f", {len(self.conditions)} conditions" if self.conditions else ""
        return f"{len(self.characters)} {self.tokens.unit}s{conditions}"

    def spells(self, word: str) -> bool:
        """Is every symbol of a word in it?"""
        return self.ids.keys() >= set(self.tokens.split(word))

    def decode(self, ids: Iterable[int]) -> str:
        """The word up to END; PAD, and what it is given, are skipped."""
        before_end = takewhile(lambda i: i != END, ids)
        return "".join(self.characters[i - FIRST_CHARACTER] for i in before_end if PAD < i < self.first_condition)

    def listed(self, ids: Sequence[int]) -> str | None:
        """The word of these symbols; None where no list of these tokens would hold it so: with outer blanks, in another
        form of Unicode's, or in other symbols."""
        word = self.decode(ids)
        same = comparable(word) == word and [self.ids.get(s) for s in self.tokens.split(word)] == list(ids)
        return word if same else None

    def decode_rows(self, ids: np.ndarray) -> list[str]:
        """The words of (words, width) ids, each up to its one END; PAD, and what they are given, are skipped. Many at a
        time, and fast."""
        ids = ids[(ids != PAD) & (ids < self.first_condition)]
        if not isinstance(self.characters, str):
            symbols = np.array(["", "\n", *self.characters], dtype=object)
            return "".join(symbols[ids].tolist()).split("\n")[:-1]
        points = np.array([0, ord("\n"), *map(ord, self.characters)], dtype="<u4")  # no word holds a line break
        return points[ids].tobytes().decode("utf-32-le").split("\n")[:-1]

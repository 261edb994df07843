"""What one symbol of a word is: a character, a grapheme cluster, or a token of a file. No torch here.

A word is its symbols, joined. A model sees each of them as one id, so its losses are nats a symbol.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from rungwise.config import ListConfig
from rungwise.data import sources
from rungwise.errors import UserError, closest
from rungwise.util.files import local, portable
from rungwise.util.loading import need

UNITS = {"chars": "character", "graphemes": "grapheme", "file": "token"}


@dataclass(frozen=True)
class Tokens:
    """How a word is split into symbols."""

    kind: str = "chars"
    """chars: Unicode characters; graphemes: what a reader takes for one (Unicode Standard Annex 29); file: `listed`."""
    listed: tuple[str, ...] = ()
    """The tokens of the file."""
    name: str = field(default="", compare=False)
    """Of the file, for messages."""

    @classmethod
    def of(cls, asked: str) -> Self:
        """As --tokens says: chars, graphemes, or a file with a token a line, each in Unicode's composed form."""
        if asked == "graphemes":
            _regex()
        if asked in UNITS and asked != "file":
            return cls(asked)
        name = portable(Path(asked).name)
        try:
            with Path(local(asked)).open("rb") as stream:
                blocks = sources.blocks(stream, name, ListConfig(), sha256())
                lines = [unicodedata.normalize("NFC", line or "") for block in blocks for line in block]
        except (OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            hint = closest(asked, ("chars", "graphemes"))
            raise UserError(f"No file of tokens at {asked!r}; {hint} A file holds one token a line.") from None
        if not (listed := tuple(dict.fromkeys(filter(None, lines)))):
            raise UserError(f"{name} holds no tokens: it must hold one a line.")
        return cls("file", listed, name)

    @property
    def unit(self) -> str:
        """What losses are counted in."""
        return UNITS[self.kind]

    def say(self, text: str) -> str:
        """A sentence on characters, as one on these symbols."""
        return text.replace("character", self.unit)

    def split(self, word: str) -> Sequence[str]:
        """The symbols of a word; joined, they are the word. Of a file: the longest token that fits, from the left on;
        where none does, the character alone, which is no token (`encode` tells)."""
        if self.kind == "chars":
            return word
        if self.kind == "graphemes":
            return _regex().findall(r"\X", word)
        found, at = list[str](), 0
        while at < len(word):
            fits = (word[at : at + n] for n in self._lengths if word[at : at + n] in self._known)
            found.append(next(fits, word[at]))
            at += len(found[-1])
        return found

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.listed)

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted(set(map(len, self.listed)), reverse=True)

    def split_all(self, words: Sequence[str]) -> Sequence[Sequence[str]]:
        return words if self.kind == "chars" else [self.split(word) for word in words]

    def to_json(self) -> str | list[str]:
        """chars, graphemes, or the tokens of the file."""
        return list(self.listed) if self.kind == "file" else self.kind

    @classmethod
    def from_json(cls, value: str | list[str]) -> Self:
        return cls(value) if isinstance(value, str) else cls("file", tuple(value))

    def encode(self, words: Sequence[Sequence[str]], name: str) -> tuple[list[str], np.ndarray]:
        """Of some words, each as split() has it: their distinct symbols, and for each symbol of all the words, one
        after the other, its place among these, (symbols,) int64. Half a character, or none, is a UserError."""
        points = code_points(texts(words), name)
        if self.kind == "chars":
            there = np.zeros(int(points.max(initial=0)) + 1, dtype=bool)
            there[points] = True
            return list(map(chr, np.flatnonzero(there).tolist())), (np.cumsum(there) - 1)[points]
        numbers: dict[str, int] = {}
        places = [numbers.setdefault(symbol, len(numbers)) for symbol in chain.from_iterable(words)]
        return list(numbers), np.array(places, dtype=np.int64)

    def require(self, symbols: Sequence[str], words: Sequence[Sequence[str]], name: str) -> None:
        """A UserError where one of the symbols of some words is no token of the file."""
        if self.kind == "file" and (strange := set(symbols) - self._known):
            word = next(word for word in words if strange & set(word))
            n = next(i for i, symbol in enumerate(word) if symbol in strange)
            raise UserError(
                f"{name}: {''.join(word)!r} cannot be split: no token of {self.name} fits its character "
                f"{len(''.join(word[:n])) + 1}, {word[n]!r}; add a line for it."
            )


CHARS = Tokens()


def texts(words: Sequence[Sequence[str]]) -> list[str]:
    """What split_all() was given."""
    return [word if isinstance(word, str) else "".join(word) for word in words]


def code_points(words: Sequence[str], name: str) -> np.ndarray:
    """All characters of some words, one after the other, (characters,) uint32."""
    try:
        points = np.frombuffer("".join(words).encode("utf-32-le"), dtype=np.uint32)
    except UnicodeEncodeError as error:
        raise UserError(f"{name} holds half a character (U+{ord(error.object[error.start]):04X}).") from None
    if not points.all():
        raise UserError(
            f"{name} holds zero characters (U+0000): it is no text, or UTF-16 without its mark (--encoding "
            "utf-16-le or utf-16-be)."
        )
    return points


@cache
def _regex() -> Any:
    return need("regex", "--tokens graphemes needs", "graphemes")

"""How well a trained model predicts any list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rungwise.config import Protocol, WordStart
from rungwise.data.batches import Tape
from rungwise.data.known_words import KnownWords
from rungwise.data.words import Vocabulary, WordList
from rungwise.errors import UserError
from rungwise.inference.mixture import Mixture
from rungwise.inference.score import Scores, score
from rungwise.model.transformer import Transformer
from rungwise.util.hashing import hash_words

N_EXTREMES = 10
WORDS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Assessment:
    """What a model thinks of a list."""

    words: WordList
    """The words that can be scored: those whose characters the model knows, in its vocabulary."""
    scores: Scores
    start: WordStart
    """How a word begins for the model."""
    unknown: dict[str, int]
    """Characters outside the alphabet, and how often each stands in the list; the most frequent first."""
    n_unknown_words: int
    """Words that hold one: they cannot be scored."""
    n_beyond: int
    """Words longer than a model with learned positions has places for: they cannot be scored, either."""
    known: KnownWords | None = None
    """The words of the model's own list."""

    def summary(self, protocol: Protocol, listed: WordList) -> dict[str, Any]:
        """For programs and for people; the field names say the units."""
        nats, by_word = self.scores.loss, self.scores.words
        # Per character, so that the extremes are not just the shortest and the longest words.
        each = by_word / self.scores.lengths
        order = np.argsort(each, kind="stable")
        _, first = np.unique(self.words.identities[order], return_index=True)
        order = order[np.sort(first)]  # each word once
        return {
            "list": listed.name,
            "sha256": listed.sha256,
            "protocol": protocol.name,
            "scored": self.start.scored,
            "words": len(listed),
            "dropped_too_long": listed.dropped.long,
            "dropped_with_a_line_break": listed.dropped.broken,
            "dropped_rows_unlike_the_header": listed.dropped.misfit,
            "words_scored": len(self.words),
            "words_with_unknown_characters": self.n_unknown_words,
            "unknown_characters": self.unknown,
            "words_beyond_the_last_position": self.n_beyond,
            "characters_scored": len(self.scores.nats),
            "nats_per_character": nats,
            "bits_per_character": nats / math.log(2),
            "perplexity_per_character": _exp(nats),
            "nats_per_word": float(by_word.mean()),
            "perplexity_per_word": _exp(float(by_word.mean())),
            "accuracy": self.scores.accuracy,
            "by_part": self._by_part(),
            "most_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[:N_EXTREMES]],
            "least_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[::-1][:N_EXTREMES]],
        }

    def _by_part(self) -> dict[str, Any]:
        """Words and nats a character of the words in training, held out, and new to the model; of the parts there
        are. A loss on words that it was trained on says little of others."""
        if self.known is None:
            return {}
        parts = np.array(self.known.parts(hash_words(self.words.codes, self.words.offsets)))
        found = {}
        for part in dict.fromkeys(parts.tolist()):
            mine = parts == part
            nats, tokens = self.scores.words[mine].sum(), self.scores.lengths[mine].sum()
            found[part] = {"words": int(mine.sum()), "nats_per_character": float(nats / tokens)}
        return found


def _exp(nats: float) -> float | None:
    """None where no float is so large: JSON has no infinity."""
    return math.exp(nats) if nats < 700 else None


def assess(
    model: Transformer | Mixture,
    vocabulary: Vocabulary,
    start: WordStart,
    listed: WordList,
    own: KnownWords | None = None,
) -> Assessment:
    """Score the words of a list, each begun as the model's words begin; repeated words count each time. `own`: the
    words of the model's own list."""
    known, holds_unknown = listed.in_vocabulary(vocabulary)
    counts = np.bincount(listed.codes, minlength=len(listed.vocabulary))[2:]
    strange = [(c, int(n)) for c, n in zip(listed.vocabulary.characters, counts, strict=True)]
    strange = sorted(((c, n) for c, n in strange if c not in vocabulary.characters), key=lambda pair: -pair[1])
    if not len(known):
        raise UserError(
            f"No word of {listed.name} can be scored: each holds a character outside the model's alphabet, "
            f"{strange[0][0]!r} first of all."
        )
    config, n_known = model.config, len(known)
    if config.position == "learned":  # RoPE, or no position at all, goes on as long as a word does
        known = known.at(np.flatnonzero(known.lengths + start.end_fed <= config.block_size))
        if not len(known):
            longest = config.block_size - start.end_fed
            raise UserError(
                f"No word of {listed.name} can be scored: each that the model can spell is longer than the {longest} "
                "characters that its learned positions reach."
            )
    how = model.score if isinstance(model, Mixture) else partial(score, model)
    parts = [
        how(Tape.of(known, np.arange(first, min(first + WORDS_AT_ONCE, len(known))), start))
        for first in range(0, len(known), WORDS_AT_ONCE)
    ]
    scores = Scores(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("lengths", "nats", "correct")))
    return Assessment(known, scores, start, dict(strange), int(holds_unknown.sum()), n_known - len(known), own)

"""How well a trained model predicts any list."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rungwise.config import Protocol, WordStart
from rungwise.data.batches import Tape
from rungwise.data.known_words import KnownWords
from rungwise.data.words import FIRST_CHARACTER, Vocabulary, WordList
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
    """The words that can be scored: those whose symbols the model knows, in its vocabulary."""
    scores: Scores
    start: WordStart
    """How a word begins for the model."""
    unknown: dict[str, int]
    """Symbols outside the alphabet, and how often each stands in the list; the most frequent first."""
    n_unknown_words: int
    """Words that hold one: they cannot be scored."""
    n_beyond: int
    """Words longer than a model with learned positions has places for: they cannot be scored, either."""
    known: KnownWords | None = None
    """The words of the model's own list."""

    def summary(self, protocol: Protocol, listed: WordList) -> dict[str, Any]:
        """For programs and for people; the field names say the units: a character, or else what --tokens says."""
        nats, by_word, tokens = self.scores.loss, self.scores.words, self.words.vocabulary.tokens
        # Per symbol, so that the extremes are not just the shortest and the longest words.
        each = by_word / self.scores.lengths
        order = np.argsort(each, kind="stable")
        _, first = np.unique(self.words.identities[order], return_index=True)
        order = order[np.sort(first)]  # each word once
        return {
            "list": listed.name,
            "sha256": listed.sha256,
            "protocol": protocol.name,
            "unit": tokens.unit,
            "scored": tokens.say(self.start.scored),
            "words": len(listed),
            "dropped_too_long": listed.dropped.long,
            "dropped_with_a_line_break": listed.dropped.broken,
            "dropped_rows_unlike_the_header": listed.dropped.misfit,
            "dropped_without_a_condition": listed.dropped.unconditioned,
            "words_scored": len(self.words),
            tokens.say("words_with_unknown_characters"): self.n_unknown_words,
            tokens.say("unknown_characters"): self.unknown,
            "words_beyond_the_last_position": self.n_beyond,
            tokens.say("characters_scored"): len(self.scores.nats),
            tokens.say("nats_per_character"): nats,
            tokens.say("bits_per_character"): nats / math.log(2),
            tokens.say("perplexity_per_character"): _exp(nats),
            "nats_per_word": float(by_word.mean()),
            "bits_per_word": float(by_word.mean()) / math.log(2),
            "perplexity_per_word": _exp(float(by_word.mean())),
            "accuracy": self.scores.accuracy,
            "by_part": self._by_part(),
            **({"by_condition": self._by_condition()} if self.words.vocabulary.conditions else {}),
            "most_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[:N_EXTREMES]],
            "least_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[::-1][:N_EXTREMES]],
        }

    def _by_part(self) -> dict[str, Any]:
        """Words and nats a character of the words in training, held out, and new to the model; of the parts there
        are. A loss on words that it was trained on says little of others."""
        if self.known is None:
            return {}
        words = self.words.spelled
        return self._by(self.known.parts(hash_words(words.codes, words.offsets)))

    def _by_condition(self) -> dict[str, Any]:
        """The same of the words that are given each value."""
        given = self.words.codes[self.words.offsets[:-1]] - self.words.vocabulary.first_condition
        return self._by([self.words.vocabulary.conditions[i] for i in given.tolist()])

    def _by(self, kinds: Sequence[str]) -> dict[str, Any]:
        """Words and nats a symbol of each kind that there is; `kinds`: (words,)."""
        kind_of = np.array(kinds)
        found, unit = {}, self.words.vocabulary.tokens.say("nats_per_character")
        for part in dict.fromkeys(kinds):
            mine = kind_of == part
            nats, tokens = self.scores.words[mine].sum(), self.scores.lengths[mine].sum()
            found[part] = {"words": int(mine.sum()), unit: float(nats / tokens)}
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
    if bool(listed.vocabulary.conditions) != bool(vocabulary.conditions):
        raise UserError(
            f"{listed.name} must be read with a condition where the model was trained with one, and only there."
        )
    known, holds_unknown = listed.in_vocabulary(vocabulary)
    counts = np.bincount(listed.codes, minlength=len(listed.vocabulary))[FIRST_CHARACTER:].tolist()
    given = dict(zip(listed.vocabulary.conditions, counts[len(listed.vocabulary.characters) :], strict=True))
    for value in given.keys() - set(vocabulary.conditions):
        vocabulary.condition(value)  # says that it is unknown
    strange = [(c, n) for c, n in zip(listed.vocabulary.characters, counts, strict=False)]
    strange = sorted(((c, n) for c, n in strange if c not in vocabulary.ids), key=lambda pair: -pair[1])
    unit = vocabulary.tokens.unit
    if not len(known):
        raise UserError(
            f"No word of {listed.name} can be scored: each holds a {unit} outside the model's alphabet, "
            f"{strange[0][0]!r} first of all."
        )
    config, n_known = model.config, len(known)
    if config.position == "learned":  # RoPE, or no position at all, goes on as long as a word does
        known = known.at(np.flatnonzero(known.lengths + start.end_fed <= config.block_size))
        if not len(known):
            longest = config.block_size - start.end_fed - bool(vocabulary.conditions)
            raise UserError(
                f"No word of {listed.name} can be scored: each that the model can spell is longer than the {longest} "
                f"{unit}s that its learned positions reach."
            )
    scores = scored(model, known, start)
    return Assessment(known, scores, start, dict(strange), int(holds_unknown.sum()), n_known - len(known), own)


def scored(model: Transformer | Mixture, words: WordList, start: WordStart) -> Scores:
    """Of words in the model's vocabulary, in parts: memory stays flat."""
    how = model.score if isinstance(model, Mixture) else partial(score, model)
    parts = [
        how(Tape.of(words, np.arange(first, min(first + WORDS_AT_ONCE, len(words))), start))
        for first in range(0, len(words), WORDS_AT_ONCE)
    ]
    return Scores(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("lengths", "nats", "correct")))

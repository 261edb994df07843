"""`rungwise eval`: how well a trained model predicts any list."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.config import ListConfig
from rungwise.data.batches import Tape
from rungwise.data.dataset import load_list
from rungwise.data.words import WordList
from rungwise.errors import UserError
from rungwise.inference.score import Scores, score
from rungwise.training.run_dir import Run, Weights
from rungwise.training.run_dir import load as load_run

N_EXTREMES = 10
WORDS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Assessment:
    """What a model thinks of a list."""

    words: WordList
    """The words that can be scored: those whose characters the model knows, in its vocabulary."""
    scores: Scores
    unknown: dict[str, int]
    """Characters outside the alphabet, and how often each stands in the list; the most frequent first."""
    n_unknown_words: int
    """Words that hold one: they cannot be scored."""
    n_beyond: int
    """Words longer than a model with learned positions has places for: they cannot be scored, either."""

    def summary(self, run: Run, listed: WordList) -> dict[str, Any]:
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
            "protocol": run.protocol.name,
            "scored": run.word_start.scored,
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
            "most_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[:N_EXTREMES]],
            "least_likely": [[self.words[i], round(float(each[i]), 4)] for i in order[::-1][:N_EXTREMES]],
        }


def _exp(nats: float) -> float | None:
    """None where no float is so large: JSON has no infinity."""
    return math.exp(nats) if nats < 700 else None


def assess(run: Run, listed: WordList) -> Assessment:
    """Score the words of a list under the run's protocol; repeated words count as often as they stand there."""
    known, holds_unknown = listed.in_vocabulary(run.vocabulary)
    counts = np.bincount(listed.codes, minlength=len(listed.vocabulary))[2:]
    strange = [(c, int(n)) for c, n in zip(listed.vocabulary.characters, counts, strict=True)]
    strange = sorted(((c, n) for c, n in strange if c not in run.vocabulary.characters), key=lambda pair: -pair[1])
    if not len(known):
        raise UserError(
            f"No word of {listed.name} can be scored: each holds a character outside the model's alphabet, "
            f"{strange[0][0]!r} first of all."
        )
    config, n_known = run.model.config, len(known)
    if config.position == "learned":  # RoPE, or no position at all, goes on as long as a word does
        known = known.at(np.flatnonzero(known.lengths + run.word_start.end_fed <= config.block_size))
        if not len(known):
            longest = config.block_size - run.word_start.end_fed
            raise UserError(
                f"No word of {listed.name} can be scored: each that the model can spell is longer than the {longest} "
                "characters that its learned positions reach."
            )
    parts = [
        score(run.model, Tape.of(known, np.arange(first, min(first + WORDS_AT_ONCE, len(known))), run.word_start))
        for first in range(0, len(known), WORDS_AT_ONCE)
    ]
    scores = Scores(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("lengths", "nats", "correct")))
    return Assessment(known, scores, dict(strange), int(holds_unknown.sum()), n_known - len(known))


def evaluate(run_dir: Path, source: ListConfig, each_word: bool, as_json: bool, weights: Weights = "best") -> None:
    """Print a summary; with each_word, a line a word instead, and the summary on standard error."""
    run = load_run(run_dir, weights)
    listed, _ = load_list(source)
    found = assess(run, listed)
    summary = found.summary(run, listed)
    if each_word:
        for line in _lines(found, as_json):
            sys.stdout.write(line + "\n")
    for line in [json.dumps(summary, ensure_ascii=False)] if as_json else _told(summary):
        print(line, file=sys.stderr if each_word else sys.stdout)


def _lines(found: Assessment, as_json: bool) -> Iterator[str]:
    """Nats of each word, and nats a character, in the list's order."""
    if not as_json:
        yield "nats\tnats_per_character\tword"
    for word, nats, n in zip(found.words, found.scores.words.tolist(), found.scores.lengths.tolist(), strict=True):
        value = {"word": word, "nats": round(nats, 5), "nats_per_character": round(nats / n, 5)}
        yield json.dumps(value, ensure_ascii=False) if as_json else f"{nats:.5f}\t{nats / n:.5f}\t{word}"


def _large(value: float | None, digits: int) -> str:
    return "above 1e300" if value is None else f"{value:,.{digits}f}" if value < 1e9 else f"{value:.3g}"


def _told(s: dict[str, Any]) -> Iterator[str]:
    yield f"{s['list']}: {s['words']:,} words, {s['words_scored']:,} scored (protocol {s['protocol']}: {s['scored']})"
    if s["words_with_unknown_characters"]:
        shown = ", ".join(f"{c!r} {n:,}" for c, n in list(s["unknown_characters"].items())[:10])
        yield (
            f"Not scored: {s['words_with_unknown_characters']:,} words with characters outside the alphabet "
            f"({len(s['unknown_characters'])} of them: {shown})"
        )
    if n := s["words_beyond_the_last_position"]:
        yield f"Not scored: {n:,} words longer than the model's learned positions reach"
    for key, what in (
        ("dropped_too_long", "words longer than --max-length"),
        ("dropped_with_a_line_break", "words that hold a line break"),
        ("dropped_rows_unlike_the_header", "rows with more or fewer cells than the header"),
    ):
        if n := s[key]:
            yield f"Not read: {n:,} {what}"
    yield (
        f"{s['nats_per_character']:.4f} nats, {s['bits_per_character']:.4f} bits a character; perplexity "
        f"{_large(s['perplexity_per_character'], 3)} a character, {_large(s['perplexity_per_word'], 1)} a word"
    )
    yield f"{s['accuracy']:.1%} of characters are the model's first guess"
    for title, key in (("Most likely", "most_likely"), ("Least likely", "least_likely")):
        yield f"{title} (nats a character): " + "  ".join(f"{word} {nats:.2f}" for word, nats in s[key])

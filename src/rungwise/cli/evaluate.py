"""`rungwise eval`: what a model thinks of a list, as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from rungwise.cli.flags import changed, reading
from rungwise.cli.options import EvalCommand
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.experiment.folders import run_of
from rungwise.inference.evaluate import Assessment, assess
from rungwise.training.run_dir import load
from rungwise.util import hints


def evaluate(options: EvalCommand) -> None:
    """Print a summary; with --words, a line a word instead, and the summary on standard error."""
    run = load(run_of(options.run_dir), options.weights)
    own, source = run.info.get("list"), reading(options, options.list)
    if isinstance(own, dict) and own.get("lowercase") is True:
        source = source.replace(lowercase=True)
    if (given := run.protocol.given) is not None:
        if source.column is None:
            raise UserError(
                f"Each word of this model is given its {given}: give a table with a column {given!r}, and name the "
                "--column of the words."
            )
        source = source.replace(condition=given)
    listed = words.load(source, run.vocabulary.tokens)
    found = assess(run.model, run.vocabulary, run.word_start, listed, run.known)
    summary = found.summary(run.protocol, listed)
    if options.words:
        for line in _lines(found, options.json):
            sys.stdout.write(line + "\n")
    for line in [json.dumps(summary, ensure_ascii=False)] if options.json else _told(summary):
        print(line, file=sys.stderr if options.words else sys.stdout)
    if not options.json and not options.words and options.list != "-":
        how = changed(options, EvalCommand(run_dir=options.run_dir, list=options.list))
        print(f"Word by word: {hints.command('eval', options.run_dir, options.list, '--words', *how)}")


def _lines(found: Assessment, as_json: bool) -> Iterator[str]:
    """Nats of each word, and nats a symbol, in the list's order."""
    each = found.words.vocabulary.tokens.say("nats_per_character")
    if not as_json:
        yield f"nats\t{each}\tword"
    for word, nats, n in zip(found.words, found.scores.words.tolist(), found.scores.lengths.tolist(), strict=True):
        value = {"word": word, "nats": round(nats, 5), each: round(nats / n, 5)}
        yield json.dumps(value, ensure_ascii=False) if as_json else f"{nats:.5f}\t{nats / n:.5f}\t{word}"


def _large(value: float | None, digits: int) -> str:
    return "above 1e300" if value is None else f"{value:,.{digits}f}" if value < 1e9 else f"{value:.3g}"


def _told(s: dict[str, Any]) -> Iterator[str]:
    unit = s["unit"]
    yield f"{s['list']}: {s['words']:,} words, {s['words_scored']:,} scored (protocol {s['protocol']}: {s['scored']})"
    if n := s[f"words_with_unknown_{unit}s"]:
        unknown = s[f"unknown_{unit}s"]
        shown = ", ".join(f"{c!r} {times:,}" for c, times in list(unknown.items())[:10])
        yield f"Not scored: {n:,} words with {unit}s outside the alphabet ({len(unknown)} of them: {shown})"
    if n := s["words_beyond_the_last_position"]:
        yield f"Not scored: {n:,} words longer than the model's learned positions reach"
    for key, what in (
        ("dropped_too_long", "words longer than --max-length"),
        ("dropped_with_a_line_break", "words that hold a line break"),
        ("dropped_rows_unlike_the_header", "rows with more or fewer cells than the header"),
        ("dropped_without_a_condition", "words without a condition"),
    ):
        if n := s[key]:
            yield f"Not read: {n:,} {what}"
    yield (
        f"{s[f'nats_per_{unit}']:.4f} nats, {s[f'bits_per_{unit}']:.4f} bits a {unit}; perplexity "
        f"{_large(s[f'perplexity_per_{unit}'], 3)} a {unit}, {_large(s['perplexity_per_word'], 1)} a word "
        f"({s['bits_per_word']:.2f} bits)"
    )
    if len(s["by_part"]) > 1 or "training" in s["by_part"]:
        parts = (f"{part} {p[f'nats_per_{unit}']:.4f} ({p['words']:,} words)" for part, p in s["by_part"].items())
        yield f"Nats a {unit} by what the model knows of a word: {', '.join(parts)}"
    if by_condition := s.get("by_condition"):
        parts = (f"{value} {p[f'nats_per_{unit}']:.4f} ({p['words']:,} words)" for value, p in by_condition.items())
        yield f"Nats a {unit} by condition: {', '.join(parts)}"
    yield f"{s['accuracy']:.1%} of {unit}s are the model's first guess"
    for title, key in (("Most likely", "most_likely"), ("Least likely", "least_likely")):
        yield f"{title} (nats a {unit}): " + "  ".join(f"{word} {nats:.2f}" for word, nats in s[key])

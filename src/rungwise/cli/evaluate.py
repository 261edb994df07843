"""`rungwise eval`: what a model thinks of a list, as text or JSON."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from rungwise.cli.flags import changed, configured
from rungwise.cli.options import EvalCommand
from rungwise.config import ListConfig
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.experiment.folders import runs_of
from rungwise.inference.evaluate import Assessment, assess
from rungwise.inference.guesses import Guesses, finite, guess_numbers
from rungwise.training.several import load_several
from rungwise.util import hints


def evaluate(options: EvalCommand) -> None:
    """Print a summary; with --words, a line a word instead, and the summary on standard error."""
    folders = [folder for path in (options.run_dir, *options.mix) for folder in runs_of(path)]
    run, model, about = load_several(folders, options.weights, options.ngram)
    if about:
        print(about, file=sys.stderr)
    source = configured(ListConfig, options, data=options.list)
    source = source.replace(lowercase=options.lowercase or run.lowercase)
    if (given := run.protocol.given) is not None:
        if source.column is None:
            raise UserError(
                f"Each word of this model is given its {given}: give a table with a column {given!r}, and name the "
                "--column of the words."
            )
        source = source.replace(condition=given)
    listed = words.load(source, run.vocabulary.tokens)
    found = assess(model, run.vocabulary, run.word_start, listed, run.known)
    summary, guesses = found.summary(run.protocol, listed), None
    if options.guess_number:
        guesses = guess_numbers(found, model, run.vocabulary, run.sampled_firsts)
        summary["guess_numbers"] = guesses.summary()
    if options.words:
        for line in _lines(found, guesses, options.json):
            sys.stdout.write(line + "\n")
    for line in [json.dumps(summary, ensure_ascii=False)] if options.json else _told(summary):
        print(line, file=sys.stderr if options.words else sys.stdout)
    if not options.json and not options.words and options.list != "-":
        how = changed(options, EvalCommand(run_dir=options.run_dir, list=options.list))
        print(f"Word by word: {hints.command('eval', options.run_dir, options.list, '--words', *how)}")


def _lines(found: Assessment, guesses: Guesses | None, as_json: bool) -> Iterator[str]:
    """Nats of each word, nats a symbol, and its guess number where it was asked for, in the list's order."""
    each = found.words.vocabulary.tokens.say("nats_per_character")
    columns = {"nats": found.scores.words, each: found.scores.words / found.scores.lengths}
    if guesses:
        columns |= {"guess_number": guesses.number, "guess_number_error": guesses.error}
    if not as_json:
        yield "\t".join([*columns, "word"])
    for word, *values in zip(found.words, *(column.tolist() for column in columns.values()), strict=True):
        if as_json:
            named = {name: finite(value, 5) for name, value in zip(columns, values, strict=True)}
            yield json.dumps({"word": word, **named}, ensure_ascii=False)
        else:
            yield "\t".join([*(f"{value:.5f}" for value in values), word])


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
    if guesses := s.get("guess_numbers"):
        number, error = guesses["median"]
        shown = "more than the model writes" if number is None else f"{number:,.0f} (standard error {error:,.0f})"
        yield f"Guesses in the model's order, from {guesses['draws']:,} draws: half of the words need at most {shown}"
        shares = (f"{float(most):,.0f}: {share:.1%}" for most, share in guesses["guessed_within"].items())
        yield f"Words guessed within {', '.join(shares)}"
    for title, key in (("Most likely", "most_likely"), ("Least likely", "least_likely")):
        yield f"{title} (nats a {unit}): " + "  ".join(f"{word} {nats:.2f}" for word, nats in s[key])

"""`rungwise eval`: what a model thinks of a list, as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from rungwise.cli.flags import changed, configured
from rungwise.cli.options import EvalCommand
from rungwise.config import ListConfig
from rungwise.data import words
from rungwise.experiment.folders import runs_of
from rungwise.inference.evaluate import Assessment, assess
from rungwise.training.several import load_several
from rungwise.util import hints


def evaluate(options: EvalCommand) -> None:
    """Print a summary; with --words, a line a word instead, and the summary on standard error."""
    folders = [folder for path in (options.run_dir, *options.mix) for folder in runs_of(path)]
    run, model, about = load_several(folders, options.weights, options.ngram)
    if about:
        print(about, file=sys.stderr)
    own, source = run.info.get("list"), configured(ListConfig, options, data=options.list)
    if isinstance(own, dict) and own.get("lowercase") is True:
        source = source.replace(lowercase=True)
    listed = words.load(source)
    found = assess(model, run.vocabulary, run.word_start, listed, run.known)
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
    if len(s["by_part"]) > 1 or "training" in s["by_part"]:
        parts = (f"{part} {p['nats_per_character']:.4f} ({p['words']:,} words)" for part, p in s["by_part"].items())
        yield f"Nats a character by what the model knows of a word: {', '.join(parts)}"
    yield f"{s['accuracy']:.1%} of characters are the model's first guess"
    for title, key in (("Most likely", "most_likely"), ("Least likely", "least_likely")):
        yield f"{title} (nats a character): " + "  ".join(f"{word} {nats:.2f}" for word, nats in s[key])

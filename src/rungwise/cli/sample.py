"""`rungwise sample`: words from a run, one a line, and nothing else on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rungwise.cli.options import SampleCommand
from rungwise.data.words import load as load_words
from rungwise.errors import UserError
from rungwise.inference.prefix_tree import Drawer
from rungwise.inference.ranked import most_probable
from rungwise.inference.sample import Sampling, Word, generate
from rungwise.inference.wanted import Wanted, draw
from rungwise.training.run_dir import Run, load
from rungwise.util.files import portable


def sample(options: SampleCommand) -> None:
    sampling = Sampling(
        options.temperature,
        options.top_k,
        options.top_p,
        portable(options.prefix),
        options.max_length,
        options.unique,
        options.new_only,
    )
    run = load(options.run_dir, options.weights)
    known = run.known if options.json or options.new_only else None
    first_scored = run.word_start.first_scored
    if options.top:
        _print_most_probable(options, sampling, run)
        return
    wanted = _wanted(options)
    if wanted == Wanted(edits=options.edits):
        words = generate(
            run.model, run.vocabulary, options.n, run.sampled_firsts, sampling, options.seed, known, first_scored
        )
    else:
        if options.n < 0:
            raise UserError(f"n must be at least 0, but is {options.n}.")
        if options.new_only and known is None:
            raise UserError("This run keeps no list of its words, so new ones cannot be told: leave out --new-only.")
        drawer = Drawer(run.model, run.vocabulary, run.sampled_firsts, sampling, options.seed, first_scored)
        words = draw(drawer, wanted, options.n, options.seed, known)
    printed = 0
    for printed, word in enumerate(words, 1):  # noqa: B007
        sys.stdout.write((_as_json(word) if options.json else word.text) + "\n")
    if printed < options.n:
        kind = " and ".join(name for name, on in (("distinct", options.unique), ("new", options.new_only)) if on)
        kind = f"{kind} words" if kind else "words"
        print(f"Only {printed:,} of {options.n:,} {kind} came; the model hardly gives any more.", file=sys.stderr)


def _print_most_probable(options: SampleCommand, sampling: Sampling, run: Run) -> None:
    """With no flag that would change which words come, or their order."""
    if options.top < 0:
        raise UserError(f"--top must be at least 0, but is {options.top}.")
    kept = {"run_dir", "weights", "top", "max_length", "seed", "json"}
    plain = SampleCommand(run_dir=options.run_dir)
    for name, value in vars(plain).items():
        if name not in kept and getattr(options, name) != value:
            raise UserError(f"--top gives the model's own order of all words: leave out --{name.replace('_', '-')}.")
    drawer = Drawer(run.model, run.vocabulary, run.sampled_firsts, sampling, options.seed, run.word_start.first_scored)
    for word in most_probable(drawer, options.top):
        part = None if run.known is None else run.known.parts(run.known.hash([word.text]))[0]
        word = Word(word.text, word.log_likelihood, part)
        sys.stdout.write((_as_json(word) if options.json else word.text) + "\n")


def _wanted(options: SampleCommand) -> Wanted:
    """What is asked for of every word, its lists read."""

    def read(path: Path | None) -> tuple[str, ...]:
        return () if path is None else tuple(load_words(str(path)))

    lengths = tuple(map(len, read(options.like_lengths)))
    texts = (portable(options.suffix), portable(options.contains), options.pattern, options.length)
    return Wanted(*texts, read(options.exclude), read(options.unlike), options.edits, lengths)


def _as_json(word: Word) -> str:
    value = {"word": word.text, "log_likelihood": round(word.log_likelihood, 6), "new": word.new, "part": word.part}
    return json.dumps(value, ensure_ascii=False)

"""`rungwise sample`: words from a run, one a line, and nothing else on standard output."""

import json
import sys
from collections.abc import Iterable

from rungwise.cli.flags import configured
from rungwise.cli.options import SampleCommand
from rungwise.config import ListConfig
from rungwise.data import words as lists
from rungwise.errors import UserError
from rungwise.experiment.folders import runs_of
from rungwise.inference.automaton import combined, pattern
from rungwise.inference.constrained import draw
from rungwise.inference.mixture import Mixture
from rungwise.inference.prefix_tree import Drawer
from rungwise.inference.ranked import most_probable
from rungwise.inference.sample import Sampling, Word, generate
from rungwise.inference.wanted import Wanted, rules_of
from rungwise.model.transformer import Transformer
from rungwise.training.run_dir import Run
from rungwise.training.several import load_several
from rungwise.util.files import portable


def sample(options: SampleCommand) -> None:
    given = None if options.given is None else portable(options.given)
    sampling = configured(Sampling, options, prefix=portable(options.prefix), given=given)
    for name in ("n", "top"):
        if (value := getattr(options, name)) < 0:
            raise UserError(f"{name} must be at least 0, but is {value}.")
    folders = [folder for path in (options.run_dir, *options.mix) for folder in runs_of(path)]
    run, model, about = load_several(folders, options.weights, options.ngram)
    if about:
        print(about, file=sys.stderr)
    asked, printed = options.top or options.n, 0
    for printed, word in enumerate(_words(options, sampling, run, model), 1):  # noqa: B007
        sys.stdout.write((_as_json(word) if options.json else word.text) + "\n")
    if printed < asked:
        kind = " and ".join(name for name, on in (("distinct", options.unique), ("new", options.new_only)) if on)
        kind = f"{kind} words" if kind else "words"
        print(f"Only {printed:,} of {asked:,} {kind} came; the model hardly gives any more.", file=sys.stderr)


def _words(options: SampleCommand, sampling: Sampling, run: Run, model: Transformer | Mixture) -> Iterable[Word]:
    known = run.known if options.json or options.new_only else None
    if options.new_only and known is None:
        raise UserError("This run keeps no list of its words, so new ones cannot be told: leave out --new-only.")
    wanted, firsts, scored = _wanted(options, run.lowercase), run.sampled_firsts, run.word_start.first_scored
    if not options.top and wanted == Wanted(edits=options.edits):
        return generate(model, run.vocabulary, options.n, firsts, sampling, options.seed, known, scored)
    drawer = Drawer(model, run.vocabulary, firsts, sampling, options.seed, scored)
    if wanted.pattern is not None and combined([pattern(wanted.pattern)], run.vocabulary.characters).accepts_all:
        print(f"--pattern {wanted.pattern!r} matches every word: it asks for nothing.", file=sys.stderr)
    if not options.top:
        return draw(drawer, wanted, options.n, options.seed, known)
    plain = SampleCommand(run_dir=options.run_dir)
    for name in ("n", "temperature", "top_k", "top_p", "like_lengths"):
        if getattr(options, name) != getattr(plain, name):
            raise UserError(f"--top gives the model's own order: leave out --{name.replace('_', '-')}.")
    return most_probable(drawer, rules_of(wanted, drawer, known), options.top, known)


def _wanted(options: SampleCommand, lowercase: bool) -> Wanted:
    """What is asked for of every word, its lists read as the run's own was."""
    exclude, unlike, like = (
        () if path is None else tuple(lists.load(ListConfig(str(path), lowercase=lowercase)))
        for path in (options.exclude, options.unlike, options.like_lengths)
    )
    texts = (portable(options.suffix), portable(options.contains), options.pattern, options.length)
    return Wanted(*texts, exclude, unlike, options.edits, tuple(map(len, like)))


def _as_json(word: Word) -> str:
    value = {"word": word.text, "log_likelihood": round(word.log_likelihood, 6), "new": word.new, "part": word.part}
    return json.dumps(value, ensure_ascii=False)

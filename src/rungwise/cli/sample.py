"""`rungwise sample`: words from a run, one a line, and nothing else on standard output."""

from __future__ import annotations

import json
import sys

from rungwise.cli.flags import configured
from rungwise.cli.options import SampleCommand
from rungwise.experiment.folders import runs_of
from rungwise.inference.sample import Sampling, Word, generate
from rungwise.training.several import load_several
from rungwise.util.files import portable


def sample(options: SampleCommand) -> None:
    sampling = configured(Sampling, options, prefix=portable(options.prefix))
    folders = [folder for path in (options.run_dir, *options.mix) for folder in runs_of(path)]
    run, model, about = load_several(folders, options.weights, options.ngram)
    if about:
        print(about, file=sys.stderr)
    known = run.known if options.json or options.new_only else None
    first_scored = run.word_start.first_scored
    words = generate(model, run.vocabulary, options.n, run.sampled_firsts, sampling, options.seed, known, first_scored)
    printed = 0
    for printed, word in enumerate(words, 1):  # noqa: B007
        sys.stdout.write((_as_json(word) if options.json else word.text) + "\n")
    if printed < options.n:
        kind = " and ".join(name for name, on in (("distinct", options.unique), ("new", options.new_only)) if on)
        kind = f"{kind} words" if kind else "words"
        print(f"Only {printed:,} of {options.n:,} {kind} came; the model hardly gives any more.", file=sys.stderr)


def _as_json(word: Word) -> str:
    value = {"word": word.text, "log_likelihood": round(word.log_likelihood, 6), "new": word.new, "part": word.part}
    return json.dumps(value, ensure_ascii=False)

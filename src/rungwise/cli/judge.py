"""`rungwise judge`: generated words against a list, as text, JSON or a page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from rungwise.cli.flags import changed, configured
from rungwise.cli.options import JudgeCommand
from rungwise.config import ListConfig, get_protocol
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.judge import judgement
from rungwise.judge.estimates import Estimate
from rungwise.judge.rules import rule
from rungwise.util import hints
from rungwise.util.files import make_folder, write_text
from rungwise.util.progress import bar

TITLE, VALUE = 30, 23
"""Columns of a figure's name, and of a value with its interval."""


def judge(options: JudgeCommand) -> None:
    """Read both lists, divide the first as its protocol says, and print what `judgement.judge` finds."""
    if options.list == options.samples == "-":
        raise UserError("Only one of LIST and SAMPLES can be - (standard input).")
    protocol, valid = get_protocol(options.protocol), rule(options.valid) if options.valid is not None else None
    source = configured(ListConfig, options, data=options.list)
    listed = words.load(source).spelled  # whatever a word is given, it is one word
    samples = words.load(source.replace(data=options.samples, column=None, condition=None), listed.vocabulary.tokens)
    parts = words.split(listed, protocol)
    train = list(listed.at(parts.train))
    held_out = [word for part in (parts.validation, parts.test) for word in listed.at(part)]
    found = judgement.judge(train, held_out, list(samples), options.seed, valid, bar)
    if options.out is not None:
        from rungwise.report.judgement import page  # matplotlib takes a second

        make_folder(options.out.parent)
        write_text(options.out, page(found, listed.name, samples.name))
    if options.json:
        about = {"list": listed.name, "samples_from": samples.name, "protocol": protocol.name}
        print(json.dumps(about | found.summary(), ensure_ascii=False))
        return
    print(f"{listed.name}: {len(train):,} training and {len(held_out):,} held-out words (protocol {protocol.name})")
    print(f"{samples.name}: {len(samples):,} words{samples.dropped}")
    for line in _told(found):
        print(line)
    if options.out is not None:
        print(f"Wrote {options.out}: open it in any browser.")
    elif "-" in (options.samples, options.list):
        print("As a page with plots: the same with --out judge.html")
    else:
        how = changed(options, JudgeCommand(list=options.list, samples=options.samples))
        again = hints.command("judge", options.list, options.samples, *how, "--out", "judge.html")
        print(f"As a page with plots: {again}")


def _told(found: judgement.Judgement) -> Iterator[str]:
    """A table of 80 columns: of the generated words, and of held-out ones."""
    yield f"\n{'':{TITLE}}  {'generated (95 %)':{VALUE}}  real held-out words"
    for figure in found.figures:
        title = figure.title if figure.unit == "share" else f"{figure.title}, {figure.unit}"
        first, *rest = textwrap.wrap(title, TITLE)
        own, real = shown(figure.samples), shown(figure.floor) if figure.floor else "-"
        yield f"{first:{TITLE}}  {own:{VALUE}}  {real}"
        yield from (f"  {line}" for line in rest)
    yield ""
    yield from found.notes
    often = ", ".join(f"{word} {n:,}" for word, n in found.most_frequent[:5])
    yield f"Most frequent: {often}"


def shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (f"{x:.4f}"[:6].rstrip(".") if x < 1e6 else f"{x:.0e}" for x in vars(estimate).values())
    return f"{value} ({low}, {high})"

"""`rungwise play`: the page that looks inside trained models."""

from __future__ import annotations

from rungwise.cli.options import PlayCommand
from rungwise.play import page


def play(options: PlayCommand) -> None:
    page.play(
        options.runs,
        options.out,
        options.data,
        options.seed,
        options.precision,
        options.chapters,
        options.serve,
        options.port,
        options.empty,
    )

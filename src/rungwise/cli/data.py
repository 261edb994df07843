"""`rungwise data`: what a list holds."""

from __future__ import annotations

from rungwise.cli.flags import changed
from rungwise.cli.options import DataCommand, OfList
from rungwise.config import ListConfig
from rungwise.data.describe import show
from rungwise.util import hints


def data(options: DataCommand) -> None:
    source = ListConfig(options.list, options.encoding, options.column, options.max_length, options.lowercase)
    show(source, options.json, options.counts)
    if not options.json and options.list != "-":
        print(f"Train on it: {hints.command('train', '--data', options.list, *changed(options, OfList()))}")

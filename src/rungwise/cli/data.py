"""`rungwise data`: what a list holds."""

from __future__ import annotations

from rungwise.cli.options import DataCommand
from rungwise.config import ListConfig
from rungwise.data.describe import show


def data(options: DataCommand) -> None:
    source = ListConfig(options.list, options.encoding, options.column, options.max_length)
    show(source, options.json, options.counts)

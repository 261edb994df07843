"""`rungwise data`: what a list holds."""

from rungwise.cli.flags import changed, configured
from rungwise.cli.options import DataCommand, OfNewList
from rungwise.config import ListConfig
from rungwise.data.describe import show
from rungwise.util import hints


def data(options: DataCommand) -> None:
    show(configured(ListConfig, options, data=options.list), options.json, options.counts)
    if not options.json and options.list != "-":
        print(f"Train on it: {hints.command('train', '--data', options.list, *changed(options, OfNewList()))}")

"""`rungwise ladder`: the rungs, their diffs and their reasons."""

from rich.console import Console
from rich.table import Table

from rungwise.cli.options import LadderCommand
from rungwise.ladder import RUNGS
from rungwise.util import hints


def ladder(_: LadderCommand) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("rung", "builds on", "set", "changes", "why"):
        table.add_column(name)
    for rung in RUNGS.values():
        changes = ", ".join(f"{k}={v}" for k, v in rung.changes.items())
        table.add_row(rung.name, rung.on or "", rung.group, changes, rung.why)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"Train and compare them: {hints.command('climb', '--rungs', 'all')}")

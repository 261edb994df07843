"""`rungwise report`: results as two documents."""

from __future__ import annotations

from rungwise.cli.options import ReportCommand
from rungwise.errors import UserError
from rungwise.report.build import write


def report(options: ReportCommand) -> None:
    if not options.paths:
        raise UserError("Nothing to report on; give a climb's directory, such as runs/names-article.")
    markdown, page = write(options.paths, options.out, options.peers)
    print(f"Wrote {markdown}\nWrote {page}: open it in any browser.")

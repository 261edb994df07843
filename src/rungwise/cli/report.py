"""`rungwise report`: results as two documents."""

from __future__ import annotations

from rungwise.cli.options import ReportCommand
from rungwise.experiment.results import latest
from rungwise.report.build import write


def report(options: ReportCommand) -> None:
    markdown, page = write(options.paths or (latest(),), options.out, options.peers)
    print(f"Wrote {markdown}\nWrote {page}: open it in any browser.")

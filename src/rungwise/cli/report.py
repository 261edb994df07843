"""`rungwise report`: results as two documents."""

from __future__ import annotations

from rungwise.cli.options import ReportCommand
from rungwise.errors import UserError
from rungwise.experiment.folders import climb_of, latest
from rungwise.report.build import write
from rungwise.training.run_dir import CONFIG
from rungwise.util import hints


def report(options: ReportCommand) -> None:
    paths = [climb_of(path) for path in options.paths] or [latest()]
    if runs := [path for path in paths if (path / CONFIG).exists()]:
        raise UserError(
            f"{runs[0]} is a run of rungwise train, and a report compares rungs. Look at it: "
            f"{hints.command('play', runs[0])}"
        )
    markdown, page = write(paths, options.out, options.peers)
    print(f"Wrote {markdown}\nWrote {page}: open it in any browser.")

"""`rungwise report`: results as two documents."""

from rungwise.cli.options import ReportCommand
from rungwise.experiment.folders import climb_of, latest
from rungwise.report.build import write


def report(options: ReportCommand) -> None:
    paths = [climb_of(path) for path in options.paths] or [latest()]
    markdown, page = write(paths, options.out, options.peers)
    print(f"Wrote {markdown}\nWrote {page}: open it in any browser.")

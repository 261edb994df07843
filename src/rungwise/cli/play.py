"""`rungwise play`: the page that looks inside trained models."""

from pathlib import Path

from rungwise.cli.options import PlayCommand
from rungwise.experiment.folders import latest
from rungwise.play.collect import find, find_list
from rungwise.play.page import PAGE, build, serve, write
from rungwise.play.trainable import empty
from rungwise.util.files import write_text


def play(options: PlayCommand) -> None:
    """Write the page of a climb or of runs, by default of the latest climb, or one without models; say where it is."""
    if options.empty:
        out, page = options.out or Path(PAGE), build(empty()).encode()
        write_text(out, page.decode())
        what, then = "no model yet", ", and press Train"
    else:
        folders = options.runs or (latest(),)
        found, out = find(folders, options.seed), options.out or folders[0] / PAGE
        page = write(out, found, find_list(found[0].run, options.data), options.precision, options.chapters)
        what, then = f"{len(found)} rung{'s' * (len(found) > 1)}", ""
    print(f"Wrote {out}: {what}, {len(page) / 1e6:.1f} MB. Open it in any browser{then}.")
    if options.serve:
        serve(page, options.port)

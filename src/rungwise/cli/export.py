"""`rungwise export`: a run in another format."""

from rungwise import export as exporting
from rungwise.cli.options import ExportCommand
from rungwise.errors import UserError
from rungwise.experiment.folders import run_of


def export(options: ExportCommand) -> None:
    if options.ngram:
        raise UserError(
            "A mixture with an n-gram model is no single model, and no other library holds one: distil it into a model "
            "of its own, which has learned both: rungwise train --ensemble 4 --distill"
        )
    out, made = exporting.export(run_of(options.run_dir), options.format, options.out)
    print(f"Wrote {out}: {made.what}. Its logits differ from the model's by at most {made.error:.1e}.")
    print(f"How to load it: {out / 'README.md'}")

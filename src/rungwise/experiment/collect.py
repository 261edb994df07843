"""A climb's run directories gathered into two small tables in its directory. No torch here.

words.parquet holds what every run thinks of every test word, for intervals over words; curves.parquet how every run
learned. They are what is committed with results.jsonl: the run directories, with their weights, are not.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from rungwise.errors import UserError
from rungwise.experiment.results import RESULTS, read
from rungwise.training.run_dir import read_metrics
from rungwise.util.files import atomic

SCORES = "scores.parquet"
"""Of one run: word (index in the list), tokens (scored ones), nats (summed over them)."""
WORDS = "words.parquet"
"""Of a climb: word, tokens, and a column RUNG/SEED of summed nats (float32) for every run of the first split."""
CURVES = "curves.parquet"
"""Of a climb: rung, seed, step, and train_loss: nats a token, mean over the batches of the steps that end there."""


def collect(out: Path) -> None:
    """Write words.parquet and curves.parquet from the run directories RUNG/seed-N under `out`.

    Runs on further splits have other test words and are not in words.parquet: what words add to an interval is then in
    the spread between splits. The same runs give the same bytes. A climb without runs leaves nothing behind.
    """
    runs = sorted(out.glob("*/seed-*"), key=lambda run: (run.parent.name, _seed(run)))
    results = read(out / RESULTS)
    first_split = min((r.split_seed for r in results), default=0)
    elsewhere = {(r.rung, r.seed) for r in results if r.split_seed != first_split}
    first = [run for run in runs if (run.parent.name, _seed(run)) not in elsewhere]
    for name, frame in ((WORDS, _words(first)), (CURVES, _curves(runs))):
        if frame is not None:
            write_frame(out / name, frame)


def _seed(run: Path) -> int:
    number = run.name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1


def _words(runs: list[Path]) -> pl.DataFrame | None:
    wide: pl.DataFrame | None = None
    for run in runs:
        if not (run / SCORES).exists():
            continue
        scores = read_frame(run / SCORES, ("word", "tokens", "nats"))
        words = scores.select("word", "tokens")
        if wide is None:
            wide = words
        if not words.equals(wide.select("word", "tokens")):
            raise UserError(f"{run / SCORES} is of other test words than the climb's other runs; was it copied there?")
        wide = wide.with_columns(scores["nats"].alias(f"{run.parent.name}/{_seed(run)}"))
    return wide


def _curves(runs: list[Path]) -> pl.DataFrame | None:
    frames = []
    for run in runs:
        if lines := read_metrics(run):
            who = (pl.lit(run.parent.name).alias("rung"), pl.lit(_seed(run), pl.Int32).alias("seed"))
            schema = {"step": pl.Int32, "train_loss": pl.Float32}
            frames.append(pl.DataFrame(lines, schema=schema).select(*who, "step", "train_loss"))
    return pl.concat(frames) if frames else None


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Opened here, as for reading: polars takes no path that is not UTF-8."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        frame.write_parquet(file, compression="zstd")


def read_frame(path: Path, columns: Sequence[str] = ()) -> pl.DataFrame:
    """A Parquet file of ours. A damaged one, one without these columns, and one that holds anything but finite numbers
    in a column other than "rung" is one clear error."""
    try:
        with path.open("rb") as file:
            frame = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    for name in columns:
        if name not in frame.columns:
            raise UserError(f"{path} has no column {name!r}.")
    for column in frame.iter_columns():
        fine = column.dtype == pl.String if column.name == "rung" else column.dtype.is_numeric()
        if not fine or column.null_count() or (column.dtype.is_float() and not column.is_finite().all()):
            kind = "text" if column.name == "rung" else "finite numbers"
            raise UserError(f"{path}: column {column.name!r} must hold {kind}.")
    return frame

"""Take what a climb measured into results/: python -m scripts.keep_results runs/names-article results/names-article

results/ keeps lines, per-word losses and curves, never weights. A (rung, seed) that is there already gives way to the
new one; the rest stays. Both must be of one list, protocol and first split; a folder that is not there is begun.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import polars as pl

from rungwise.errors import UserError
from rungwise.experiment.baselines import BASELINES
from rungwise.experiment.collect import CURVES, WORDS, collect, read_frame, write_frame
from rungwise.experiment.results import RESULTS, SETTINGS
from rungwise.util.files import make_folder, read_json, read_lines, write_json, write_lines


def keep(climb: Path, kept: Path, rungs: set[str]) -> int:
    """How many results were taken; `rungs`: these alone, where any is named."""
    collect(climb)
    if not kept.exists():
        _begin(climb, kept)
    if read_json(climb / SETTINGS) != read_json(kept / SETTINGS):
        raise UserError(f"{climb} and {kept} are not of one list, protocol, split and number of steps.")
    new = [line for line in read_lines(climb / RESULTS) if not rungs or line["rung"] in rungs]
    taken = {(line["rung"], line["seed"]) for line in new}
    old = [line for line in read_lines(kept / RESULTS) if (line["rung"], line["seed"]) not in taken]
    theirs, mine = read_frame(climb / WORDS), read_frame(kept / WORDS)
    columns = [
        name for rung, seed in sorted(taken) if (name := f"{rung}/{seed}") in theirs.columns
    ]  # the first split's
    if not theirs.select("word", "tokens").equals(mine.select("word", "tokens")):
        raise UserError(f"{climb} and {kept} are not of the same test words.")
    words = mine.drop(columns, strict=False).with_columns(theirs.select(columns))
    who = pl.DataFrame(
        {"rung": [r for r, _ in taken], "seed": [s for _, s in taken]}, schema_overrides={"seed": pl.Int32}
    )
    curves = pl.concat(
        [
            read_frame(kept / CURVES).join(who, on=["rung", "seed"], how="anti"),
            read_frame(climb / CURVES).join(who, on=["rung", "seed"], how="semi"),
        ]
    ).sort("rung", "seed", "step")
    for name, frame in ((WORDS, words), (CURVES, curves)):
        write_frame(kept / name, frame)
    write_lines(kept / RESULTS, [*old, *new])
    return len(new)


def _begin(climb: Path, kept: Path) -> None:
    """A folder without results, of the same list, protocol and test words."""
    make_folder(kept)
    for path in (climb / SETTINGS, climb / BASELINES):
        if path.exists():
            write_json(kept / path.name, read_json(path))
    write_lines(kept / RESULTS, [])
    write_frame(kept / WORDS, read_frame(climb / WORDS).select("word", "tokens"))
    write_frame(kept / CURVES, read_frame(climb / CURVES).clear())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("climb", type=Path, help="a climb's directory, with its runs")
    parser.add_argument("kept", type=Path, help="the directory under results/")
    parser.add_argument("--rungs", default="", help="these alone, comma-separated")
    given = parser.parse_args()
    try:
        print(json.dumps({"taken": keep(given.climb, given.kept, set(filter(None, given.rungs.split(","))))}))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Which directory a command means: a climb, one of its runs, or the latest climb there is. No torch here."""

import sys
from pathlib import Path

from rungwise.errors import UserError
from rungwise.experiment.ladder_file import of_climb
from rungwise.experiment.results import RESULTS, SETTINGS
from rungwise.ladder import RUNGS
from rungwise.training.run_dir import CONFIG
from rungwise.util import hints


def latest(parent: Path = Path("runs")) -> Path:
    """The climb in which something was measured last."""
    climbs = [path for path in parent.glob("*") if (path / SETTINGS).exists() and (path / RESULTS).exists()]
    if not climbs:
        raise UserError(f"No climb under {parent}/; run rungwise climb first, or give a run's directory.")
    return max(climbs, key=lambda path: (path / RESULTS).stat().st_mtime)


def members(folder: Path) -> list[Path]:
    """The runs of a directory that `rungwise train --ensemble` wrote, by seed; of any other directory none."""
    if (folder / CONFIG).exists() or (folder / SETTINGS).exists():
        return []
    return sorted((path.parent for path in folder.glob(f"seed-*/{CONFIG}")), key=lambda path: (len(path.name), path))


def runs_of(folder: Path) -> list[Path]:
    """A run's own directory, or all of an ensemble."""
    return members(folder) or [run_of(folder)]


def run_of(folder: Path) -> Path:
    """A run's own directory; of a climb's, that of the first seed of its highest rung, and a word about it."""
    if several := members(folder):
        raise UserError(
            f"{folder} holds {len(several)} runs, and their mean is not a single model: give one of them, or distil "
            f"them into one model: {hints.command('train', '--ensemble', len(several), '--distill')}"
        )
    if not (folder / SETTINGS).exists():
        return folder
    of_climb(folder)  # its own rungs
    there = {path.parent.parent.name for path in folder.glob(f"*/seed-*/{CONFIG}")}
    rungs = [name for name in RUNGS if name in there]
    if not rungs:
        raise UserError(f"{folder} is a climb without runs; climb again, into another directory.")
    on_the_ladder = [name for name in rungs if RUNGS[name].group in ("article", "scaling", "own")]
    chosen = folder / (on_the_ladder or rungs)[-1]
    run = min((path.parent for path in chosen.glob(f"seed-*/{CONFIG}")), key=lambda path: (len(path.name), path.name))
    print(f"{folder} is a climb: taking its highest rung, {run}.", file=sys.stderr)
    return run


def climb_of(folder: Path) -> Path:
    """A climb's own directory; of one of its runs', that of the climb."""
    within = folder.parent.parent
    return within if (folder / CONFIG).exists() and (within / SETTINGS).exists() else folder

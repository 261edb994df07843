"""How short may a list be? The steps of the ladder on parts of the article's list, and what moves them.

Run: python -m scripts.short_lists [--work runs/short]. Writes results/short-lists.json, of which table() makes the
table in docs/lab-notes.md.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rungwise.analysis.evidence import read
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.ladder import select
from rungwise.report.sections import steps
from rungwise.util.files import read_json
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "short-lists.json"
SIZES = (300, 1_000, 3_000, 10_000, 32_033)
SEEDS = range(3)


def measure(n: int, work: Path, n_steps: int | None) -> dict[str, Any]:
    whole = words.load("names")
    chosen = np.sort(np.random.default_rng(0).permutation(len(whole))[:n])
    listed = words.from_words([whole[i] for i in chosen], f"{n} names")
    experiment = Experiment(listed, get_protocol("article"), select("article"), SEEDS, n_steps)
    run(experiment, work / str(n), make_pool(experiment.how))
    measured = read([work / str(n)]).main
    found = steps(measured, "article")
    return {
        "test_words": len(experiment.parts.test),
        "by_seed": median((s.seeds.high - s.seeds.low) / 2 for s in found),
        "by_word": median((s.words.high - s.words.low) / 2 for s in found),
        "best": min(float(np.mean(list(measured.values(rung.name).values()))) for rung in select("article")),
        "counting": min(losses["test_loss"] for losses in measured.baselines.values()),
    }


def table() -> str:
    found = read_json(FILE)
    columns = {"names": "--:", "test words": "--:", "other seeds": "--:", "other test words": "--:"}
    rows = (
        (f"{int(n):,}", f"{row['test_words']:,}", f"± {row['by_seed']:.3f}", f"± {row['by_word']:.3f}")
        for n, row in found["sizes"].items()
    )
    seeds = found["seeds"]
    return common.table(columns, rows) + (
        f"\nHalf of the 95 % interval of a step in test loss, nats a character: the median of the steps, {seeds} "
        "seeds, protocol article.\n"
    )


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--work", type=Path, default=Path("runs/short"))
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    sizes = {str(n): measure(n, given.work, given.steps) for n in SIZES}
    common.keep(given.out, {"sizes": sizes, "seeds": len(SEEDS), **provenance(), "date": now()})


if __name__ == "__main__":
    main()

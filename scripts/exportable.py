"""Does it cost anything that the default model can be exported to transformers? python -m scripts.exportable

The article's final recipe against the same with a final norm and without the head's bias, as GPT-NeoX's class wants
them: 5 seeds, list names, protocol strict. Writes results/exportable.json; a stopped climb under --work goes on.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rungwise.analysis.stats import equivalence, paired
from rungwise.config import get_protocol
from rungwise.config.settings import EXPORTABLE
from rungwise.data import words
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import by_rung, paired_losses
from rungwise.ladder import Rung, get_rung
from rungwise.util.files import read_json
from rungwise.util.provenance import now, provenance
from scripts import common

FILE = common.RESULTS / "exportable.json"
SEEDS = range(5)
OTHER = Rung("final-exportable", "final, exportable", "side", "final", EXPORTABLE, "GPT-NeoX's class holds it.", "")


def table() -> str:
    """Both recipes' losses, and what the change costs."""
    found = read_json(FILE)
    difference, losses = found["difference"], found["test_losses"]
    rows = [(name, f"{fmean(values):.4f}") for name, values in losses.items()]
    half = (difference["high"] - difference["low"]) / 2
    return common.table({"recipe": "---", "test loss": "--:"}, rows) + (
        f"\nMeans of {difference['n']} seeds, nats a character; the difference: {difference['mean']:+.4f} ± {half:.4f} "
        f"(95 % CI, paired by seed): within ±{found['equivalent_within']:g} by an equivalence test "
        f"(p = {found['p']:.3f}).\n"
    )


def main() -> None:
    arguments = common.parser(__doc__, FILE)
    arguments.add_argument("--work", type=Path, default=Path("runs/exportable"))
    arguments.add_argument("--steps", type=int)
    given = arguments.parse_args()
    rungs = [get_rung("final"), OTHER]
    experiment = Experiment(words.load("names"), get_protocol("strict"), rungs, SEEDS, given.steps)
    groups = by_rung(run(experiment, given.work, make_pool(experiment.how)))
    before, after = paired_losses(groups["final"], groups[OTHER.name])
    found, margin = paired(before, after), 0.01
    common.keep(
        given.out,
        {
            "list": experiment.words.name,
            "protocol": experiment.protocol.name,
            "steps": groups["final"][0].steps,
            "changes": EXPORTABLE,
            "test_losses": {"final": list(before), OTHER.name: list(after)},
            "difference": {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n},
            "equivalent_within": margin,
            "p": equivalence([b - a for a, b in zip(before, after, strict=True)], margin).p,
            **provenance(),
            "date": now(),
        },
    )


if __name__ == "__main__":
    main()

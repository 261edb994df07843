"""The native engine beside PyTorch on every family's rungs, one thread: python -m scripts.bench_families

Interleaved rounds of PyTorch with one seed, PyTorch with five seeds stacked (a seed's share), and the native engine.
CPU time, which other programs disturb least. Writes results/performance/families.json, of which table() makes the table
in docs/performance.md.
"""

from __future__ import annotations

import statistics

from rungwise.config import EngineConfig, get_protocol
from rungwise.data import words
from rungwise.ladder import RUNGS, get_rung
from rungwise.util.files import read_json
from scripts import common

FILE = common.PERFORMANCE / "families.json"
STACKED = 5
NATIVE_STEPS = 64


def measure(name: str, rounds: int, steps: int) -> dict[str, float]:
    """ms a step and seed, medians of the rounds."""
    from rungwise.engine.select import make_engine

    listed, rung = words.load("names"), get_rung(name)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    tape = common.tape(listed, get_protocol("strict"))
    hows = {"torch": ("torch", 1, steps), "stacked": ("torch", STACKED, steps), "native": ("native", 1, NATIVE_STEPS)}
    engines = {
        how: make_engine(model, rung.train, tape, range(n), EngineConfig(engine, "cpu", compile="off"), threads=1)
        for how, (engine, n, _) in hows.items()
    }
    times: dict[str, list[float]] = {how: [] for how in hows}
    for i in range(rounds + 1):  # the first one warms up
        for how, (_, n, of_round) in hows.items():
            run = engines[how].run
            spent = common.cpu_seconds(lambda run=run, i=i, k=of_round: run(i * NATIVE_STEPS, [1e-3] * k))
            times[how].append(spent * 1000 / of_round / n)
    return {how: round(statistics.median(found[1:]), 4) for how, found in times.items()}


def table() -> str:
    """What was measured, a row a rung."""
    rows = [
        (
            RUNGS[name].title,
            f"{ms['torch']:.2f}",
            f"{ms['stacked']:.2f}",
            f"{ms['native']:.3f}",
            *(f"{ms[how] / ms['native']:.0f} x" for how in ("torch", "stacked")),
        )
        for name, ms in read_json(FILE)["ms"].items()
    ]
    columns = ("PyTorch, ms a step", f"{STACKED} seeds stacked, each", "native", "PyTorch / native", "stacked / native")
    return common.table({"rung": "---"} | dict.fromkeys(columns, "--:"), rows)


def main() -> None:
    import torch

    parser = common.parser(__doc__, FILE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="of a round, under PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in [name for name, rung in RUNGS.items() if rung.group == "family"]:
        found[name] = measure(name, options.rounds, options.steps)
        print(name, found[name], flush=True)
    common.keep(options.out, {"rounds": options.rounds, "ms": found})


if __name__ == "__main__":
    main()

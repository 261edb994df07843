"""What torch.compile costs and gives, engine torch, one thread: python -m scripts.bench_compile

Every rung and number of seeds in a process of its own with an empty cache, then in another with the cache that it left;
plain and compiled steps take turns there. Writes results/performance/compile.json, of which table() makes the table in
docs/performance.md. CPU time, which other programs disturb least; warm-up by the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

from rungwise.config import EngineConfig, get_protocol
from rungwise.data import words
from rungwise.ladder import RUNGS, get_rung
from rungwise.util.files import read_json
from scripts import common

FILE = common.PERFORMANCE / "compile.json"
POINTS = [("baseline", 1), ("baseline", 5), ("gelu", 1), ("gelu", 5), ("final", 1), ("final", 5)]
"""Rung, seeds."""


def measure(rung_name: str, replicas: int, rounds: int, steps: int) -> dict[str, float]:
    """Seconds of warm-up, and ms a step and seed, plain and compiled, medians of interleaved rounds."""
    import torch

    from rungwise.engine.loop import Engine
    from rungwise.engine.select import make_engine

    torch.set_num_threads(1)
    listed, rung = words.load("names"), get_rung(rung_name)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    tape = common.tape(listed, get_protocol("article"))
    engines: dict[str, Engine] = {}

    def warm_up() -> None:
        for how in ("on", "off"):
            config = EngineConfig("torch", "cpu", compile=how)
            engines[how] = make_engine(model, rung.train, tape, range(replicas), config)

    warm_up_seconds = common.seconds(warm_up)
    times: dict[str, list[float]] = {"on": [], "off": []}
    for i in range(rounds):
        for how, engine in engines.items():
            spent = common.cpu_seconds(lambda engine=engine, i=i: engine.run(i * steps, [1e-3] * steps))
            times[how].append(spent * 1000 / steps / replicas)
    plain, compiled = (round(statistics.median(times[how]), 3) for how in ("off", "on"))
    return {"warm_up_s": round(warm_up_seconds, 1), "plain_ms": plain, "compiled_ms": compiled}


def table() -> str:
    """What was measured, a row a rung and number of seeds."""
    rows = []
    for point in read_json(FILE)["points"]:
        plain, compiled = point["plain_ms"], point["compiled_ms"]
        warm_up = (f"{point['warm_up_s']:.0f} s", f"{point['warm_up_again_s']:.0f} s")
        title = RUNGS[point["rung"]].title
        rows.append(
            (title, point["replicas"], *warm_up, f"{plain:.2f}", f"{compiled:.2f}", f"{1 - compiled / plain:.0%}")
        )
    columns = {"rung": "---", "seeds": "--:", "warm-up, cold": "--:", "warm-up, kept": "--:"}
    return common.table(columns | {"plain, ms a step and seed": "--:", "compiled": "--:", "saved": "--:"}, rows)


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16, help="of a round; rounds times steps at most 256")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(options.point[0], int(options.point[1]), options.rounds, options.steps)))
        return
    points = []
    how = ("--rounds", options.rounds, "--steps", options.steps)
    for rung, replicas in POINTS:
        with tempfile.TemporaryDirectory() as cache:
            cold, kept = (
                common.in_a_process("bench_compile", "--point", rung, replicas, *how, XDG_CACHE_HOME=cache)
                for _ in range(2)
            )
        points.append({"rung": rung, "replicas": replicas, "warm_up_again_s": kept["warm_up_s"], **cold})
        print(points[-1], flush=True)
    common.keep(options.out, {"rounds": options.rounds, "points": points})


if __name__ == "__main__":
    main()

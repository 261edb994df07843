"""What torch.compile costs and gives, engine torch, one thread: scripts/bench_compile.py --out results/performance

Every rung and number of seeds in a process of its own with an empty cache, then in another with the cache that it left;
plain and compiled steps take turns there. Writes compile.json, of which write_docs.py makes a table. CPU time, which
other programs disturb least; warm-up by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POINTS = [("baseline", 1), ("baseline", 5), ("gelu", 1), ("gelu", 5), ("final", 1), ("final", 5)]


def measure(rung_name: str, replicas: int, rounds: int, steps: int) -> dict[str, float]:
    """Seconds of warm-up, and ms a step and seed, plain and compiled, medians of interleaved rounds."""
    import torch

    from rungwise.config import EngineConfig, get_protocol
    from rungwise.data import words
    from rungwise.data.batches import Tape
    from rungwise.engine.select import make_engine
    from rungwise.ladder import get_rung

    torch.set_num_threads(1)
    listed, protocol, rung = words.load("names"), get_protocol("article"), get_rung(rung_name)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    began = time.perf_counter()
    engines = {
        how: make_engine(model, rung.train, tape, range(replicas), EngineConfig("torch", "cpu", compile=how))
        for how in ("on", "off")
    }
    seconds = time.perf_counter() - began
    times: dict[str, list[float]] = {"on": [], "off": []}
    for i in range(rounds):
        for how, engine in engines.items():
            began = time.process_time()
            engine.run(i * steps, [1e-3] * steps)
            times[how].append((time.process_time() - began) * 1000 / steps / replicas)
    plain, compiled = (round(statistics.median(times[how]), 3) for how in ("off", "on"))
    return {"warm_up_s": round(seconds, 1), "plain_ms": plain, "compiled_ms": compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16, help="of a round; rounds times steps at most 256")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(options.point[0], int(options.point[1]), options.rounds, options.steps)))
        return
    found = []
    for rung, replicas in POINTS:
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, __file__, "--point", rung, str(replicas)]
            command += ["--rounds", str(options.rounds), "--steps", str(options.steps)]
            cold, kept = (
                json.loads(
                    subprocess.run(
                        command, check=True, stdout=subprocess.PIPE, env=os.environ | {"XDG_CACHE_HOME": cache}
                    ).stdout.splitlines()[-1]
                )
                for _ in range(2)
            )
        found.append({"rung": rung, "replicas": replicas, "warm_up_again_s": kept["warm_up_s"], **cold})
        print(found[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compile.json").write_text(json.dumps({"rounds": options.rounds, "points": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

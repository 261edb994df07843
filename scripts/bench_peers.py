"""Our training and sampling beside makemore's, in one interleaved run: python scripts/bench_peers.py PATH/TO/makemore

PATH/TO/makemore is a checkout of karpathy/makemore; its own script trains, as it is, and reports its own step times.
Timings of a shared machine are noisy: every round measures all of them, one after the other, and the medians and
their ratios are what is printed and, with --out, written.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rungwise import words
from rungwise.batches import Tape
from rungwise.config import get_protocol
from rungwise.generate import generate
from rungwise.lab.climb import cores
from rungwise.lab.ladder import get_rung
from rungwise.model import Transformer
from rungwise.train import learning_rate, make_engine

SIZES = {"202,780 parameters": ("scaled", ()), "52,252 parameters": ("gelu", ("--n-embd", "32", "--n-head", "2"))}


def theirs(folder: Path, data: Path, steps: int, options: tuple[str, ...]) -> float:
    """makemore's median step time, ms, as its script prints it; the first tenth is left out."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "makemore.py",
            "-i",
            str(data.resolve()),
            "-o",
            out,
            "--max-steps",
            str(steps),
            *options,
        ]
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = [float(x) for x in re.findall(r"step time ([\d.]+)ms", printed)]
    return statistics.median(found[len(found) // 10 :])


def ours(arguments: tuple[str, int, int, str]) -> float:
    """Seconds that one process takes for `steps` steps of its replicas, the list read and the engine warm."""
    name, replicas, steps, engine_name = arguments
    torch.set_num_threads(1)
    listed, protocol = words.load("names"), get_protocol("makemore")
    rung = get_rung(name)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    engine = make_engine(model, rung.train, tape, range(replicas), engine_name)
    engine.run(0, [1e-3] * 16)
    began = time.perf_counter()
    for first in range(256, 256 + steps, 256):
        engine.run(first, [learning_rate(rung.train, first)] * min(256, 256 + steps - first))
    return time.perf_counter() - began


def our_step(name: str, replicas: int, steps: int, engine: str) -> float:
    """ms a step and replica with the replicas spread over the cores, one thread each."""
    n = min(cores(), replicas)
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        seconds = max(pool.map(ours, [(name, replicas // n, steps, engine)] * n))
    return seconds * 1000 / steps / replicas


def their_names(folder: Path, n: int) -> float:
    """Names a second of makemore's generate(), as many at once as asked for: its transformer, all cores."""
    spec = importlib.util.spec_from_file_location("makemore", folder / "makemore.py")
    assert spec and spec.loader
    makemore: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(makemore)
    model = makemore.Transformer(makemore.ModelConfig(vocab_size=27, block_size=16)).eval()
    began = time.perf_counter()
    makemore.generate(model, torch.zeros(n, 1, dtype=torch.long), 15, do_sample=True)
    return n / (time.perf_counter() - began)


def our_names(run_dir: Path | None, n: int) -> float:
    """Names a second of ours, finished ones leaving the batch; an untrained model where no run is given."""
    listed = words.load("names")
    if run_dir:
        from rungwise.runs import load

        model = load(run_dir).model
    else:
        model = Transformer(get_rung("final").model.replace(block_size=listed.block_size))
    began = time.perf_counter()
    for _ in generate(model, listed.vocabulary, n, None):
        pass
    return n / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("makemore", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--run", type=Path, help="a trained run of ours to sample from")
    parser.add_argument("--out", type=Path, help="write the medians here, as JSON")
    options = parser.parse_args()
    data = words.names_path()
    measured: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        measured.setdefault(what, []).append(value)
        print(f"{what}: {value:.3g}", flush=True)

    for _ in range(options.rounds):
        for size, (rung, flags) in SIZES.items():
            note(f"makemore, {size}, ms a step", theirs(options.makemore, data, options.steps, flags))
            for replicas in (1, 8):
                value = our_step(rung, replicas, options.steps, options.engine)
                note(f"rungwise, {size}, {replicas} seeds, ms a step and seed", value)
        torch.set_num_threads(cores())
        note("makemore, names a second", their_names(options.makemore, 2_000))
        note("rungwise, names a second", our_names(options.run, 40_000))
    medians = {what: round(float(np.median(values)), 4) for what, values in measured.items()}
    print(json.dumps({"rounds": options.rounds, "steps": options.steps, "medians": medians}, indent=1))
    if options.out:
        options.out.write_text(
            json.dumps({"rounds": options.rounds, "medians": medians, "all": measured}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""How the cost of a step grows, on both engines, one thread: python -m scripts.bench_growth

Sweeps replicas, n_embd, n_layer, the length of words and of the list, one at a time from the article's final model
without dropout; writes results/performance/growth.json, of which write_docs.py makes docs/growth.svg. All points of a
round are measured one after the other; the figures are medians over rounds, in CPU time, which other programs disturb
least.
"""

from __future__ import annotations

import io
import statistics

import numpy as np
import torch

from rungwise.config import EngineConfig, ModelConfig, TrainConfig, get_protocol
from rungwise.data import words
from rungwise.engine.loop import models
from rungwise.engine.select import make_engine
from rungwise.inference.score import score
from scripts import common

FILE = common.PERFORMANCE / "growth.json"
SWEEPS = {
    "replicas": (1, 2, 4, 8, 16),
    "n_embd": (16, 32, 64, 128),
    "n_layer": (1, 2, 4, 8),
    "word length": (4, 8, 16, 32),
    "words in the list": (1_000, 10_000, 100_000, 1_000_000),
}
BASE = {"replicas": 1, "n_embd": 64, "n_layer": 4, "word length": 8, "words in the list": 10_000}
STEPS = {"native": 48, "torch": 12}


def make_list(n: int, length: int) -> words.WordList:
    """n random words of up to `length` letters, uniformly."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 2 * length, size=n).clip(1, 63)
    letters = rng.integers(97, 123, size=int(lengths.sum()), dtype=np.uint8).tobytes()
    ends = np.cumsum(lengths)
    text = b"\n".join(letters[end - n : end] for n, end in zip(lengths.tolist(), ends.tolist(), strict=True))
    return words.read(io.BytesIO(text), "random")


def measure(point: dict[str, int], engine_name: str, listed: words.WordList) -> tuple[float, float]:
    """ms a step and replica, and microseconds a token to score the test part."""
    protocol, replicas, steps = get_protocol("makemore"), point["replicas"], STEPS[engine_name]
    model_config = ModelConfig(
        len(listed.vocabulary), listed.block_size, point["n_layer"], 4, point["n_embd"], dropout=0.0
    )
    config, how = TrainConfig(schedule="constant"), EngineConfig(engine_name, compile="off")
    engine = make_engine(model_config, config, common.tape(listed, protocol), range(replicas), how)
    engine.run(0, [1e-3] * 2)
    stepping = common.cpu_seconds(lambda: engine.run(2, [1e-3] * steps))
    test = common.tape(listed, protocol, "test")
    model = models(engine, model_config, replicas)[0]
    scoring = common.cpu_seconds(lambda: score(model, test, engine_name))
    return stepping * 1000 / steps / replicas, scoring * 1e6 / test.n_tokens


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps: dict[tuple[str, str, int], list[float]] = {}
    scores: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(options.rounds):
        for what, values in SWEEPS.items():
            for value in values:
                point = BASE | {what: value}
                listed = make_list(point["words in the list"], point["word length"])
                for engine in STEPS:
                    ms, us = measure(point, engine, listed)
                    steps.setdefault((what, engine, value), []).append(ms)
                    scores.setdefault((what, engine, value), []).append(us)
                    print(f"{what} {value}, {engine}: {ms:.2f} ms a step, {us:.2f} us a token scored", flush=True)

    def medians(measured: dict[tuple[str, str, int], list[float]]) -> dict[str, dict[str, dict[str, float]]]:
        return {
            what: {e: {str(v): round(statistics.median(measured[what, e, v]), 3) for v in values} for e in STEPS}
            for what, values in SWEEPS.items()
        }

    about = {"rounds": options.rounds, "base": BASE, "ms_a_step": medians(steps), "us_a_scored_token": medians(scores)}
    common.keep(options.out, about)


if __name__ == "__main__":
    main()

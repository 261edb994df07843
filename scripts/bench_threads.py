"""Threads and precision of engine native: milliseconds a step of one model, in interleaved rounds.

    python -m scripts.bench_threads [--rounds 30] [--threads 2]

Each round takes short blocks of steps with one thread and with several, in fp32 and in bf16. Other programs lengthen
single rounds, so the best quartile of each is compared.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rungwise.config import ModelConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape, draw
from rungwise.engine import native
from rungwise.engine.native.library import KINDS
from rungwise.ladder import get_rung
from rungwise.model.cost import n_parameters
from rungwise.model.transformer import Transformer
from rungwise.util.machine import cores

LARGE = get_rung("scaled").model
SIZES = (
    (get_rung("scaled").model.replace(n_layer=1, n_embd=16, norm="rmsnorm", mlp="relu"), 16, 256),
    (get_rung("gelu").model, 32, 96),
    (LARGE, 32, 48),
    (LARGE, 64, 32),
    (LARGE.replace(n_embd=128, n_head=8), 64, 12),
)
"""Models, words a batch, steps a block."""


def measure(model: ModelConfig, batch: int, steps: int, rounds: int, threads: int) -> None:
    """One size: a line."""
    listed, protocol = words.load("auto"), get_protocol("makemore")
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    config = model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    train = get_rung("scaled").train.replace(batch_size=batch)
    starts, lengths = (x[:steps] for x in draw(tape, train, 0, 0))
    packed, library, rates = tape.packed(starts, lengths), native.load(), np.full(steps, 1e-4)
    drawn = {name: p.detach().numpy() for name, p in Transformer(config, 0).named_parameters()}
    state = {f"{kind}/{name}": x * np.float32(kind == "param") for kind in KINDS for name, x in drawn.items()}
    hows = [(n, bf16) for bf16 in (False, True)[: 1 + library.has_bf16] for n in (1, threads)]
    found: dict[tuple[int, bool], list[float]] = {how: [] for how in hows}
    for _ in range(rounds):
        for how in hows:
            began = time.perf_counter()
            library.train_block(config, train, state, *packed, lengths, 0, 3, rates, *how)
            found[how].append((time.perf_counter() - began) * 1000 / steps)
    best = {how: float(np.quantile(ms, 0.25)) for how, ms in found.items()}
    one = best[1, False]
    parts = [
        f"{n} thread{'s' * (n > 1)}{', bf16' * bf16}: {best[n, bf16]:.4f} ms ({one / best[n, bf16]:.2f} x)"
        for n, bf16 in hows
    ]
    print(
        f"{n_parameters(config):>9,} parameters, batch {batch}: {'; '.join(parts)}; {one / batch * 1000:.2f} us a word"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    for size in SIZES:
        measure(*size, asked.rounds, asked.threads)


if __name__ == "__main__":
    main()

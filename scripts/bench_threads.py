"""Threads, precision and the wheel's build of engine native: milliseconds a step of one model, in interleaved rounds.

    python -m scripts.bench_threads [--rounds 30] [--threads 2] [--prebuilt]

Each round takes short blocks of steps with one thread and with several, in fp32 and in bf16, and with --prebuilt also
with the library that ziglang makes for a wheel. Other programs lengthen single rounds, so the best quartile of each is
compared. Writes results/performance/threads.json, which docs/performance.md shows.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hatch_build import TARGETS, compile_engine

from rungwise.config import ModelConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape, draw
from rungwise.engine import native
from rungwise.engine.native import build
from rungwise.engine.native.library import KINDS, Library
from rungwise.ladder import get_rung
from rungwise.model.cost import n_parameters
from rungwise.model.transformer import Transformer
from rungwise.util.files import read_json
from rungwise.util.machine import cores
from rungwise.util.provenance import describe_machine
from scripts import common

FILE = common.PERFORMANCE / "threads.json"
LARGE = get_rung("scaled").model
SIZES = (
    (get_rung("scaled").model.replace(n_layer=1, n_embd=16, norm="rmsnorm", mlp="relu"), 16, 256),
    (get_rung("gelu").model, 32, 96),
    (LARGE, 32, 48),
    (LARGE, 64, 32),
    (LARGE.replace(n_embd=128, n_head=8), 64, 12),
)
"""Models, words a batch, steps a block."""


How = tuple[str, Library, int, bool]
"""A name, the library, threads, bf16."""


def measure(hows: list[How], model: ModelConfig, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """One size: milliseconds a step, each way."""
    listed, protocol = words.load("auto"), get_protocol("makemore")
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    config = model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    train = get_rung("scaled").train.replace(batch_size=batch)
    starts, lengths = (x[:steps] for x in draw(tape, train, 0, 0))
    packed, rates = tape.packed(starts, lengths), np.full(steps, 1e-4)
    drawn = {name: p.detach().numpy() for name, p in Transformer(config, 0).named_parameters()}
    state = {f"{kind}/{name}": x * np.float32(kind == "param") for kind in KINDS for name, x in drawn.items()}
    found: dict[str, list[float]] = {name: [] for name, *_ in hows}
    for _ in range(rounds):
        for name, library, threads, bf16 in hows:
            began = time.perf_counter()
            library.train_block(config, train, state, *packed, lengths, 0, 3, rates, threads, bf16)
            found[name].append((time.perf_counter() - began) * 1000 / steps)
    ms = {name: float(np.quantile(values, 0.25)) for name, values in found.items()}
    return {"n_params": n_parameters(config), "batch": batch, "ms": ms}


def prebuilt(folder: Path) -> Library:
    """What a wheel for this machine holds, as one that is installed chooses among it."""
    system = {"linux": "manylinux", "darwin": "macosx", "win32": "win"}[sys.platform]
    compile_engine(next(x for x in TARGETS if x.startswith(system) and x.endswith(platform.machine().lower())), folder)
    build.PREBUILT = folder
    library = build.prebuilt()
    assert library, "no level that this processor has"
    return Library(library)


def table() -> str:
    """Milliseconds a step, and how many times as fast as one thread of what is compiled here."""
    if not FILE.exists():
        return "Not measured yet.\n"
    found, rows = read_json(FILE), []
    for size in found["sizes"]:
        one = size["ms"]["1 thread"]
        each = (f"{ms:.4f} ({one / ms:.2f} x)" for ms in size["ms"].values())
        rows.append((f"{size['n_params']:,}", str(size["batch"]), *each, f"{one / size['batch'] * 1000:.2f}"))
    columns = ["parameters", "batch", *found["sizes"][0]["ms"], "us a word, 1 thread"]
    return common.table(dict.fromkeys(columns, "--:"), rows) + (
        f"\nMilliseconds a step of one model, best quartile of {found['rounds']} interleaved rounds, and how many "
        f"times as fast as one thread; {found['machine']['cpu']}, {found['machine']['cores']} cores.\n"
    )


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--prebuilt", action="store_true")
    asked = parser.parse_args()
    library = native.load()
    hows: list[How] = [
        (f"{n} thread{'s' * (n > 1)}{', bf16' * bf16}", library, n, bf16)
        for bf16 in (False, True)[: 1 + library.has_bf16]
        for n in sorted({1, asked.threads})
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if asked.prebuilt:
            hows.append(("1 thread, prebuilt", prebuilt(Path(folder)), 1, False))
        sizes = [measure(hows, *size, asked.rounds) for size in SIZES]
    about = {"machine": describe_machine(), "list": words.load("auto").name, "rounds": asked.rounds}
    common.keep(asked.out, {**about, "sizes": sizes})
    if asked.out == FILE:
        print(table())


if __name__ == "__main__":
    main()

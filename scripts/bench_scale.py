"""What models, lists and processes cost here: python -m scripts.bench_scale

Measures small models and small lists (a few minutes, two cores) and writes results/scale.json. scale_model.py fits a
model of the cost to it, prints how well it holds, and makes the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.util.files import read_json
from scripts import common

FILE = common.RESULTS / "scale.json"
FIT = [(1, 16, 32), (2, 32, 32), (4, 32, 32), (4, 64, 32), (4, 64, 128), (2, 128, 32), (4, 128, 32), (4, 128, 128)]
"""Layers, width, words a batch."""
CHECK = [(4, 256, 32), (6, 512, 32)]
PEAKS = [(1, 16, 32), (4, 64, 128), (4, 256, 128)]
ENGINES = ("native", "torch", "distributed")
WORDS = (100_000, 1_000_000)
FLOATS = (10_000, 100_000, 1_000_000, 10_000_000)
PARTS = ("memory", "cpu", "wall")


def setting(layers: int, width: int, batch: int) -> tuple[Any, Any, Any]:
    """A model on the bundled list: model and training configuration, and the tape."""
    from rungwise.config import ModelConfig, TrainConfig, get_protocol
    from rungwise.data import words

    listed, heads = words.load("given-names"), max(1, width // 16)
    tape = common.tape(listed, get_protocol("strict"))
    model = ModelConfig(len(listed.vocabulary), listed.block_size, layers, heads, width, dropout=0.0)
    return model, TrainConfig(batch_size=batch, schedule="constant"), tape


def make(engine: str, layers: int, width: int, batch: int) -> Any:
    """An engine with one replica."""
    from rungwise.config import EngineConfig, RunConfig
    from rungwise.data.batches import Drawn
    from rungwise.engine.ddp import DistributedEngine
    from rungwise.engine.select import make_engine

    model, config, tape = setting(layers, width, batch)
    if engine == DistributedEngine.name:
        return DistributedEngine(model, config, Drawn(tape, config, 0), RunConfig(), None)
    return make_engine(model, config, tape, [0], EngineConfig(engine, compile="off"))


def places(batch: int) -> dict[str, float]:
    """What a batch of so many words is on average: real tokens, distinct beginnings, padded positions."""
    import torch

    from rungwise.data.batches import draw
    from rungwise.model.dropout import prefix_hashes

    _, config, tape = setting(1, 16, batch)
    starts, lengths = draw(tape, config, 0, 0)
    distinct = [
        np.unique(prefix_hashes(torch.from_numpy(inputs)).numpy()[inputs > 0]).size
        for inputs, _ in (tape.padded(s, n, int(n.max())) for s, n in zip(starts[:32], lengths[:32], strict=True))
    ]
    real, padded = lengths.sum(1).mean(), batch * lengths.max(1).mean()
    return {
        "torch": float(padded),
        "distributed": float(padded),
        "native": float(np.mean(distinct)),
        "real": float(real),
    }


def step_seconds(engine_name: str, layers: int, width: int, batch: int) -> float:
    """CPU seconds of one thread a step: the least of several, because others use this machine, too."""
    engine = make(engine_name, layers, width, batch)
    engine.run(0, [1e-3] * 2)
    n = 2 if width > 256 else 8
    return min(common.cpu_seconds(lambda i=i: engine.run(i * n, [1e-3] * n)) for i in range(1, 4)) / n


def peak_bytes(engine: str, layers: int, width: int, batch: int) -> int:
    """Of a process of its own that takes three steps."""
    return common.in_a_process("bench_scale", "--peak", engine, layers, width, batch)


def _peak(engine: str, layers: int, width: int, batch: int) -> None:
    import torch

    torch.set_num_threads(1)
    make(engine, layers, width, batch).run(0, [1e-3] * 3)
    # Not getrusage(): a process that was forked begins with the peak of the one that it was forked from.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024)


def lists() -> dict[str, Any]:
    """Microseconds a word to read a list, and to survey and stream shards; bytes a word in memory and on disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rungwise.config import ListConfig
    from rungwise.data import shards, words
    from rungwise.data.shard_stream import ShardStream

    costs: dict[str, Any] = {}
    rng, letters = np.random.default_rng(0), np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    for n in WORDS:
        text = letters[rng.integers(26, size=(n, 10))].tobytes().decode()
        drawn = [text[10 * i : 10 * i + 4 + i % 7] for i in range(n)]  # 7 letters on average
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "list").write_text("\n".join(drawn))
            for i in range(8):
                pq.write_table(pa.table({"word": drawn[i::8]}), folder / f"{i}.parquet", row_group_size=50_000)
            path = str(folder / "list")
            read = common.cpu_seconds(lambda path=path: words.split(words.load(path), shards.PROTOCOL))
            listed = words.load(path)
            config = ListConfig(data=name, column="word")
            known: list[Any] = []
            survey = common.cpu_seconds(lambda known=known, config=config: known.append(shards.survey(config)[0]))
            stream = ShardStream(known[0], 1024, 0)
            steps = range(n // 2 // 1024)
            streamed = common.cpu_seconds(lambda stream=stream, steps=steps: [stream.rows(s, 0, 1024) for s in steps])
            costs[str(n)] = {
                "read_us": read / n * 1e6,
                "survey_us": survey / n * 1e6,
                "stream_us": streamed / (len(steps) * 1024) * 1e6,
                "memory_bytes": (listed.codes.nbytes + listed.offsets.nbytes) / n,
                "disk_bytes": sum(path.stat().st_size for path in folder.glob("*.parquet")) / n,
            }
    return costs


def storage() -> float:
    """Bytes a second of a checkpoint, checksum and waiting for the disk included."""
    from rungwise.util.files import write_tensors

    tensors = {"x": np.zeros(30_000_000, dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        return tensors["x"].nbytes / common.seconds(lambda: write_tensors(Path(folder) / "x", tensors))


def together() -> dict[str, Any]:
    """Two processes: seconds to add up so many floats, and a step of a whole model under DistributedDataParallel."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return common.in_a_process("bench_scale", "--rank", launcher=launcher)


def _rank() -> None:
    import torch
    import torch.distributed as dist

    from rungwise.config import RunConfig
    from rungwise.data.batches import Drawn
    from rungwise.engine.ddp import DistributedEngine
    from rungwise.engine.process_group import World

    world = World.from_environment()
    assert world is not None
    torch.set_num_threads(1)
    if world.rank:
        world.answer()
    model, config, tape = setting(4, 64, 128)
    engine = DistributedEngine(model, config, Drawn(tape, config, 0), RunConfig(), world)
    if world.rank:
        sums(dist, torch)
        engine.follow()
        return
    sums_seconds = sums(dist, torch)
    engine.run(0, [1e-3] * 4)
    cpu = min(common.cpu_seconds(lambda: engine.run(8, [1e-3] * 8)) for _ in range(8)) / 8
    wall = min(common.seconds(lambda: engine.run(8, [1e-3])) for _ in range(60))
    engine.close()
    print(json.dumps({**sums_seconds, "step_cpu_s": cpu, "step_s": wall, "point": [4, 64, 128]}))


def sums(dist: Any, torch: Any) -> dict[str, dict[str, float]]:
    """Seconds to add up so many floats, by the clock and of this process."""
    times: dict[str, dict[str, float]] = {"add_s": {}, "add_cpu_s": {}}
    for n in FLOATS:
        x = torch.ones(n)
        dist.all_reduce(x)
        repeats = range(max(20, 3_000_000 // n))
        times["add_s"][str(n)] = min(common.seconds(lambda x=x: dist.all_reduce(x)) for _ in repeats)
        spent = common.cpu_seconds(lambda x=x, repeats=repeats: [dist.all_reduce(x) for _ in repeats])
        times["add_cpu_s"][str(n)] = spent / len(repeats)
    return times


def measure(part: str) -> dict[str, Any]:
    """One of three parts: memory; CPU time, which bears a busy machine; wall time, which wants a quiet one."""
    import torch

    if part == "memory":
        return {"peaks": {f"{e} {point}": peak_bytes(e, *point) for e in ENGINES for point in PEAKS}}
    if part == "wall":
        return {"checkpoint_bytes_s": storage(), "two": together()}
    torch.set_num_threads(1)
    measured: dict[str, Any] = {"places": {str(b): places(b) for b in (32, 128, 1024)}, "steps": {}}
    for engine in ENGINES:
        for point in (*FIT, *CHECK):
            measured["steps"][f"{engine} {point}"] = step_seconds(engine, *point)
            print(engine, point, f"{measured['steps'][f'{engine} {point}'] * 1000:.2f} ms", flush=True)
    return measured | {"lists": lists()}


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what to measure anew")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        _rank()
        return
    if options.peak:
        _peak(options.peak[0], *map(int, options.peak[1:]))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    for part in options.parts:
        before = read_json(options.out) if options.out.exists() else {}
        common.keep(options.out, before | measure(part))


if __name__ == "__main__":
    main()

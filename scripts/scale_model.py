"""What a run costs, as a model with few constants, and how well it holds: python -m scripts.scale_model

Measures small models and small lists here (a few minutes, two cores), writes results/scale.json, and prints what the
model says beside what was measured. docs/scale.md's tables are made from that file by scripts/write_docs.py.

A step of an engine is

    dispatch + layers * layer + places * layers * width * pass + 6 * parameters * places * product + parameters * update

where places are what the engine computes: distinct beginnings of words (native) or padded positions (torch, and
distributed with one process: the same model without torch.func). The five constants are fitted, by relative error and
none below zero, to the points of FIT alone;
CHECK holds larger models, which the fit has not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results/scale.json"
FIT = [(1, 16, 32), (2, 32, 32), (4, 32, 32), (4, 64, 32), (4, 64, 128), (2, 128, 32), (4, 128, 32), (4, 128, 128)]
"""Layers, width, words a batch."""
CHECK = [(4, 256, 32), (6, 512, 32)]
PEAKS = [(1, 16, 32), (4, 64, 128), (4, 256, 128)]
ENGINES = ("native", "torch", "distributed")
TERMS = ("dispatch", "layers", "passes", "products", "update")
WORDS = (100_000, 1_000_000)
FLOATS = (10_000, 100_000, 1_000_000, 10_000_000)


# ------------------------------------------------------------------------------------------------------ measuring


def setting(layers: int, width: int, batch: int) -> tuple[Any, Any, Any]:
    """A model on the bundled list: model and training configuration, and the tape."""
    from rungwise.config import ModelConfig, TrainConfig, get_protocol
    from rungwise.data import words
    from rungwise.data.batches import Tape

    listed, protocol = words.load("given-names"), get_protocol("strict")
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    heads = max(1, width // 16)
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


def parameters(layers: int, width: int) -> int:
    """Of the article's final model of this size, with 28 tokens."""
    return layers * (12 * width**2 + 10 * width) + 28 * (2 * width + 1)


def step_seconds(engine_name: str, layers: int, width: int, batch: int) -> float:
    """CPU seconds of one thread a step: the least of several, because others use this machine, too."""
    engine = make(engine_name, layers, width, batch)
    engine.run(0, [1e-3] * 2)
    n = 2 if width > 256 else 8
    return min(_cpu(lambda i=i: engine.run(i * n, [1e-3] * n)) for i in range(1, 4)) / n


def _cpu(what: Callable[[], object]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began


def peak_bytes(engine: str, layers: int, width: int, batch: int) -> int:
    """Of a process of its own that takes three steps."""
    arguments = [sys.executable, __file__, "--peak", engine, *map(str, (layers, width, batch))]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


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

    found: dict[str, Any] = {}
    rng, letters = np.random.default_rng(0), np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    for n in WORDS:
        text = letters[rng.integers(26, size=(n, 10))].tobytes().decode()
        drawn = [text[10 * i : 10 * i + 4 + i % 7] for i in range(n)]  # 7 letters on average
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "list").write_text("\n".join(drawn))
            for i in range(8):
                pq.write_table(pa.table({"word": drawn[i::8]}), folder / f"{i}.parquet", row_group_size=50_000)
            read = _cpu(lambda folder=folder: words.split(words.load(str(folder / "list")), shards.PROTOCOL))
            listed = words.load(str(folder / "list"))
            config = ListConfig(data=name, column="word")
            known: list[Any] = []
            survey = _cpu(lambda known=known, config=config: known.append(shards.survey(config)[0]))
            stream = ShardStream(known[0], 1024, 0)
            steps = range(n // 2 // 1024)
            streamed = _cpu(lambda stream=stream, steps=steps: [stream.rows(s, 0, 1024) for s in steps])
            found[str(n)] = {
                "read_us": read / n * 1e6,
                "survey_us": survey / n * 1e6,
                "stream_us": streamed / (len(steps) * 1024) * 1e6,
                "memory_bytes": (listed.codes.nbytes + listed.offsets.nbytes) / n,
                "disk_bytes": sum(path.stat().st_size for path in folder.glob("*.parquet")) / n,
            }
    return found


def storage() -> float:
    """Bytes a second of a checkpoint, checksum and waiting for the disk included."""
    from rungwise.util.files import write_tensors

    tensors = {"x": np.zeros(30_000_000, dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        write_tensors(Path(folder) / "x", tensors)
        return tensors["x"].nbytes / (time.perf_counter() - began)


def together() -> dict[str, Any]:
    """Two processes: seconds to add up so many floats, and a step of a whole model under DistributedDataParallel."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__, "--rank"]
    done = subprocess.run(launch, check=True, capture_output=True, text=True)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


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
    adding = sums(dist, torch)
    engine.run(0, [1e-3] * 4)
    cpu = min(_cpu(lambda: engine.run(8, [1e-3] * 8)) for _ in range(8)) / 8
    wall = min(_wall(lambda: engine.run(8, [1e-3])) for _ in range(60))
    engine.close()
    print(json.dumps({**adding, "step_cpu_s": cpu, "step_s": wall, "point": [4, 64, 128]}))


def sums(dist: Any, torch: Any) -> dict[str, dict[str, float]]:
    """Seconds to add up so many floats, by the clock and of this process."""
    found: dict[str, dict[str, float]] = {"add_s": {}, "add_cpu_s": {}}
    for n in FLOATS:
        x = torch.ones(n)
        dist.all_reduce(x)
        repeats = range(max(20, 3_000_000 // n))
        found["add_s"][str(n)] = min(_wall(lambda x=x: dist.all_reduce(x)) for _ in repeats)
        found["add_cpu_s"][str(n)] = _cpu(lambda x=x, r=repeats: [dist.all_reduce(x) for _ in r]) / len(repeats)
    return found


def _wall(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def measure(part: str) -> dict[str, Any]:
    """One of three parts: memory; CPU time, which bears a busy machine; wall time, which wants a quiet one."""
    import torch

    if part == "memory":
        return {"peaks": {f"{e} {point}": peak_bytes(e, *point) for e in ENGINES for point in PEAKS}}
    if part == "wall":
        return {"checkpoint_bytes_s": storage(), "two": together()}
    torch.set_num_threads(1)
    found: dict[str, Any] = {"places": {str(b): places(b) for b in (32, 128, 1024)}, "steps": {}}
    for engine in ENGINES:
        for point in (*FIT, *CHECK):
            found["steps"][f"{engine} {point}"] = step_seconds(engine, *point)
            print(engine, point, f"{found['steps'][f'{engine} {point}'] * 1000:.2f} ms", flush=True)
    return found | {"lists": lists()}


# ------------------------------------------------------------------------------------------------------- the model


def terms(layers: int, width: int, n_places: float) -> np.ndarray:
    p = parameters(layers, width)
    return np.array([1.0, layers, n_places * layers * width, 6.0 * p * n_places, p])


def fit(measured: dict[str, Any], engine: str) -> np.ndarray:
    """The five constants, in seconds."""
    from scipy.optimize import nnls

    y = np.array([measured["steps"][f"{engine} {point}"] for point in FIT])
    x = np.stack([terms(*point[:2], measured["places"][str(point[2])][engine]) for point in FIT])
    return nnls(x / y[:, None], np.ones(len(y)))[0]


def adding(measured: dict[str, Any], clock: str = "add_s") -> tuple[float, float]:
    """Two processes on one machine add up n floats in latency + n * slope seconds; of a process: add_cpu_s."""
    n, y = np.array(FLOATS, dtype=float), np.array([measured["two"][clock][str(n)] for n in FLOATS])
    slope, latency = np.polyfit(n, y, 1, w=1 / y)
    return max(float(latency), float(y.min())), float(slope)


def compared(measured: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What, measured seconds, the model's seconds. The last rows are those the fit has not seen."""
    rows = []
    for engine in ENGINES:
        constants = fit(measured, engine)
        for layers, width, batch in (*FIT, *CHECK):
            said = float(terms(layers, width, measured["places"][str(batch)][engine]) @ constants)
            seen = "" if (layers, width, batch) in FIT else ", not in the fit"
            what = f"{engine}, {layers} x {width}, batch {batch}: {parameters(layers, width):,} parameters{seen}"
            rows.append((what, measured["steps"][f"{engine} {(layers, width, batch)}"], said))
    layers, width, batch = measured["two"]["point"]
    latency, slope = adding(measured, "add_cpu_s")
    half = measured["places"][str(batch)]["distributed"] / 2
    said = float(terms(layers, width, half) @ fit(measured, "distributed"))
    said += latency * 2 + slope * parameters(layers, width)
    what = f"one of two processes, {layers} x {width}, batch {batch}, not in the fit"
    rows.append((what, measured["two"]["step_cpu_s"], said))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--parts", nargs="*", default=["memory", "cpu", "wall"], help="what to measure anew; nothing: only show"
    )
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
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        options.out.write_text(json.dumps(before | measure(part), indent=1) + "\n")
    for what, seconds, said in compared(json.loads(options.out.read_text())):
        print(f"{what}: measured {seconds * 1000:.2f} ms, model {said * 1000:.2f} ms ({said / seconds - 1:+.0%})")


if __name__ == "__main__":
    main()

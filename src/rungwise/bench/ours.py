"""What is measured of rungwise itself. Training runs in one process a core, one thread each, as in a climb."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from rungwise.bench import limits
from rungwise.bench.machine import MemoryWatch, childrens_seconds
from rungwise.config import EngineConfig, ModelConfig, TrainConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import STEPS_A_BLOCK, Tape
from rungwise.engine.loop import Engine, learning_rate, models, train
from rungwise.engine.select import make_engine
from rungwise.errors import UserError
from rungwise.experiment.local_pool import Workers as Processes
from rungwise.experiment.local_pool import end_with_parent
from rungwise.inference.sample import generate
from rungwise.ladder import get_rung
from rungwise.model.transformer import Transformer
from rungwise.util.machine import cores, peak_memory

PROTOCOL = "makemore"
"""Both other projects feed a start token and score every character."""
FIRST_STEP = """
import sys, torch
torch.set_num_threads(1)
from rungwise.bench.ours import engine, recipe
engine(recipe("scaled", sys.argv[1]), (0,), sys.argv[1], sys.argv[2]).run(0, [1e-3])
"""


def model_config(rung: str, data: str) -> ModelConfig:
    listed = words.load(data)
    return get_rung(rung).model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)


Recipe = tuple[ModelConfig, TrainConfig]


def recipe(rung: str, data: str) -> Recipe:
    return model_config(rung, data), get_rung(rung).train


def tape(data: str) -> Tape:
    listed, protocol = words.load(data), get_protocol(PROTOCOL)
    return Tape.of(listed, words.split(listed, protocol).train, protocol)


def engine(recipe: Recipe, seeds: tuple[int, ...], data: str, name: str) -> Engine:
    return make_engine(*recipe, tape(data), seeds, EngineConfig(name, compile="off"))


# ------------------------------------------------------------------------------------------------ in the workers

_engines: dict[tuple[Recipe, tuple[int, ...]], Engine] = {}
_trained: list[Transformer] = []


def _ready() -> None:
    end_with_parent()
    torch.set_num_threads(1)


def _steps(recipe: Recipe, seeds: tuple[int, ...], data: str, name: str, steps: int) -> float:
    """Seconds for so many steps of these replicas, the list read and the engine warm; batches are drawn within."""
    if (recipe, seeds) not in _engines:
        _engines[recipe, seeds] = engine(recipe, seeds, data, name)
        _engines[recipe, seeds].run(0, [1e-4] * 4)
    config, here = recipe[1], _engines[recipe, seeds]
    began = time.perf_counter()
    for first in range(STEPS_A_BLOCK, STEPS_A_BLOCK + steps, STEPS_A_BLOCK):
        here.run(first, [learning_rate(config, first)] * min(STEPS_A_BLOCK, STEPS_A_BLOCK + steps - first))
    return time.perf_counter() - began


def _train(data: str, name: str, steps: int) -> None:
    """A model whose words are as long as names are: an untrained one's never end."""
    config, model = get_rung("scaled").train.replace(steps=steps, learning_rate=1e-3), model_config("scaled", data)
    trained = make_engine(model, config, tape(data), [0], EngineConfig(name, compile="off"))
    train(trained, config)
    _trained[:] = models(trained, model, 1)


def _names(data: str, n: int) -> tuple[float, float]:
    """Seconds to draw n words on all cores, and their mean length."""
    listed = words.load(data)
    began = time.perf_counter()
    drawn = [word.text for word in generate(_trained[0], listed.vocabulary, n, None)]
    return time.perf_counter() - began, sum(map(len, drawn)) / n


class Workers:
    """One process a core, kept between measurements, so that only what is asked for is measured."""

    def __init__(self, data: str, engine_name: str) -> None:
        self.data, self.engine = data, engine_name
        context = multiprocessing.get_context("spawn")
        self.pools = [Processes(1, context, _ready) for _ in range(cores())]
        for pool in self.pools:
            pool.start(os.getpid, [()])
        self.mean_length = 0.0

    def close(self) -> None:
        for pool in self.pools:
            pool.end()

    def ms_a_step(self, recipe: Recipe, replicas: int, steps: int) -> float:
        """Milliseconds a step and replica, the replicas spread over the cores."""
        groups = [tuple(range(replicas))[i :: len(self.pools)] for i in range(len(self.pools))]
        pending = [
            pool.submit(_steps, recipe, seeds, self.data, self.engine, steps)
            for pool, seeds in zip(self.pools, groups, strict=True)
            if seeds
        ]
        return max(future.result() for future in pending) * 1000 / steps / replicas

    def train_a_model(self, steps: int) -> None:
        """For `names_a_second`."""
        self.pools[0].submit(_train, self.data, self.engine, steps).result()

    def names_a_second(self, n: int) -> float:
        seconds, self.mean_length = self.pools[0].submit(_names, self.data, n).result()
        return n / seconds

    def limits(self, m: ModelConfig, work: limits.Work) -> dict[str, float | None]:
        """The limits, measured in one worker: its one thread."""
        first = self.pools[0]
        state = sum(p.numel() for p in Transformer(m).parameters()) * 4 * 4  # parameters, gradient, two moments
        return {
            "multiply_add_peak_gflops": first.submit(limits.multiply_add_peak_gflops).result(),
            "sgemm_peak_gflops": first.submit(limits.peak_gflops).result(),
            "products_ms": first.submit(limits.products_ms, work, m).result(),
            "copy_memory_gb_s": first.submit(limits.copy_gb_s, 1 << 27).result(),
            "copy_state_gb_s": first.submit(limits.copy_gb_s, state // 2).result(),
            "state_mb": state / 2**20,
        }

    def peak_mb(self) -> list[float]:
        """The most that each worker ever held; nothing where the system does not tell."""
        held = [pool.submit(peak_memory).result() for pool in self.pools]
        return [round(of_one / 2**20, 1) for of_one in held if of_one]


# ------------------------------------------------------------------------------------------------ as the user does


def help_seconds(times: int) -> float:
    """CPU seconds of `rungwise --help`, median."""
    found = []
    for _ in range(times):
        before = childrens_seconds()
        subprocess.run([sys.executable, "-m", "rungwise", "--help"], check=True, capture_output=True)
        found.append(childrens_seconds() - before)
    return statistics.median(found)


def first_step_seconds(data: str, engine_name: str) -> float:
    """From nothing to the end of the first step of 202,780 parameters: Python, torch, the list, the engine."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST_STEP, data, engine_name], check=True, capture_output=True)
    return time.perf_counter() - began


def climb(data: str, engine_name: str, seeds: int, steps: int | None, rungs: str = "article") -> dict[str, Any]:
    """`rungwise climb` in processes of its own: seconds, peak memory of all together, and its results.

    With `steps`, the seconds of a whole climb are estimated: what this one took, and the steps that it left out at
    their measured speed.
    """
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "results").open("w+") as results:
        command = [sys.executable, "-m", "rungwise", "climb", "--data", data, "--rungs", rungs, "--seeds", str(seeds)]
        command += ["--out", f"{folder}/climb", "--json", "--engine", engine_name]
        command += ["--steps", str(steps)] if steps else []
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=results, stderr=subprocess.PIPE, text=True)
        with child, MemoryWatch(child.pid) as memory:
            _, errors = child.communicate()
        seconds = time.perf_counter() - began
        if child.returncode:
            raise UserError(f"rungwise climb failed: {errors.strip().splitlines()[-1] if errors.strip() else ''}")
        results.seek(0)
        lines = [json.loads(line) for line in results]
    left_out = sum(x["ms_per_step"] * (get_rung(x["rung"]).train.steps - x["steps"]) for x in lines) / 1000
    return {
        "rungs": rungs,
        "seeds": seeds,
        "steps": steps or "each rung's own",
        "seconds": round(seconds, 2),
        "seconds_of_a_whole_climb": round(seconds + left_out / cores(), 2),
        "estimated": steps is not None,
        "peak_memory_mb": memory.peak_mb,
    }

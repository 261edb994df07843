"""The training of a run, from what it trains on to its last line: which engine, its steps, its scores.

And what the other processes of a run do, where there are several (distributed.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from rungwise.config import ListConfig, ModelConfig, RunConfig, TrainConfig, get_protocol
from rungwise.config.settings import Settings
from rungwise.data import dataset
from rungwise.data.dataset import SCORED, Material
from rungwise.data.shards import are_meant
from rungwise.engine.compile import NotCompiled
from rungwise.engine.ddp import DistributedEngine, check_batch
from rungwise.engine.loop import Engine
from rungwise.engine.native_engine import NativeEngine
from rungwise.engine.process_group import RankLost, World
from rungwise.engine.select import choose_engine, make_engine
from rungwise.errors import UserError
from rungwise.inference.sample import generate
from rungwise.inference.score import score
from rungwise.training import run_dir, trackers
from rungwise.training.run_dir import METRICS, Run
from rungwise.training.trainer import Session
from rungwise.util import files, hints, machine
from rungwise.util.progress import bar

N_SAMPLES = 20

Say = Callable[[str], None]


def engine_for(asked: Settings, world: World | None) -> str:
    """`native`, `torch` or `distributed`: the last where nothing else can do what is asked for."""
    how, reasons = asked.run, []
    if world and world.size > 1:
        reasons.append(f"a run of {world.size} processes")
    if how.accumulate > 1:
        reasons.append(f"accumulate={how.accumulate}")
    if are_meant(asked.list.data):
        reasons.append("a list in shards")
    return choose_engine(how, reasons)


def own_threads(world: World | None) -> int:
    """Threads of this process: as many as torch takes by itself, no more than its share of the cores."""
    return min(torch.get_num_threads(), machine.threads(world.local_size if world else 1))


class Job:
    """The training itself, for start() and resume() alike."""

    def __init__(
        self,
        out: Path,
        configs: run_dir.Configs,
        asked: RunConfig,
        of: Material,
        track: Sequence[str],
        world: World | None,
        say: Say,
        data: str | None = None,
    ) -> None:
        """`data`: where the list lies, if not where config.json says."""
        self.out, self.configs, self.of, self.track, self.say = out, configs, of, track, say
        self.world = world if world and world.size > 1 else None
        self.go_on = hints.go_on(out, data, track, self.world.command if self.world else hints.TRAIN)
        name, threads = (configs.info.get(key) for key in ("engine", "threads"))
        if self.world:
            name = DistributedEngine.name
        if name != NativeEngine.name and isinstance(threads, int) and 1 <= threads <= 1024:
            torch.set_num_threads(threads)  # another number adds in another order
        try:
            self.engine = self._make_engine(str(name), asked)
        except (RuntimeError, TypeError, OverflowError) as error:  # more than memory, or integers, can hold
            raise UserError(f"The model is too large: {str(error).splitlines()[0]}") from None
        configs.info["compiled"] = self.engine.compiled
        self.session = Session(out, self.engine, configs.model, configs.train, asked, of.looked_at(configs.word_start))
        self.session.go_on = self.go_on

    def _make_engine(self, name: str, asked: RunConfig) -> Engine:
        model, config = self.configs.model, self.configs.train
        if name != DistributedEngine.name:
            return self._stacked(asked.replace(engine=name))
        if self.world:
            check_batch(config, asked, self.world.size)  # before the others could say it, too
            told = {"go_on": self.go_on, "model": model.to_dict(), "train": config.to_dict(), "run": asked.to_dict()}
            told |= {"list": self.configs.info["list"], "threads": torch.get_num_threads(), **self.of.told()}
            self.world.tell(told)
        return DistributedEngine(model, config, self.of.source(config, asked.seed), asked, self.world)

    def _stacked(self, how: RunConfig) -> Engine:
        """Native or torch. A run that goes on compiles its steps where it did before: the last bits depend on it."""
        before = self.configs.info.get("compiled")
        how = how if before is None else how.replace(compile="on" if before else "off")
        arguments = self.configs.model, self.configs.train, self.of.tape, [how.seed]
        try:
            return make_engine(*arguments, how, self.say)
        except NotCompiled as error:
            if not before:
                raise
            self.say(f"{error} The run was begun with compiled steps: the last bits may differ.")
            return make_engine(*arguments, how.replace(compile="off"))

    def run(self) -> Run:
        configs = self.configs
        together = f", {self.world.size} processes" if self.world else ""
        self.say(
            f"Model of rung {configs.info.get('rung')}, {configs.train.steps:,} steps, engine {self.engine.name}"
            f"{together}; protocol {configs.protocol.name}: {configs.word_start.scored} are scored, in nats a "
            "character."
        )
        began, first = time.perf_counter(), self.session.standing.step
        try:
            self._train(first)
            return self._finish(time.perf_counter() - began)
        finally:
            if self.world:
                self.world.finish()

    def _train(self, first: int) -> None:
        try:
            with (
                trackers.watch(self.track, self.out, first) as self.session.observe,
                bar(self.configs.train.steps, first) as advance,
            ):
                self.session.train(advance)
        finally:
            self.engine.close()

    def _finish(self, seconds: float) -> Run:
        """Score the weights that are kept, draw some words, and tell."""
        out, standing = self.out, self.session.standing
        if self.session.validation is None:
            self.session.save_weights()
        run = run_dir.load(out)
        losses = {}
        for part in ("train", "validation", "test"):
            if (tape := self.of.scored(part, run.word_start)) is not None:
                losses[part] = score(run.model, tape).loss
        seed = self.session.run.seed
        samples = [w.text for w in generate(run.model, run.vocabulary, N_SAMPLES, run.sampled_firsts, seed=seed)]
        lines = [line for line in run_dir.read_metrics(out) if "final_test_loss" not in line]
        final = {f"final_{name}_loss": loss for name, loss in losses.items()}
        files.write_lines(out / METRICS, [*lines, {"step": standing.step, "best_step": standing.best_step, **final}])
        run_dir.save_samples(out, samples)
        self.say(_summary(standing.step, standing.best_step, seconds, losses, self.of.n_train))
        self.say("Some words of its own: " + " ".join(samples[:10]))
        self.say(f"Wrote {out}. More words: {hints.command('sample', out, '-n', N_SAMPLES)}")
        return run


def _summary(steps: int, best_step: int, seconds: float, losses: Mapping[str, float], n_train: int) -> str:
    shown = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    kept = f"; kept: the weights of step {best_step:,}, the best on validation" if best_step else ""
    part = f" (train: {SCORED:,} words of it)" if n_train > SCORED else ""
    return f"{steps:,} steps, {seconds:.0f} s{kept}. Nats a character: {shown}{part}."


def follow() -> None:
    """What the other processes of a run do (distributed.py): rank 0 tells them, and they write and print nothing."""
    world = World.from_environment()
    assert world is not None
    told = world.hear()
    if not told:  # the run is complete
        return
    try:
        model, train = ModelConfig.from_dict(told["model"]), TrainConfig.from_dict(told["train"])
        run, source = RunConfig.from_dict(told["run"]), ListConfig.from_dict(told["list"])
        torch.set_num_threads(told["threads"])
        batches = dataset.source_of(told, source, get_protocol(run.protocol), train, run.seed)
    except UserError as error:
        world.answer(str(error))
        sys.exit(2)
    world.answer()
    try:
        DistributedEngine(model, train, batches, run, world).follow()
        world.await_finish()
    except RankLost:
        if world.rank > 1:
            sys.exit(2)
        raise UserError(  # one of the others is enough
            f"Rank 1 lost rank 0. Where rank 0 says no more, it was killed. From the last checkpoint: {told['go_on']}"
        ) from None
    except UserError as error:  # a shard that cannot be read any more, say
        raise UserError(f"Rank {world.rank}: {error}") from None

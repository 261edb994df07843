"""One task of a climb: train the replicas of a rung, score them on every part of the split, keep the runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl

from rungwise.config import ModelConfig, TrainConfig, WordStart
from rungwise.data.batches import STEPS_A_BLOCK, Tape
from rungwise.data.words import Split
from rungwise.engine.loop import Engine, models, train
from rungwise.engine.select import make_engine
from rungwise.experiment.collect import SCORES, write_frame
from rungwise.experiment.plan import Climb, Task
from rungwise.experiment.results import Result
from rungwise.inference.sample import generate
from rungwise.inference.score import Scores, score
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.training import run_dir
from rungwise.training.run_dir import Run
from rungwise.util import files
from rungwise.util.provenance import now

N_SAMPLES = 10


def measure(climb: Climb, parts: Split, task: Task, tell: Callable[[float], None], threads: int = 1) -> list[Result]:
    """Train and score; every replica leaves a run directory RUNG/seed-N with its weights, curve and per-word scores.

    `threads` score as many replicas at once: where one process drives a GPU, its other cores have nothing to do.
    """
    words, rung = climb.words, task.rung
    model_config, config = climb.configs(rung)
    tape = Tape.of(words, parts.train, climb.protocol)
    engine = make_engine(model_config, config, tape, task.seeds, climb.how)
    snapshots: list[list[dict[str, Any]]] = [[] for _ in task.seeds]

    def look(step: int) -> None:
        _take_snapshots(climb, parts, task, engine, model_config, step, snapshots)

    losses, seconds = _train(engine, config, tell, look if climb.snapshots else None)
    ms_per_step = seconds * 1000 / config.steps / len(task.seeds)
    curve = block_means(losses)

    def result(r: int, model: Transformer) -> Result:
        seed = task.seeds[r]
        lines = [{"step": step, "train_loss": float(means[r])} for step, means in curve]
        run = Run(
            model,
            words.vocabulary,
            climb.protocol,
            words.first_counts(parts.train),
            config,
            {"seed": seed, "rung": rung.name, "split_seed": climb.split_seed, **run_dir.origin(words)},
        )
        scored = _score_and_keep(climb, parts, run, lines, snapshots[r])
        scored["detail"]["compiled"] = engine.compiled
        return Result(
            rung=rung.name,
            seed=seed,
            n_params=count_parameters(model),
            steps=config.steps,
            protocol=climb.protocol.name,
            tokens_per_s=round(engine.tokens_per_step / ms_per_step * 1000),
            ms_per_step=round(ms_per_step, 4),
            date=now(),
            engine=engine.name,
            split_seed=climb.split_seed,
            model=model_config.to_dict(),
            train=config.to_dict(),
            **scored,
            **run_dir.origin(words),
        )

    trained = models(engine, model_config, len(task.seeds))
    engine.close()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(result, range(len(task.seeds)), trained))


def _train(
    engine: Engine, config: TrainConfig, tell: Callable[[float], None], look: Callable[[int], None] | None
) -> tuple[np.ndarray, float]:
    """Train to the end, with looks on the way where they are wanted: (steps, R) losses, and seconds without looks."""
    losses: list[np.ndarray] = []

    def after_block(step: int, of_block: np.ndarray) -> None:
        losses.append(of_block)
        tell(step / config.steps)

    seconds, first_step = 0.0, 0
    for stop in [*(snapshot_steps(config.steps) if look else []), config.steps]:
        began = time.perf_counter()
        train(engine, config, after_block, first_step, stop)
        seconds, first_step = seconds + time.perf_counter() - began, stop
        if look:
            look(stop)
    return np.concatenate(losses), seconds


def snapshot_steps(steps: int) -> list[int]:
    """Log-spaced steps before the last at which words are drawn: 0, 1, 2, 5, 10, 20, 50, ..."""
    return [0, *(m * 10**k for k in range(9) for m in (1, 2, 5) if m * 10**k < steps)]


def block_means(losses: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(steps, R) losses as (step, mean of the block of steps that ends there, (R,))."""
    ends = [*range(STEPS_A_BLOCK, len(losses), STEPS_A_BLOCK), len(losses)]
    return [(end, losses[(end - 1) // STEPS_A_BLOCK * STEPS_A_BLOCK : end].mean(axis=0)) for end in ends]


def _take_snapshots(
    climb: Climb,
    parts: Split,
    task: Task,
    engine: Engine,
    model_config: ModelConfig,
    step: int,
    snapshots: list[list[dict[str, Any]]],
) -> None:
    """Ten words of each replica as it is now; the same draw each time, so that one sees the words change."""
    firsts = climb.words.first_counts(parts.train)
    if WordStart.of(climb.protocol, climb.configs(task.rung)[1]).end_fed:
        firsts = None
    for seed, model, kept in zip(task.seeds, models(engine, model_config, len(task.seeds)), snapshots, strict=True):
        drawn = [word.text for word in generate(model, climb.words.vocabulary, N_SAMPLES, firsts, seed=seed)]
        kept.append({"step": step, "samples": drawn})


def _score_and_keep(
    climb: Climb, parts: Split, run: Run, curve: list[dict[str, Any]], snapshots: list[dict[str, Any]]
) -> dict[str, Any]:
    """Score one replica on every part, write its run directory, and return its losses and their detail."""
    model, words, config = run.model, climb.words, run.train_config
    seed, rung = run.info["seed"], run.info["rung"]

    def scored(part: np.ndarray) -> Scores:
        return score(model, Tape.of(words, part, run.word_start))

    test = scored(parts.test)
    detail = _detail(climb, parts, test)
    if config.batching == "stream":
        alone = Tape.of(words, parts.test, climb.protocol)
        detail["test_loss_alone"] = score(model, alone).loss
        detail["stream_test_loss"] = score(model, alone.windows(config.window)).loss
    samples = [w.text for w in generate(model, words.vocabulary, N_SAMPLES, run.sampled_firsts, seed=seed)]
    detail["samples"] = [[text, tag(climb, parts, text)] for text in samples]
    folder = climb.out / rung / f"seed-{seed}"
    run_dir.save(folder, run, samples)
    files.write_lines(folder / run_dir.METRICS, curve)
    if snapshots:
        files.write_lines(folder / run_dir.SNAPSHOTS, snapshots)
    frame = {"word": parts.test.astype(np.uint32), "tokens": test.lengths.astype(np.uint16), "nats": test.words}
    write_frame(folder / SCORES, pl.DataFrame(frame).cast({"nats": pl.Float32}))
    return {
        "train_loss": scored(parts.train).loss,
        "val_loss": scored(parts.validation).loss if len(parts.validation) else None,
        "test_loss": test.loss,
        "detail": detail,
    }


def _detail(climb: Climb, parts: Split, test: Scores) -> dict[str, Any]:
    """What else the test scores tell."""
    seen = in_training(climb, parts)
    of_token = np.repeat(seen, test.lengths)
    detail: dict[str, Any] = {
        "n_test_words": len(seen),
        "n_test_tokens": len(test.nats),
        "accuracy": test.accuracy,
        "mean_probability": test.mean_probability,
        "by_position": test.by_position(),
        "by_length": test.by_length(),
        "share_seen": float(seen.mean()),
        "loss_seen": float(test.nats[of_token].mean()) if seen.any() else None,
        "loss_new": float(test.nats[~of_token].mean()) if not seen.all() else None,
    }
    if climb.protocol.start_token:  # the same model, scored as the article scores
        detail["loss_without_first"] = float(test.nats[test.position > 0].mean())
    return detail


def in_training(climb: Climb, parts: Split) -> np.ndarray:
    """(test words,) bool: does the word also stand in the training part? Never, in a protocol of distinct words."""
    identity = climb.words.identities
    return np.isin(identity[parts.test], identity[parts.train])


def tag(climb: Climb, parts: Split, text: str) -> str:
    """Where a generated word stands: training, test, validation, or nowhere (new)."""
    where = climb.words.find(text)
    for name, part in (("training", parts.train), ("test", parts.test), ("validation", parts.validation)):
        if np.isin(where, part).any():
            return name
    return "new"

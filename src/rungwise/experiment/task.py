"""One task of a climb: train the replicas of a rung, score them on every part of the split, keep the runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rungwise.config import TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape
from rungwise.data.known_words import KnownWords
from rungwise.data.teacher import Teacher
from rungwise.engine.loop import Engine, models, train
from rungwise.engine.select import make_engine
from rungwise.experiment.collect import SCORES, write_frame
from rungwise.experiment.plan import Experiment, Task
from rungwise.experiment.results import Result
from rungwise.inference.sample import generate
from rungwise.inference.score import Scores, score
from rungwise.judge.judgement import brief
from rungwise.ladder import Rung
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.training import distil, run_dir
from rungwise.training.run_dir import Run
from rungwise.util import files
from rungwise.util.provenance import now

N_SAMPLES = 10
"""Words that a run keeps."""
N_JUDGED = 1_000
"""Words that are judged: the kept ones and those that would be drawn after them."""

MOST_COMPARED = 100_000
"""Training words with which they are compared."""
SHUFFLED_WORDS = 1000
"""Test words, at most, whose beginnings are read shuffled."""


def measure(
    experiment: Experiment, task: Task, out: Path, report: Callable[[float], None], threads: int = 1
) -> list[Result]:
    """Train and score; every replica leaves a run directory RUNG/seed-N under `out` with weights, curve and scores by
    word. `report` is called with the share of the training that is done, 0 to 1. `threads` score as many replicas at
    once: where one process drives a GPU, its other cores have nothing to do.
    """
    experiment = experiment.each[task.split]
    words, rung = experiment.words, task.rung
    model_config, config = experiment.configs(rung)
    tape, teacher = _lesson(experiment, task, threads)
    engine = make_engine(model_config, config, tape, task.seeds, experiment.how, teacher=teacher)
    first_seed, snapshots = min(experiment.seeds), list[dict[str, Any]]()

    def take_snapshot(step: int) -> None:
        model = models(engine, model_config, len(task.seeds))[task.seeds.index(first_seed)]
        snapshots.append({"step": step, "samples": _draw(_make_run(experiment, rung, first_seed, model))})

    watched = experiment.snapshots and first_seed in task.seeds
    losses, seconds = _train(engine, config, report, take_snapshot if watched else None)
    ms_per_step = seconds * 1000 / config.steps / len(task.seeds)

    def result(r: int, model: Transformer) -> Result:
        seed = task.seeds[r]
        run, folder = _make_run(experiment, rung, seed, model), out / rung.name / f"seed-{seed}"
        lines = [{"step": step, "train_loss": float(means[r])} for step, means in curve]
        scored = _score_and_keep(experiment, run, folder, lines, snapshots if seed == first_seed else [])
        reading = {"reading": dict(experiment.reading)} if experiment.reading else {}
        scored["detail"] |= {"compiled": engine.compiled, **reading}
        return Result(
            rung=rung.name,
            seed=seed,
            n_params=count_parameters(model),
            steps=config.steps,
            protocol=experiment.protocol.name,
            tokens_per_s=round(engine.tokens_per_step / ms_per_step * 1000),
            ms_per_step=round(ms_per_step, 4),
            date=now(),
            engine=engine.name,
            split_seed=experiment.split_seed,
            model=model_config.to_dict(),
            train=config.to_dict(),
            **scored,
            **run_dir.origin(words),
        )

    trained, curve = models(engine, model_config, len(task.seeds)), block_means(losses)
    engine.close()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(result, range(len(task.seeds)), trained))


def _lesson(experiment: Experiment, task: Task, threads: int) -> tuple[Tape, Teacher | None]:
    """The training words; of a student, what its teachers make of them. A student is alone in its task
    (engine.select.replicas_together)."""
    words, parts = experiment.words, experiment.parts
    model, config = experiment.configs(task.rung)
    tape, start = Tape.of(words, parts.train, experiment.protocol), experiment.protocol.word_start
    if not config.teachers:
        return tape, None
    (seed,) = task.seeds
    held_out = Tape.of(words, parts.validation, start) if len(parts.validation) else None
    firsts = None if start.end_fed else words.first_counts(parts.train)
    room = distil.Classroom(experiment.how, threads)
    lesson = distil.prepare(model, config, tape, held_out, words.vocabulary, firsts, seed, room)
    return lesson.tape, lesson.teacher


def _train(
    engine: Engine,
    config: TrainConfig,
    report: Callable[[float], None],
    take_snapshot: Callable[[int], None] | None,
) -> tuple[np.ndarray, float]:
    """Train to the end: (steps, R) losses, and the seconds that it took without snapshots."""
    losses: list[np.ndarray] = []

    def after_block(step: int, of_block: np.ndarray) -> None:
        losses.append(of_block)
        report(step / config.steps)

    seconds, first_step = 0.0, 0
    for stop in [*(snapshot_steps(config.steps) if take_snapshot else []), config.steps]:
        began = time.perf_counter()
        train(engine, config, after_block, first_step, stop)
        seconds, first_step = seconds + time.perf_counter() - began, stop
        if take_snapshot:
            take_snapshot(stop)
    return np.concatenate(losses), seconds


def snapshot_steps(steps: int) -> list[int]:
    """Log-spaced steps before the last at which words are drawn: 0, 1, 2, 5, 10, 20, 50, ..."""
    return [0, *(m * 10**k for k in range(9) for m in (1, 2, 5) if m * 10**k < steps)]


def block_means(losses: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(steps, R) losses as (step, mean of the block of steps that ends there, (R,))."""
    ends = [*range(STEPS_A_BLOCK, len(losses), STEPS_A_BLOCK), len(losses)]
    return [(end, losses[(end - 1) // STEPS_A_BLOCK * STEPS_A_BLOCK : end].mean(axis=0)) for end in ends]


def _make_run(experiment: Experiment, rung: Rung, seed: int, model: Transformer) -> Run:
    words, firsts = experiment.words, experiment.words.first_counts(experiment.parts.train)
    info = {"seed": seed, "rung": rung.name, "split_seed": experiment.split_seed, **run_dir.origin(words)}
    return Run(model, words.vocabulary, experiment.protocol, firsts, experiment.configs(rung)[1], info)


def _draw(run: Run, n: int = N_SAMPLES) -> list[str]:
    """n words; the same draw each time, so that one sees the words change."""
    drawn = generate(run.model, run.vocabulary, n, run.sampled_firsts, seed=run.info["seed"])
    return [word.text for word in drawn]


def _score_and_keep(
    experiment: Experiment, run: Run, folder: Path, curve: list[dict[str, Any]], snapshots: list[dict[str, Any]]
) -> dict[str, Any]:
    """Score one replica on every part, write its run directory, and return its losses and their detail."""
    model, words, parts, config = run.model, experiment.words, experiment.parts, run.train_config

    def scored(part: np.ndarray) -> Scores:
        return score(model, Tape.of(words, part, run.word_start))

    test = scored(parts.test)
    detail = _detail(experiment, test)
    if config.batching == "stream":
        alone = Tape.of(words, parts.test, experiment.protocol)
        detail["test_loss_alone"] = score(model, alone).loss
        detail["stream_test_loss"] = score(model, alone.windows(config.window)).loss
    detail |= _read_shuffled(model, Tape.of(words, parts.test[:SHUFFLED_WORDS], run.word_start))
    drawn = _draw(run, N_JUDGED)
    samples = drawn[:N_SAMPLES]
    detail["samples"] = [[text, tag(experiment, text)] for text in samples]
    if drawn:  # a model may hardly write what a list could hold
        real = (parts.train, np.concatenate([parts.validation, parts.test]))
        train, held_out = (list(words.at(part[:MOST_COMPARED])) for part in real)
        known = KnownWords.of(words)
        detail["words"] = dataclasses.asdict(brief(train, held_out, drawn, ~known.holds(known.hash(drawn))))
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


def _read_shuffled(model: Transformer, tape: Tape) -> dict[str, float]:
    """Loss of characters before which all but the last are shuffled, and in order: does the model read order?"""
    found = {}
    for name, rng in (("in_order_loss", None), ("shuffled_loss", np.random.default_rng(0))):
        beginnings = tape.beginnings(rng)
        if len(beginnings.starts):
            last = np.cumsum(beginnings.lengths) - 1
            found[name] = float(score(model, beginnings).nats[last].mean())
    return found


def _detail(experiment: Experiment, test: Scores) -> dict[str, Any]:
    """More of the test scores: results.Detail."""
    identity, parts = experiment.words.identities, experiment.parts
    seen = np.isin(identity[parts.test], identity[parts.train])  # never, in a protocol of distinct words
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
    if experiment.protocol.start_token:  # the same model, scored as the article scores
        detail["loss_without_first"] = float(test.nats[test.position > 0].mean())
    return detail


def tag(experiment: Experiment, text: str) -> str:
    """The part of the list that holds a generated word: training, test or validation; else new."""
    where, parts = experiment.words.find(text), experiment.parts
    for name, part in (("training", parts.train), ("test", parts.test), ("validation", parts.validation)):
        if np.isin(where, part).any():
            return name
    return "new"

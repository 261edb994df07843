"""What `rungwise train` and `rungwise sample` do: one model on one list, and words from it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from rungwise import runs, words
from rungwise.batches import Tape
from rungwise.config import UserError, get_protocol
from rungwise.evaluate import score
from rungwise.generate import Sampling, generate
from rungwise.lab.ladder import get_rung
from rungwise.progress import bar
from rungwise.train import make_engine, models, train

N_SAMPLES = 20


def train_list(
    data: str, out: Path, rung_name: str, steps: int | None, seed: int, protocol_name: str, engine_name: str
) -> None:
    """Train one model and write its run directory; says what it does on standard output."""
    rung, protocol = get_rung(rung_name), get_protocol(protocol_name)
    config = rung.train if steps is None else rung.train.replace(steps=steps)
    listed = words.load(data)
    parts = words.split(listed, protocol)
    print(words.describe(listed, parts))
    runs.prepare(out, "this run")
    model_config = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    tape = Tape.of(listed, parts.train, protocol)
    engine = make_engine(model_config, config, tape, [seed], engine_name)
    print(f"Model of rung {rung.name}, {config.steps:,} steps, engine {engine.name}; protocol {protocol.name}: "
          f"{protocol.scored} are scored, in nats a character.")  # fmt: skip
    metrics: list[dict[str, float]] = []
    began = time.perf_counter()
    with bar(config.steps) as advance:

        def after_block(step: int, losses: np.ndarray) -> None:
            metrics.append({"step": step, "train_loss": float(losses.mean())})
            advance(step, f"loss {losses.mean():.3f}")

        train(engine, config, after_block)
    seconds = time.perf_counter() - began
    model = models(engine, model_config, 1)[0]
    losses = {"train": score(model, tape).loss}
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        if len(part):
            losses[name] = score(model, Tape.of(listed, part, protocol)).loss
    metrics.append({"step": config.steps, **{f"final_{name}_loss": loss for name, loss in losses.items()}})
    run = runs.Run(
        model, listed.vocabulary, protocol,
        listed.first_counts(parts.train), config,
        {"seed": seed, "rung": rung.name, "split_seed": 0, **runs.origin(listed)},
    )  # fmt: skip
    samples = [word.text for word in generate(model, listed.vocabulary, N_SAMPLES, run.sampled_firsts, seed=seed)]
    runs.write_lines(out / runs.METRICS, metrics)
    runs.save(out, run, samples)
    shown = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    print(f"{seconds:.0f} s, {seconds * 1000 / config.steps:.2f} ms a step. Nats a character: {shown}.")
    print("Some words of its own: " + " ".join(samples[:10]))
    print(f"Wrote {out}. More words: rungwise sample {out} -n 20")


def sample_run(
    run_dir: Path,
    n: int,
    temperature: float,
    top_k: int,
    top_p: float,
    prefix: str,
    max_length: int | None,
    seed: int,
) -> None:
    """Print n words from a run, one a line."""
    if n < 0:
        raise UserError(f"n must be at least 0, but is {n}.")
    run = runs.load(run_dir)
    sampling = Sampling(temperature, top_k, top_p, prefix, max_length)
    for word in generate(run.model, run.vocabulary, n, run.sampled_firsts, sampling, seed):
        sys.stdout.write(f"{word.text}\n")

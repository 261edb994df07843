"""Runs to look inside: untrained models of any rung, saved as a climb saves them, and what a climb leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from rungwise.config import get_protocol
from rungwise.data.batches import Tape
from rungwise.data.words import WordList, read, split
from rungwise.experiment import results
from rungwise.experiment.climb import open_directory
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import Result
from rungwise.inference.score import score
from rungwise.ladder import TRANSFORMERS, Rung, select
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.training import run_dir
from rungwise.training.run_dir import Run
from rungwise.util import files
from rungwise.util.provenance import now

MINUTE = 90_000
"""Milliseconds that a page may take for what it is asked."""
SYLLABLES = ("ka", "el", "mi", "ro", "an", "sha", "tu", "ri", "na", "bo")


def made_up(n: int = 300) -> WordList:
    """Words of one to four syllables."""
    rng = np.random.default_rng(0)
    return read_words("".join(rng.choice(SYLLABLES, size=rng.integers(1, 5))) for _ in range(n))


def read_words(words: Iterable[str], name: str = "words.txt") -> WordList:
    return read(io.BytesIO("\n".join(words).encode()), name)


def untrained(words: WordList, rung: Rung, protocol: str = "article", seed: int = 0) -> Run:
    """A model as it begins, but with norms and biases that are not at their special values of 1 and 0."""
    config = rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size)
    model = Transformer(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm." in name:
                p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    firsts = words.first_counts(split(words, get_protocol(protocol)).train)
    info = {"seed": seed, "rung": rung.name, "split_seed": 0, **run_dir.origin(words)}
    return Run(model, words.vocabulary, get_protocol(protocol), firsts, rung.train, info)


def save_untrained(folder: Path, words: WordList) -> list[Path]:
    """A run directory for every rung of the ladder."""
    for rung in TRANSFORMERS.values():
        run_dir.save(folder / rung.name, untrained(words, rung), [])
    return [folder / name for name in TRANSFORMERS]


def small_climb(
    out: Path, words: WordList, rungs: str, seeds: Sequence[int] = (0, 1), protocol: str = "article"
) -> Path:
    """What a climb leaves, of models that were not trained: their scores are real, their curves made up."""
    experiment = Experiment(words, get_protocol(protocol), select(rungs), seeds)
    open_directory(experiment, out)
    tape = Tape.of(words, experiment.parts.test, experiment.protocol)
    for rung, seed in ((rung, seed) for rung in experiment.rungs for seed in seeds):
        run, folder = untrained(words, rung, protocol, seed), out / rung.name / f"seed-{seed}"
        run_dir.save(folder, run, [])
        files.write_lines(folder / run_dir.METRICS, [{"step": n, "train_loss": 3 - n / 1e4} for n in (256, 512, 5000)])
        samples = [words[i] for i in range(10)]
        files.write_lines(folder / run_dir.SNAPSHOTS, [{"step": n, "samples": samples} for n in (1, 100)])
        loss, model = score(run.model, tape).loss, run.model
        results.append(
            out / results.RESULTS,
            Result(
                rung=rung.name, seed=seed, n_params=count_parameters(model), steps=rung.train.steps, protocol=protocol,
                train_loss=loss, val_loss=None, test_loss=loss, tokens_per_s=1.0, ms_per_step=1.0, data=words.name,
                data_sha256=words.sha256, versions={}, git_revision=None, date=now(), engine="none",
                split_seed=0,
                model=model.config.to_dict(), train=rung.train.to_dict(), detail={},
            ),
        )  # fmt: skip
    return out


def cpu_ms(trace: bytes) -> list[float]:
    """The processor's time of each task of the page's main thread, the longest first: what the page does, however busy
    the machine is."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    tasks = [e for e in events if (e["pid"], e["tid"]) in mains and e["name"].endswith("RunTask")]
    return sorted((e["tdur"] / 1000 for e in tasks if "tdur" in e), reverse=True)

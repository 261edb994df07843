"""Made-up climbs with known losses: what the report's and the findings' tests read. Nothing here is a measurement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rungwise.config import get_protocol
from rungwise.data.words import NAMES_SHA256
from rungwise.ladder import RUNGS, Rung, variant

N_WORDS = 400
SAMPLES = [["kaelynn", "training"], ["<script>alert(1)</script>", "new"], ["a|b*c_d`e&amp;", "test"]]
NAME = "names & <b>bold</b>"

LOSSES = {
    "baseline": 2.37, "double-embd": 2.36, "2-heads": 2.25, "4-layers": 2.05, "mlp": 2.02, "layernorm": 1.99,
    "rope": 1.96, "gelu": 1.96, "scaled": 1.92, "dropout-5k": 2.0, "dropout-20k": 1.85, "final": 1.81,
    "stream": 2.4, "stream-equal-tokens": 2.41, "2-heads-no-projection": 2.28, "1-head-projection": 2.34,
    "1-head-32-projection": 2.33, "2-heads-residual": 2.21, "4-layers-no-residual": 2.5, "wide-1-layer": 2.15,
    "scaled-1e-3": 1.89, "scaled-20k": 1.9, "dropout-20k-1e-3": 1.83, "final-peak-3e-4": 1.84,
    "final-no-clip": 1.84, "final-no-decay": 1.84, "without-heads": 1.97, "without-projection": 1.96,
    "without-depth": 2.1, "without-residual": 2.3, "without-mlp": 2.0, "without-layernorm": 1.97,
    "without-rope": 2.05, "final-norm": 1.95, "no-head-bias": 1.95, "learned-positions": 1.97, "tied": 1.96,
    "rmsnorm": 1.95, "swiglu": 1.93,
}  # fmt: skip
"""Test losses, nats a character: near the article's, and such that most of its claims hold."""
GAPS = {"mlp": 0.06, "layernorm": 0.035, "rope": 0.035, "gelu": 0.035}
"""Test less train loss; 0.02 elsewhere."""


def noise(rung: str, seed: int, spread: float) -> float:
    """What a seed does to a rung: the same in every protocol."""
    return spread * float(np.random.default_rng([seed, *rung.encode()]).normal())


class World:
    """Words and their losses: every rung's mean test loss is met to the last digit of float32."""

    def __init__(self, spread: float = 0.001) -> None:
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(3, 12, N_WORDS)
        self.shape = rng.normal(0, 0.3, N_WORDS)  # of every word, whatever reads it
        self.spread = spread

    def word_losses(self, rung: str, seed: int, loss: float) -> np.ndarray:
        own = np.random.default_rng([seed, *rung.encode()]).normal(0, self.spread, N_WORDS)
        nats = (1 + self.shape + own) * self.tokens
        return nats + (loss * self.tokens.sum() - nats.sum()) * self.tokens / self.tokens.sum()


def result(rung: Rung, seed: int, protocol: str, loss: float, gap: float, steps: int | None = None) -> dict[str, Any]:
    """A line of results.jsonl."""
    start = get_protocol(protocol).start_token
    train = rung.train if steps is None else rung.train.replace(steps=steps)
    published = {"baseline": 2_908, "double-embd": 8_860, "2-heads": 5_948, "4-layers": 18_332, "mlp": 51_740}
    detail: dict[str, Any] = {
        "n_test_words": N_WORDS,
        "n_test_tokens": N_WORDS * 7,
        "accuracy": 0.35,
        "mean_probability": 0.25,
        "by_position": [loss + 0.3 - 0.05 * i for i in range(10)],
        "by_length": [None, None, None, *(loss + 0.2 - 0.03 * i for i in range(9))],
        "share_seen": 0.148,
        "loss_seen": loss - 0.05,
        "loss_new": loss + 0.01,
        "in_order_loss": loss,
        "shuffled_loss": loss,
        "samples": SAMPLES,
    }
    if train.batching == "stream":
        detail |= {"stream_test_loss": loss + 0.2, "test_loss_alone": loss + 0.2}
    if start:
        detail["loss_without_first"] = loss - 0.1
    return {
        "rung": rung.name,
        "seed": seed,
        "n_params": published.get(rung.name, 202_780 if rung.model.n_embd == 64 else 52_252),
        "steps": train.steps,
        "protocol": protocol,
        "train_loss": loss - gap,
        "val_loss": loss if protocol == "strict" else None,
        "test_loss": loss,
        "tokens_per_s": 50_000,
        "ms_per_step": 3.5,
        "data": NAME,
        "data_sha256": NAMES_SHA256,
        "versions": {"python": "3.12.0", "rungwise": "0.1.0", "torch": "2.13.0"},
        "git_revision": "0123456789ab",
        "date": "2026-02-01T00:00:00+00:00",
        "engine": "native",
        "split_seed": 0,
        "model": rung.model.to_dict(),
        "train": train.to_dict(),
        "detail": detail,
    }


def write_climb(
    folder: Path,
    protocol: str = "article",
    losses: Mapping[str, float] = LOSSES,
    seeds: Sequence[int] = range(5),
    gaps: Mapping[str, float] = GAPS,
    steps: int | None = None,
    spread: float = 0.001,
    beside: bool = True,
) -> Path:
    """A climb's directory: results.jsonl, and what lies beside it unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    world, lines, words = World(spread), [], {}
    for name, loss in losses.items():
        for seed in seeds:
            here = loss + noise(name, seed, spread)
            gap = gaps.get(name, 0.02) + noise(name, seed + 100, spread)
            lines.append(result(RUNGS[name], seed, protocol, here, gap, steps))
            words[f"{name}/{seed}"] = world.word_losses(name, seed, here).astype(np.float32)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not beside:
        return folder
    index = {"word": np.arange(N_WORDS, dtype=np.uint32), "tokens": world.tokens.astype(np.uint16)}
    pl.DataFrame({**index, **words}).write_parquet(folder / "words.parquet")
    curves(losses, seeds).write_parquet(folder / "curves.parquet")
    counted = {str(n): {"train_loss": 2.6 - 0.1 * n, "val_loss": None, "test_loss": 2.7 - 0.1 * n} for n in range(1, 8)}
    about = {"data": NAME, "data_sha256": NAMES_SHA256, "protocol": protocol, "split_seed": 0}
    (folder / "baselines.json").write_text(json.dumps({**about, "kneser_ney": counted}))
    return folder


def curves(losses: Mapping[str, float], seeds: Sequence[int]) -> pl.DataFrame:
    """Falling curves of 20 points; those of scheduled rungs are the smoother ones."""
    rows = []
    for name, loss in losses.items():
        unsteady = 0.002 if RUNGS[name].train.schedule == "cosine" else 0.01
        for seed in seeds:
            rng = np.random.default_rng([seed, *name.encode()])
            steps = np.linspace(RUNGS[name].train.steps / 20, RUNGS[name].train.steps, 20).astype(np.int32)
            values = loss + np.exp(-np.arange(20) / 3) + rng.normal(0, unsteady, 20)
            rows.append(pl.DataFrame({"rung": name, "seed": seed, "step": steps, "train_loss": values}))
    return pl.concat(rows)


def write_world(folder: Path) -> list[Path]:
    """Everything that a full report reads: three protocols, tuned rates, and a peer."""
    found = [write_climb(folder / "article")]
    for protocol, shift, groups in (("makemore", 0.08, ["scaling"]), ("strict", 0.1, ["article", "scaling"])):
        shifted = {name: loss + shift for name, loss in LOSSES.items() if RUNGS[name].group in groups}
        found.append(write_climb(folder / protocol, protocol, shifted))
    with (folder / "strict" / "results.jsonl").open("a") as file:
        for name in ("baseline", "2-heads", "gelu"):
            for rate, loss in ((3e-4, 2.7), (3e-3, 1.9)):
                for seed in range(3):
                    line = result(variant(RUNGS[name], "learning_rate", rate), seed, "strict", loss + seed / 100, 0.02)
                    file.write(json.dumps(line) + "\n")
    (folder / "peers.json").write_text(json.dumps({"makemore": peer(-0.08)}))
    return found


def peer(difference: float) -> dict[str, Any]:
    """makemore, and the full model on its words: lower by a difference, in nats a character."""
    rng, words = np.random.default_rng(0), 101
    nats = (5 * difference + 0.05 * rng.normal(size=(1, words)) + 0.01 * rng.normal(size=(3, words))).tolist()
    found = {"ours": {"steps": 5000, "test_loss": 2.013 + difference}, "its": {"steps": 5000, "test_loss": 2.013}}
    against = {key: {**found, "nats": nats} for key in ("after as many steps", "each at its best step")}
    about = {"test_loss": 2.013, "steps": 5000, "protocol": "makemore", "n_params": 204_544, "source": "measured"}
    return {**about, "characters": [5] * words, "against": {"dropout-20k": against}}

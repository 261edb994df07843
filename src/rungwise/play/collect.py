"""Runs -> what the page embeds: the list, and for every rung its configuration, code, figures, weights and curve."""

import base64
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rungwise.analysis.stats import Summary
from rungwise.analysis.tables import rows, words_of
from rungwise.config import ListConfig, ModelConfig, Protocol, TrainConfig
from rungwise.config.fields import FINITE, check
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.dataset import load_list
from rungwise.data.words import Split, Vocabulary, WordList
from rungwise.engine.loop import learning_rate
from rungwise.engine.torch_engine import TorchEngine
from rungwise.errors import UserError
from rungwise.experiment import baselines
from rungwise.experiment import results as results_module
from rungwise.experiment.ladder_file import of_climb
from rungwise.experiment.results import RESULTS, SETTINGS, Result
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, SELECTIONS, Rung
from rungwise.model.families import FAMILIES
from rungwise.model.layers import (
    MLP,
    Attention,
    Dropout,
    LearnedPosition,
    Plain,
    Residual,
    RoPE,
    SwiGLU,
    Tied,
    make_norm,
)
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.play import inside
from rungwise.training import run_dir
from rungwise.training.run_dir import Run
from rungwise.util import files

QUANTILES = 200
RANKED = 10_000
"""So many training words, drawn at random, make a rung's table of likelihoods: ranks to within a percent or so."""
MOST_BITS = 1 << 22
"""Of a filter that tells training words, or words held out, from others: 700 kB in the page."""

CHAPTERS = (*SELECTIONS["all"], *SELECTIONS["beyond"])
"""The rungs that docs/rungs/ has a chapter on."""

GROUND: tuple[Callable[..., Any], ...] = (Attention.weights, Attention.forward, Transformer.forward)
CODE: dict[str, tuple[Callable[..., Any], ...]] = {
    "n_embd": (Transformer.__init__,),
    "n_head": (Attention.weights,),
    "head_size": (Attention.weights,),
    "n_layer": (Transformer.forward,),
    "projection": (Attention.forward,),
    "residual": (Residual,),
    "mlp": (MLP,),
    "mlp=swiglu": (SwiGLU,),
    "norm": (Plain, make_norm),
    "norm=rmsnorm": (make_norm,),
    "final_norm": (Transformer.forward,),
    "position": (RoPE,),
    "position=learned": (LearnedPosition,),
    "head_bias": (Transformer.__init__,),
    "tie_embeddings": (Tied,),
    "dropout": (Dropout,),
    "schedule": (learning_rate,),
    "grad_clip": (TorchEngine._clipped,),
    "batching": (Tape.windows,),
    **{f"family={name}": (part,) for name, part in FAMILIES.items()},
}
"""Where the code stands that a field, or one value of it, switches. A field that is not here changes a number only."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A run on disk, and the results of the climb that it belongs to."""

    folder: Path
    run: Run
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Info:
    """What config.json tells of a run besides its configurations."""

    __pydantic_config__: ClassVar = FINITE
    seed: int = 0
    rung: str = ""
    split_seed: int = 0
    data: str = ""
    data_sha256: str = ""


def _load(folder: Path) -> Run:
    run = run_dir.load(folder)
    check(Info, run.info, str(folder / run_dir.CONFIG))
    return run


def find(folders: Sequence[Path], seed: int = 0) -> list[Kept]:
    """The runs to show, in the ladder's order: of a climb one a rung, with `seed` or else the first seed there is."""
    found = []
    for folder in folders:
        if (folder / SETTINGS).exists():
            of_climb(folder)  # its own rungs
            results = results_module.read(folder / RESULTS)
            by_rung: dict[Path, list[Path]] = {}
            for config in folder.glob(f"*/seed-*/{run_dir.CONFIG}"):
                by_rung.setdefault(config.parent.parent, []).append(config.parent)
            for seeds in by_rung.values():
                seeds.sort(key=lambda path: (path.name != f"seed-{seed}", len(path.name), path.name))
                found.append(Kept(seeds[0], _load(seeds[0]), results))
        else:
            found.append(Kept(folder, _load(folder)))
    if not found:
        raise UserError(f"No run in {', '.join(map(str, folders))}; rungwise climb leaves some.")
    first = found[0].run
    for kept in found:
        if (kept.run.info.get("data_sha256"), kept.run.protocol) != (first.info.get("data_sha256"), first.protocol):
            raise UserError(f"{found[0].folder} and {kept.folder} differ in list or protocol; one page shows one.")
    order = {name: i for i, name in enumerate(RUNGS)}
    return sorted(found, key=lambda kept: order.get(kept.run.info.get("rung", ""), len(order)))


def find_list(run: Run, source: str | None) -> WordList | None:
    """The list that a run was trained on; None, and a word about it, where it is not at hand."""
    name, sha256, own = str(run.info.get("data")), run.info.get("data_sha256"), run.info.get("list")
    try:  # `rungwise train` says where its list lies, and how it was read
        how = ListConfig.from_dict(own, "config.json") if isinstance(own, dict) else ListConfig(name)
        how = how.replace(data=source or (name if how.data == "-" else how.data))
        listed, _ = load_list(how, run.vocabulary.tokens)
    except UserError:
        if source:
            raise
        listed = None
    if listed and listed.sha256 == sha256:
        return listed
    if source:
        raise UserError(f"{source} is not the list of these runs ({name}): its SHA-256 differs.")
    print(
        f"The list {name} is not at hand: the page will show neither ranks nor which words are in training, held out "
        "or new. Give it as --data FILE.",
        file=sys.stderr,
    )
    return None


def collect(
    found: Sequence[Kept], listed: WordList | None, precision: str, chapters: str | None = None
) -> dict[str, Any]:
    """Everything that the page shows, as JSON-like values. `chapters`: the address under which docs/rungs/ stands."""
    run = found[0].run
    about, ranked = _about(run.info.get("data"), run.vocabulary, run.firsts, run.longest + 1, run.protocol), None
    if listed:
        parts = words.split(listed, run.protocol, run.info.get("split_seed", 0))
        ranked = listed.at(np.random.default_rng(0).permutation(parts.train)[:RANKED])
        about = describe(listed, parts, run.protocol)
    shown = {kept.run.info.get("rung"): kept.run for kept in found}
    rungs = [_rung(kept, shown, ranked, precision) for kept in found]
    for rung in rungs:
        rung["chapter"] = f"{chapters}{rung['name']}.html" if chapters and rung["name"] in CHAPTERS else None
    names = [rung["name"] for rung in rungs]
    for i, rung in enumerate(rungs):
        if earlier := names[:i].count(names[i]):
            rung["name"], rung["title"] = f"{names[i]}-{earlier + 1}", f"{rung['title']} ({earlier + 1})"
    return {
        "list": {**about, "ngram": _ngram(found[0])},
        "precision": precision,
        "rungs": rungs,
        "inside": inside.steps(),
    }


def describe(listed: WordList, parts: Split, protocol: Protocol) -> dict[str, Any]:
    """What the page tells of a list that is at hand."""
    firsts = listed.first_counts(parts.train)
    return _about(listed.name, listed.vocabulary, firsts, listed.spelled.block_size, protocol) | {
        "example": _example(listed),
        "members": _members(listed, parts.train),
        "held_out": _members(listed, np.concatenate([parts.validation, parts.test])),
    }


def _about(
    name: str | None, vocabulary: Vocabulary, firsts: np.ndarray, block_size: int, protocol: Protocol
) -> dict[str, Any]:
    """What the page tells of a list, whether it is at hand or not. `firsts`: (V,) as Run.firsts."""
    return {
        "name": name,
        **vocabulary.to_json(),
        "unit": vocabulary.tokens.unit,
        "firsts": firsts.tolist(),
        "block_size": block_size,
        "protocol": protocol.name,
        "given": protocol.given,
        "scored": protocol.scored,
        "n_train": int(firsts.sum()),
        "example": "",
        "members": None,
        "held_out": None,
        "ngram": None,
    }


def _ngram(kept: Kept) -> dict[str, float] | None:
    """The best n-gram baseline that was counted for the climb of a run: its order and its test loss."""
    found = baselines.load(kept.folder.parent.parent)
    about = {"data_sha256": None, "split_seed": 0, **kept.run.info, "protocol": kept.run.protocol.name}
    if not found or any(found[name] != about[name] for name in ("data_sha256", "protocol", "split_seed")):
        return None
    order, losses = min(found["kneser_ney"].items(), key=lambda item: item[1]["test_loss"])
    return {"order": int(order), "test_loss": losses["test_loss"]}


def _rung(kept: Kept, shown: dict[str | None, Run], ranked: WordList | None, precision: str) -> dict[str, Any]:
    run, model, config = kept.run, kept.run.model, kept.run.model.config
    name = str(run.info.get("rung", kept.folder.name))
    rung, lines = RUNGS.get(name), run_dir.read_metrics(kept.folder)
    mine = [r for r in kept.results if r.model == model.config.to_dict() and r.train == run.train_config.to_dict()]
    row = rows([rung], kept.results)[0] if rung and any(r.rung == name for r in mine) else None
    final = next((line["final_test_loss"] for line in lines if "final_test_loss" in line), None)
    return {
        "name": name,
        "title": rung.title if rung else name,
        "on": rung.on if rung else None,
        "why": rung.why if rung else "",
        "source": rung.source if rung else "",
        "changes": changes(rung, settings(run), shown.get(rung.on)) if rung else [],
        "code": code(rung) if rung else [],
        "model": {**config.to_dict(), "head_size": config.head_width, "mlp_hidden": config.mlp_hidden},
        "train": run.train_config.to_dict(),
        "word_start": run.word_start.to_dict(),
        "seed": run.info.get("seed"),
        "n_params": count_parameters(model),
        "train_loss": _interval(row.train) if row else None,
        "test_loss": _interval(row.test) if row else final and {"mean": final, "n": 1, "half": None},
        "step": _interval(row.step) if row else None,
        "words": _words([r for r in kept.results if r.rung == name] if row else [], lines),
        "published": rung.published.test if rung and rung.published and row and row.published else None,
        "weights": _weights(run, precision),
        "quantiles": _quantiles(run, ranked) if ranked else None,
        "curve": _curve(lines, "train_loss"),
        "validation": _curve(lines, "val_loss"),
        "kept": next((line["best_step"] for line in lines if "best_step" in line), None) or None,
        "snapshots": _snapshots(kept.folder / run_dir.SNAPSHOTS),
    }


def _words(results: Sequence[Result], lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the words are like: over a climb's runs, or as a single run tells; None: it is not known."""
    found, floor = words_of(results)
    if found:
        return {**{name: _interval(value) for name, value in found.items()}, "floor": floor}
    last = next((line for line in lines if "words_distance" in line), None)
    told = {name: last.get(f"words_{name}") for name in ("distinct", "new", "distance")} if last else {}
    one = {name: x if x is None else {"mean": x, "n": 1, "half": None} for name, x in told.items()}
    return last and {**one, "floor": last.get("words_floor")}


def _curve(lines: list[dict[str, Any]], name: str) -> list[list[float]]:
    return [[line["step"], round(line[name], 4)] for line in lines if name in line]


@dataclass(frozen=True)
class Snapshot:
    """A line of snapshots.jsonl: words drawn after so many steps."""

    step: int
    samples: list[str]


def _snapshots(path: Path) -> list[dict[str, Any]]:
    lines = files.numbered_lines(path)
    for number, line in lines:
        check(Snapshot, line, f"{path}: line {number}")
    return [line for _, line in lines]


def _interval(value: Summary | None) -> dict[str, Any] | None:
    return value and {"mean": value.mean, "n": value.n, "half": (value.high - value.low) / 2 if value.n > 1 else None}


def changes(rung: Rung, after: dict[str, Any], below: Run | None) -> list[dict[str, Any]]:
    """Fields that differ from the rung below, as trained where it is shown (a tuned climb sets its own learning
    rates), else as the ladder has it. The ground has nothing below it."""
    before = settings(below or RUNGS[rung.on]) if rung.on else {}
    fields = [field for field in after if after[field] != before.get(field)] if below else rung.changes
    return [{"field": field, "before": before.get(field), "after": after[field]} for field in fields]


def settings(trained: Run | Rung) -> dict[str, Any]:
    train = trained.train if isinstance(trained, Rung) else trained.train_config
    return {**(trained.model if isinstance(trained, Rung) else trained.model.config).to_dict(), **train.to_dict()}


def code(rung: Rung) -> list[dict[str, str]]:
    """The source of the classes and functions that a rung switches on, read from the modules themselves; empty where
    only numbers change."""
    if not rung.on:
        return list(map(inside.source, GROUND))
    fields = [field for field in (*ModelConfig.fields(), *TrainConfig.fields()) if field in rung.changes]
    parts = (CODE.get(f"{field}={rung.changes[field]}", CODE.get(field, ())) for field in fields)
    return list(map(inside.source, dict.fromkeys(itertools.chain.from_iterable(parts))))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _weights(run: Run, precision: str) -> dict[str, Any]:
    """All parameters in one little-endian array, and where each lies in it."""
    state = run.model.state_dict()
    with np.errstate(over="ignore"):
        flat = np.concatenate([p.numpy().ravel() for p in state.values()]).astype(np.dtype(precision).newbyteorder("<"))
    if not np.isfinite(flat).all():
        raise UserError("A weight is too large for float16; use --precision float32.")
    return {"layout": [[name, list(p.shape)] for name, p in state.items()], "data": _base64(flat)}


def _quantiles(run: Run, ranked: WordList) -> list[float]:
    """Log-likelihoods of training words at evenly spaced ranks: enough to tell where any word would stand."""
    tape = Tape.of(ranked, np.arange(len(ranked)), run.word_start)
    return np.quantile(-score(run.model, tape).words, np.linspace(0, 1, QUANTILES + 1)).round(3).tolist()


def _example(listed: WordList) -> str:
    """A word to begin with: the first of middling length."""
    middling = np.abs(listed.lengths - np.median(listed.lengths))
    return listed[int(middling.argmin())]


def _members(listed: WordList, indices: np.ndarray) -> dict[str, Any]:
    """A Bloom filter (Bloom 1970) of some words: a few bits a word, no word missed, few wrongly found."""
    listed = listed.spelled
    distinct = np.unique(listed.identities[indices])
    n = len(distinct)
    n_bits = max(64, min(16 * n, MOST_BITS))
    n_hashes = max(1, round(n_bits / n * math.log(2)))
    first, second = _hashes(listed, distinct)
    bits = np.zeros(n_bits, dtype=bool)
    for i in range(n_hashes):
        bits[(first + np.uint64(i) * second) % np.uint64(n_bits)] = True
    rate = (1 - math.exp(-n_hashes * n / n_bits)) ** n_hashes
    packed = np.packbits(bits, bitorder="little")
    return {"bits": n_bits, "hashes": n_hashes, "false_positives": rate, "data": _base64(packed)}


def _hashes(listed: WordList, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two 32-bit FNV-1a hashes of the token ids of each word, as text.js computes them."""
    lengths, found = listed.lengths[indices], []
    for basis in (0x811C9DC5, 0x01000193):
        h = np.full(len(indices), basis, dtype=np.uint32)
        for t in range(int(lengths.max())):
            inside = lengths > t
            ids = listed.codes[listed.offsets[indices[inside]] + t].astype(np.uint32)
            h[inside] = (h[inside] ^ ids) * np.uint32(0x01000193)
        found.append(h.astype(np.uint64))
    return found[0], found[1] | np.uint64(1)

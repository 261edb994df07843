"""A run directory: everything that a trained model needs and everything that tells where it came from.

config.json        model, training, protocol, data, provenance
vocabulary.json    the characters, and how often each begins a word
model.safetensors  the weights: the best on the validation words, where there are any, else the last
metrics.jsonl      losses as training went on
samples.txt        some words
`rungwise train` also leaves known.safetensors (which words the list holds, as hashes: known_words.py) and
checkpoint.safetensors (the last weights, the optimiser's state, and how far training is: trainer.py).
"""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rungwise.config import ModelConfig, Protocol, TrainConfig, WordStart
from rungwise.data.dataset import Dataset
from rungwise.data.known_words import KnownWords
from rungwise.data.tokens import Tokens
from rungwise.data.words import FIRST_CHARACTER, Vocabulary, WordList
from rungwise.errors import UserError
from rungwise.util.files import (
    make_folder,
    numbered_lines,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
)
from rungwise.util.hints import go_on
from rungwise.util.provenance import provenance

if TYPE_CHECKING:
    from rungwise.model.transformer import Transformer

FORMAT = 1
SNAPSHOTS = "snapshots.jsonl"
"""Where a climb was asked for them: {"step": n, "samples": [ten words]} at log-spaced steps."""
CONFIG, VOCABULARY, WEIGHTS = "config.json", "vocabulary.json", "model.safetensors"
METRICS, SAMPLES, CHECKPOINT = "metrics.jsonl", "samples.txt", "checkpoint.safetensors"

Weights = Literal["best", "last"]


def origin(words: Dataset | WordList) -> dict[str, Any]:
    """The list and what trained on it, as every run and result records it."""
    return {"data": words.name, "data_sha256": words.sha256, **provenance()}


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model and what it takes to use it."""

    model: Transformer
    vocabulary: Vocabulary
    protocol: Protocol
    firsts: np.ndarray
    """(V,) how often each token id begins a training word."""
    train_config: TrainConfig
    info: dict[str, Any]
    """Seed, data, provenance."""

    known: KnownWords | None = None
    """The words of its list; None where it keeps none."""

    @property
    def word_start(self) -> WordStart:
        return WordStart.of(self.protocol, self.train_config)

    @property
    def longest(self) -> int:
        """Symbols of the longest word that it draws."""
        return self.model.config.block_size - 1 - bool(self.vocabulary.conditions)

    @property
    def sampled_firsts(self) -> np.ndarray | None:
        """What generate() takes as `firsts`: None where the model draws its first character itself."""
        return None if self.word_start.end_fed else self.firsts

    @property
    def lowercase(self) -> bool:
        """Its list was read in lower case."""
        source = self.info.get("list")
        return isinstance(source, dict) and source.get("lowercase") is True


def save_weights(folder: Path, model: Transformer, about: dict[str, Any] | None = None) -> None:
    write_tensors(folder / WEIGHTS, {name: p.numpy() for name, p in model.state_dict().items()}, about)


def save_vocabulary(folder: Path, vocabulary: Vocabulary, firsts: np.ndarray) -> None:
    write_json(folder / VOCABULARY, {**vocabulary.to_json(), "firsts": firsts.tolist()})


def save_samples(folder: Path, samples: list[str]) -> None:
    write_text(folder / SAMPLES, "".join(f"{word}\n" for word in samples))


@dataclass(frozen=True)
class Configs:
    """What config.json holds."""

    model: ModelConfig
    train: TrainConfig
    protocol: Protocol
    info: dict[str, Any]
    """The rest: seed, data, provenance."""

    @property
    def word_start(self) -> WordStart:
        return WordStart.of(self.protocol, self.train)

    def save(self, folder: Path) -> None:
        parts = {name: getattr(self, name).to_dict() for name in ("model", "train", "protocol", "word_start")}
        write_json(folder / CONFIG, {"format": FORMAT, **parts, **self.info})

    def resume_hint(
        self, out: Path, data: str | None = None, track: Sequence[str] = (), train: str | None = None
    ) -> str:
        """How to resume the run in `out`; see hints.go_on."""
        source = self.info.get("list")
        given_anew = isinstance(source, dict) and source.get("data") == "-"
        return go_on(out, data or ("-" if given_anew else None), track, train)


def save(folder: Path, run: Run, samples: list[str]) -> None:
    """Write a trained run at once; config.json comes last, so that a directory which has one is complete."""
    make_folder(folder)
    save_weights(folder, run.model)
    save_vocabulary(folder, run.vocabulary, run.firsts)
    save_samples(folder, samples)
    Configs(run.model.config, run.train_config, run.protocol, run.info).save(folder)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl: finite numbers by name, `step` among them."""
    path, found = folder / METRICS, []
    for number, line in numbered_lines(path):
        for name, value in {"step": None, **line}.items():
            kinds, most = ((int,), 2**31) if name in ("step", "best_step") else ((int, float), math.inf)
            if type(value) not in kinds or not abs(value) < most:
                what = "a finite number" if most == math.inf else "a number of steps"
                raise UserError(f"{path}: line {number}: {name}: must be {what}, but is {reprlib.repr(value)}.")
        found.append(line)
    return found


def load_config(folder: Path) -> Configs:
    path = folder / CONFIG
    values = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise UserError(f"{path} is of another version of rungwise: this one reads format {FORMAT}.")
    parts: dict[str, Any] = {}
    for name, kind in (("model", ModelConfig), ("train", TrainConfig), ("protocol", Protocol)):
        if not isinstance(part := values.pop(name, None), dict):
            raise UserError(f"{path}: {name!r} is missing.")
        parts[name] = kind.from_dict(part, f"{path}: {name}")
    configs = Configs(**parts, info=values)
    start = configs.word_start.to_dict()
    told = values.pop("word_start", start)  # runs of version 0.1.0 have none, and none has told a condition before
    if not isinstance(told, dict) or {"given": None, **told} != start:
        raise UserError(f"{path}: word_start must be {start}: it follows from protocol and train.")
    return configs


def load_vocabulary(folder: Path, vocab_size: int) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary, and how often each token id begins a training word."""
    path = folder / VOCABULARY
    values = read_json(path)
    characters, firsts, tokens = values.get("characters"), values.get("firsts"), values.get("tokens", "chars")
    conditions = values.get("conditions", [])
    if not _texts(conditions) or conditions != sorted(set(conditions)):
        raise UserError(f"{path}: 'conditions' must be distinct texts in order.")
    kind = str if tokens == "chars" else list  # each of the one text, or each of the list, is a symbol
    if not isinstance(characters, kind) or FIRST_CHARACTER + len(characters) + len(conditions) != vocab_size:
        raise UserError(f"{path} does not fit the model's vocab_size={vocab_size}.")
    if not _texts(list(characters)) or list(characters) != sorted(set(characters)):
        raise UserError(f"{path}: 'characters' must be distinct characters in order.")
    if tokens not in ("chars", "graphemes") and not (_texts(tokens) and set(tokens) >= set(characters)):
        raise UserError(f"{path}: 'tokens' must be graphemes, or a list of tokens, those of 'characters' among them.")
    if not (
        isinstance(firsts, list)
        and len(firsts) == vocab_size
        and all(type(n) is int and 0 <= n < 2**63 for n in firsts)
        and sum(firsts[FIRST_CHARACTER:]) == sum(firsts) > 0
    ):
        raise UserError(f"{path}: 'firsts' must count how often each of {vocab_size} tokens begins a word.")
    return Vocabulary.of(characters, Tokens.from_json(tokens), conditions), np.array(firsts)


def _texts(values: Any) -> bool:
    """A list of texts, none of them empty, broken in two, or half a character?"""
    return isinstance(values, list) and all(
        isinstance(text, str) and text and not any(c in "\n\r" or "\ud800" <= c <= "\udfff" for c in text)
        for text in values
    )


def load(folder: Path | str, weights: Weights = "best") -> Run:
    """Read a run back. Anything missing, altered or of another version is one clear UserError.

    `weights`: the best on the validation words, where there are any; or the last that training reached.
    """
    folder = Path(folder)
    configs = load_config(folder)
    vocabulary, firsts = load_vocabulary(folder, configs.model.vocab_size)
    path = folder / (WEIGHTS if weights == "best" else CHECKPOINT)
    try:
        tensors, _ = read_tensors(path)
    except FileNotFoundError:
        if weights == "last":
            raise UserError(f"{folder} keeps no last weights: {CHECKPOINT} is missing.") from None
        if (folder / CHECKPOINT).exists() or not (folder / SAMPLES).exists():
            hint = configs.resume_hint(folder)
            raise UserError(f"{folder} has no weights yet: training was stopped before. {hint}") from None
        raise UserError(f"{folder} is no complete run: {path.name} is missing.") from None
    if weights == "last":
        tensors = {k.removeprefix("param/"): v[0] for k, v in tensors.items() if k.startswith("param/") and v.ndim}
    model, known = _model(configs.model, tensors, path), KnownWords.load(folder, vocabulary)
    return Run(model, vocabulary, configs.protocol, firsts, configs.train, configs.info, known)


def _model(config: ModelConfig, tensors: dict[str, np.ndarray], path: Path) -> Transformer:
    """A model with these weights, which must be exactly its own. Asked first without memory: a configuration that
    was tampered with may ask for any size."""
    import torch

    from rungwise.model.transformer import Transformer

    expected = None
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    if len(blocks) in (config.n_layer, 0):  # the blocks of a bigram have no weights
        with contextlib.suppress(RuntimeError, TypeError, OverflowError), torch.device("meta"):
            expected = {name: tuple(p.shape) for name, p in Transformer(config).state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items() if tensor.dtype == np.float32} != expected:
        raise UserError(f"{path} holds the weights of another model than {CONFIG} tells.")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(f"{path} holds numbers that are not finite.")
    model = Transformer(config)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return model.eval()

"""A run directory: everything that a trained model needs and everything that tells where it came from.

config.json (model, training, protocol, data, provenance), vocabulary.json, model.safetensors, metrics.jsonl,
samples.txt. Files appear whole or not at all; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rungwise.config import ModelConfig, Protocol, TrainConfig, UserError
from rungwise.words import Vocabulary, WordList

if TYPE_CHECKING:
    from rungwise.model import Transformer

FORMAT = 1
CONFIG, VOCABULARY, WEIGHTS, METRICS, SAMPLES = (
    "config.json", "vocabulary.json", "model.safetensors", "metrics.jsonl", "samples.txt",
)  # fmt: skip


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to the path that this yields; it takes `path`'s place, whole and on disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line in a single write, on a line of its own even after a torn one, and wait for the disk."""
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    try:
        with path.open("a+b") as file:
            if file.tell() and not _ends_with_newline(file):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from None


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a torn line (a write that was cut short) is passed over."""
    found = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if isinstance(value := json.loads(line), dict):
                found.append(value)
    return found


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} is no run: {path.name} is missing.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object.")
    return value


@functools.cache
def provenance() -> dict[str, Any]:
    """What made a result: versions, the source's git revision (None outside a checkout), the machine's kind."""
    here = Path(__file__).parent
    revision = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
        )
        revision = shown.stdout.strip() or None
    versions = {name: metadata.version(name) for name in ("rungwise", "torch", "numpy")}
    return {"versions": {"python": platform.python_version(), **versions}, "git_revision": revision}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def origin(words: WordList) -> dict[str, Any]:
    """The data and what trained on it, as every run and result tells it."""
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

    @property
    def sampled_firsts(self) -> np.ndarray | None:
        """What generate() takes as `firsts`: None where the model draws its first character itself."""
        return None if self.protocol.start_token else self.firsts


def prepare(folder: Path, what: str) -> None:
    """Make a new directory to write to; one that holds anything is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty; give another --out for {what}, or remove it.")
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from None


def save(folder: Path, run: Run, samples: list[str]) -> None:
    """Write a run; config.json comes last, so that a directory which has one is complete."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / WEIGHTS) as temporary:
        save_file({name: p.contiguous() for name, p in run.model.state_dict().items()}, temporary)
    write_json(folder / VOCABULARY, {"characters": run.vocabulary.characters, "firsts": run.firsts.tolist()})
    write_text(folder / SAMPLES, "".join(f"{word}\n" for word in samples))
    config = {"format": FORMAT, "model": run.model.config.to_dict(), "train": run.train_config.to_dict()}
    write_json(folder / CONFIG, {**config, "protocol": run.protocol.to_dict(), **run.info})


def load(folder: Path) -> Run:
    """Read a run back. Anything missing, altered or of another format is one clear error."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from rungwise.model import Transformer

    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG} has format {config.get('format')!r}; this version reads {FORMAT}.")
    parts = {}
    for name, kind in (("model", ModelConfig), ("train", TrainConfig), ("protocol", Protocol)):
        if not isinstance(values := config.pop(name, None), dict):
            raise UserError(f"{folder / CONFIG}: {name!r} is missing.")
        parts[name] = kind.from_dict(values, f"{folder / CONFIG}: {name}")
    values = read_json(folder / VOCABULARY)
    model_config: ModelConfig = parts["model"]
    characters, firsts = values.get("characters"), values.get("firsts")
    if not isinstance(characters, str) or len(Vocabulary(characters)) != model_config.vocab_size:
        raise UserError(f"{folder / VOCABULARY} does not fit the model's vocab_size={model_config.vocab_size}.")
    if not isinstance(firsts, list) or len(firsts) != model_config.vocab_size:
        raise UserError(f"{folder / VOCABULARY}: 'firsts' must be a list of {model_config.vocab_size} counts.")
    model = Transformer(model_config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError:
        raise UserError(f"{folder} is no complete run: {WEIGHTS} is missing.") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder / WEIGHTS} is damaged or of another model: {str(error).splitlines()[0]}") from None
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        raise UserError(f"{folder / WEIGHTS} holds numbers that are not finite.")
    return Run(model.eval(), Vocabulary(characters), parts["protocol"], np.array(firsts), parts["train"], config)

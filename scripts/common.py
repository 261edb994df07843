"""What several scripts need: paths, --out, times, a process of its own, words on a tape, makemore, Markdown tables."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rungwise.config import Protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.words import WordList
from rungwise.util import files

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PERFORMANCE = RESULTS / "performance"
"""What `rungwise bench --out`, bench_growth.py and bench_compile.py measured."""
MAKEMORE_SEED = 3407


def parser(doc: str | None, out: Path | None = None) -> argparse.ArgumentParser:
    """A script's command line: the first line of its docstring, and --out, the file to write."""
    arguments = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    arguments.add_argument("--out", type=Path, default=out, required=out is None)
    return arguments


def keep(path: Path, value: Any) -> None:
    """Write a measurement as JSON, in a folder that need not exist."""
    files.make_folder(path.parent)
    files.write_json(path, value)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of all threads of this process: other programs disturb them least."""
    began = time.process_time()
    work()
    return time.process_time() - began


def seconds(work: Callable[[], object]) -> float:
    """By the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_a_process(script: str, *arguments: object, launcher: Sequence[str] = (), **environment: str) -> Any:
    """Run a script of ours by itself; returns the last line that it prints, which is JSON. CalledProcessError."""
    command = [sys.executable, *launcher, "-m", f"scripts.{script}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, env=os.environ | environment)
    return json.loads(done.stdout.splitlines()[-1])


def tape(listed: WordList, protocol: Protocol, part: str = "train") -> Tape:
    """The words of one part of the protocol's split."""
    return Tape.of(listed, getattr(words.split(listed, protocol), part), protocol)


MAKEMORE_TYPES = {
    "transformer": "Transformer",
    "bigram": "Bigram",
    "bow": "BoW",
    "mlp": "MLP",
    "rnn": "RNN",
    "gru": "RNN",
}
"""What its --type takes, and the class that it names."""


def makemore(folder: Path, kind: str = "transformer") -> tuple[Any, Any, Any]:
    """Its default model of a type, untrained, and its own train and test words of the article's list."""
    import torch

    from rungwise.bench.peers import load_makemore

    module = load_makemore(folder)
    torch.manual_seed(MAKEMORE_SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        train, test = module.create_datasets(str(words.names_path()))
    config = module.ModelConfig(vocab_size=test.get_vocab_size(), block_size=test.get_output_length())
    model = getattr(module, MAKEMORE_TYPES[kind])
    return (model(config, kind) if kind in ("rnn", "gru") else model(config)).eval(), train, test


def table(columns: Mapping[str, str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown. `columns`: head -> alignment (---, --: or :-:), in order."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(columns.values()) + "|"]
    lines += ["| " + " | ".join(map(str, cells)) + " |" for cells in rows]
    return "\n".join(lines) + "\n"

"""Other projects, run from the user's own checkout as they are, in processes of their own; nothing is written there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rungwise.bench.machine import childrens_seconds
from rungwise.config import ModelConfig
from rungwise.data.words import WordList
from rungwise.errors import UserError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""They would limit the other projects."""


def run(command: Sequence[object], folder: Path) -> str:
    """What a program prints on standard output, with as many threads as it likes; one line where it fails."""
    free = {name: value for name, value in os.environ.items() if name not in THREADS}
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, cwd=folder, env=free, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}.") from None
    if done.returncode:
        message = (done.stderr.strip() or done.stdout.strip() or "without a message").splitlines()[-1]
        raise UserError(f"{' '.join(words[:3])} ... failed in {folder}: {message}")
    return done.stdout


def numbers(pattern: str, printed: str, who: str) -> list[float]:
    """Numbers in what a program printed; an error where there are none, for programs change."""
    there = [float(x.replace(",", "")) for x in re.findall(pattern, printed)]
    if not there:
        raise UserError(f"{who} printed nothing like {pattern!r}: it is another version than the one known here.")
    return there


def require(folder: Path, file: str, flag: str) -> None:
    if not (folder / file).is_file():
        raise UserError(f"{flag} {folder}: no {file} there; give a checkout of the project.")


def write_words(listed: WordList, path: Path) -> None:
    """A word a line, as both projects read them."""
    path.write_text("".join(f"{word}\n" for word in listed), encoding="utf-8", newline="\n")


# ------------------------------------------------------------------------------------------------ makemore


MAKEMORE_SIZES = {"scaled": (), "gelu": ("--n-embd", "32", "--n-head", "2")}
"""Its transformer at the size of a rung."""
MAKEMORE_NAMES = """
import sys, time, torch
from rungwise.bench.peers import load_makemore
makemore = load_makemore(sys.argv[1])
vocab, block, n = map(int, sys.argv[2:])
model = makemore.Transformer(makemore.ModelConfig(vocab_size=vocab, block_size=block)).eval()
best = 0
for batch in (min(n, 200), n):
    began = time.perf_counter()
    makemore.generate(model, torch.zeros(batch, 1, dtype=torch.long), block - 1, do_sample=True)
    best = max(best, batch / (time.perf_counter() - began))
print("names a second:", best)
"""


def load_makemore(folder: str | Path) -> Any:
    """The module makemore.py of a checkout. It is run: call this in a process that may be changed by it."""
    spec = importlib.util.spec_from_file_location("makemore", Path(folder) / "makemore.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Makemore:
    """karpathy/makemore: its own script, its default transformer, two threads or as many as torch takes."""

    folder: Path
    words: WordList
    aside: Path
    """Where its files go."""

    def __post_init__(self) -> None:
        require(self.folder, "makemore.py", "--makemore")
        self.folder = self.folder.resolve()
        write_words(self.words, self.aside / "words.txt")
        self.n_params: dict[str, int] = {}

    def ms_a_step(self, rung: str, steps: int) -> list[float]:
        """Its step times as it prints them, every tenth; the first tenth of the run is left out."""
        with tempfile.TemporaryDirectory(dir=self.aside) as out:
            command = ["-B", "makemore.py", "-i", self.aside / "words.txt", "-o", out, "--max-steps", steps]
            printed = run([sys.executable, *command, *MAKEMORE_SIZES[rung]], self.folder)
        self.n_params[rung] = int(numbers(r"model #params: (\d+)", printed, "makemore")[0])
        times = numbers(r"step time ([\d.]+)ms", printed, "makemore")
        return times[len(times) // 10 :]

    def names_a_second(self, n: int) -> float:
        """Of its generate(), which draws all places of all words: the better of two batch sizes."""
        vocab, block = len(self.words.vocabulary) - 1, self.words.block_size
        command = [sys.executable, "-B", "-c", MAKEMORE_NAMES, self.folder, vocab, block, n]
        return numbers(r"names a second: ([\d.]+)", run(command, self.aside), "makemore")[0]


# ------------------------------------------------------------------------------------------------ microgpt-c


@dataclass
class MicrogptC:
    """enjector/microgpt-c: its demo of names, built by its CMake in a directory aside at our size, a process a core.

    It trains, then draws, and prints the speed of both by its own clock, which counts CPU time: where the processes
    also wait, because the machine has other work, that is put right by wall time over CPU time.
    """

    folder: Path
    words: WordList
    aside: Path
    processes: int
    steps: int
    names: int

    def __post_init__(self) -> None:
        require(self.folder, "demos/character-level/names/main.c", "--microgpt-c")
        if not shutil.which("cmake"):
            raise UserError("--microgpt-c needs cmake, which builds that project.")
        self.folder = self.folder.resolve()
        sizes = {
            "N_EMBD": 64,
            "N_HEAD": 4,
            "N_LAYER": 4,
            "MLP_DIM": 256,
            "BLOCK_SIZE": self.words.block_size,
            "BATCH_SIZE": 32,
            "NUM_STEPS": self.steps,
            "NUM_SAMPLES": self.names,
            "TEMPERATURE": "1.0",
            "LEARNING_RATE": "0.001",
            "MAX_DOCS": len(self.words) + 1,
        }
        defines = " ".join(f"-D{name}={value}" for name, value in sizes.items())
        run(["cmake", "-S", self.folder, "-B", self.aside / "build", f"-DCMAKE_C_FLAGS={defines}"], self.aside)
        run(["cmake", "--build", self.aside / "build", "--target", "c_names_demo"], self.aside)
        self.n_params = 0
        self.mean_length = 0.0

    def speeds(self) -> tuple[float, float]:
        """Milliseconds a step and model, and names a second, of all its processes side by side."""
        with tempfile.TemporaryDirectory(dir=self.aside) as here:
            folders = [Path(here) / str(i) for i in range(self.processes)]
            for folder in folders:
                folder.mkdir()
                write_words(self.words, folder / "c_names.txt")
            before, began = childrens_seconds(), time.perf_counter()
            with ThreadPoolExecutor(self.processes) as pool:
                printed = list(pool.map(partial(run, [self.aside / "build" / "c_names_demo"]), folders))
            wall, cpu = time.perf_counter() - began, childrens_seconds() - before
        waits = max(1.0, wall * self.processes / cpu)
        self.n_params = int(numbers(r"num params: (\d+)", printed[0], "microgpt-c")[0])
        self.mean_length = statistics.mean(map(len, re.findall(r"^sample +\d+: (.*)$", printed[0], re.MULTILINE)))
        steps = sum(numbers(r"Training: .*\| ([\d.]+) steps/s", text, "microgpt-c")[0] for text in printed)
        names = sum(numbers(r"Inference: .*\| ([\d.]+) samples/s", text, "microgpt-c")[0] for text in printed)
        return 1000 / steps * waits, names / waits


# ------------------------------------------------------------------------------------------------ eemicrogpt


@dataclass
class EEmicroGPT:
    """Entrpi/eemicrogpt, a program that its user has built: one process, its step time by its own clock."""

    program: Path
    words: WordList
    aside: Path

    def __post_init__(self) -> None:
        if not self.program.is_file():
            raise UserError(f"--eemicrogpt {self.program}: there is no such program; build it as its README tells.")
        self.program = self.program.resolve()
        write_words(self.words, self.aside / "names.txt")
        self.us_a_word()  # tells its size
        self.what = f"{self.model.n_embd} wide, batch {self.batch}"

    def us_a_word(self) -> float:
        """Microseconds a step and word."""
        printed = run([self.program], self.aside)
        width, heads, self.batch, self.n_params = (
            int(numbers(pattern, printed, "eemicrogpt")[0])
            for pattern in (r"\bd_model=(\d+)", r"\bn_heads=(\d+)", r"\bbatch=(\d+)", r"(\d+) parameters")
        )
        self.model = ModelConfig(
            vocab_size=len(self.words.vocabulary), block_size=self.words.block_size, n_layer=1, n_embd=width,
            n_head=heads, mlp="relu", norm="rmsnorm", position="learned", dropout=0.0,
        )  # fmt: skip
        """Ours of that size."""
        return numbers(r"Average step: ([\d.]+) us", printed, "eemicrogpt")[0] / self.batch

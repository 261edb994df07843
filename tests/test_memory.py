"""Ten million words are read and trained on in little more memory than their own."""

import subprocess
import sys

import numpy as np
import pytest

from helpers import TINY, flags

SCRIPT = """
import resource, sys, time
from rungwise.cli import main
began = time.monotonic()
main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak // (1024 if sys.platform != "darwin" else 1024**2), round(time.monotonic() - began))
"""


def write_list(path, n: int) -> None:
    """Lines of two to ten letters, most of them distinct."""
    rng, letters = np.random.default_rng(0), np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    with path.open("wb") as file:
        for _ in range(n // 100_000):
            rows = letters[rng.integers(26, size=(100_000, 11))]
            rows[np.arange(100_000), rng.integers(2, 11, size=100_000)] = ord("\n")
            keep = np.arange(11) <= (rows == ord("\n")).argmax(1)[:, None]
            file.write(rows[keep].tobytes())


def peak(path, out) -> int:
    """MiB that a short training takes at most."""
    arguments = ["train", "--data", str(path), "--out", str(out), *flags(**{**TINY, "batch_size": 32})]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mib, seconds = map(int, done.stdout.splitlines()[-1].split())
    print(f"{path.name}: {mib} MiB at most, {seconds} s")
    return mib


@pytest.mark.long
def test_ten_million_words(tmp_path):
    for n in (100_000, 10_000_000):
        write_list(tmp_path / f"{n}.txt", n)
    small, large = (peak(tmp_path / f"{n}.txt", tmp_path / f"run-{n}") for n in (100_000, 10_000_000))
    # As Python strings alone they would take 55 bytes a word and more, and 8 in the list that holds them.
    assert (large - small) * 2**20 < 100 * 10_000_000

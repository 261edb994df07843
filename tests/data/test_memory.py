"""Ten million words are trained on in little more memory than their own; a million are drawn in next to none."""

import subprocess
import sys

import numpy as np
import pytest

from helpers import TINY, flags, tiny_run

SCRIPT = """
import resource, sys, time
from rungwise.cli.main import main
began = time.monotonic()
main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak // (1024 if sys.platform != "darwin" else 1024**2), round(time.monotonic() - began), file=sys.stderr)
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


def peak(out, *arguments: object) -> int:
    """MiB that a command takes at most; its output goes to the file `out`."""
    with out.open("w") as file:
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mib, seconds = map(int, done.stderr.splitlines()[-1].split())
    print(f"{' '.join(map(str, arguments[:4]))}: {mib} MiB at most, {seconds} s")
    return mib


@pytest.mark.long
def test_ten_million_words(tmp_path):
    found = []
    for n in (100_000, 10_000_000):
        write_list(path := tmp_path / f"{n}.txt", n)
        fields = flags(**{**TINY, "batch_size": 32})
        found.append(peak(tmp_path / "out", "train", "--data", path, "--out", tmp_path / f"run-{n}", *fields))
    small, large = found
    # As Python strings alone they would take 55 bytes a word and more, and 8 in the list that holds them.
    assert (large - small) * 2**20 < 100 * 10_000_000


@pytest.mark.long
@pytest.mark.parametrize("options", [[], ["--unique", "--json"]], ids=["plain", "unique"])
def test_a_million_sampled_words(tmp_path, options):
    """Ten times the words take as much memory, but for the eight bytes a word of --unique and a copy of them."""
    run, found = tiny_run(tmp_path), []
    for n in (100_000, 1_000_000):
        found.append(peak(tmp_path / "words", "sample", run, "-n", n, *options))
        with (tmp_path / "words").open() as file:
            assert sum(1 for _ in file) == n
    few, many = found
    assert many - few < 60

"""Lists in Parquet shards: every word once an epoch, the same batches however they are cut, in flat memory."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from helpers import (  # noqa: E402
    TINY,
    assert_same,
    command,
    ctrl_c,
    flags,
    observed,
)
from rungwise.config import ListConfig  # noqa: E402
from rungwise.data import dataset, shards  # noqa: E402
from rungwise.data.shard_stream import ShardStream  # noqa: E402
from rungwise.data.words import PAD, Dropped  # noqa: E402
from rungwise.errors import UserError  # noqa: E402
from rungwise.training import run_dir, trainer  # noqa: E402
from rungwise.util.files import read_lines, read_tensors  # noqa: E402


def made_up(n: int, seed: int = 0) -> list[str]:
    """Words of 2 to 7 letters of which some are repeated, and one accented letter in two spellings."""
    rng = np.random.default_rng(seed)
    drawn = ["".join(rng.choice(list("abcdefghé"), size=rng.integers(2, 8))) for _ in range(n)]
    return [*drawn[: n - n // 5], *drawn[: n // 5]]


def write(folder: Path, words: list[str | None], n_shards: int = 3, rows: int = 101, kind: object = None) -> Path:
    """Shards of groups of `rows` words; the words are dealt in turn."""
    folder.mkdir(exist_ok=True)
    for i in range(n_shards):
        part = words[i::n_shards]
        table = pa.table({"id": list(range(len(part))), "name": pa.array(part, kind or pa.string())})
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=rows)
    return folder


def survey(folder: Path, **fields):
    return shards.survey(ListConfig(**{"data": str(folder), "column": "name", **fields}))


def spelled(known: shards.Shards, targets: np.ndarray) -> list[str]:
    return [known.vocabulary.decode(row) for row in targets]


WORDS = made_up(1999)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "shards", WORDS)


def test_what_is_counted(folder):
    known, held_out, firsts = survey(folder)
    train = Counter(WORDS) - Counter({w: WORDS.count(w) for p in ("validation", "test") for w in held_out[p]})
    assert known.n_words == len(WORDS)
    assert known.characters == "abcdefghé"
    assert known.longest == max(map(len, WORDS))
    assert known.n_train == train.total()
    assert known.n_characters == sum(len(word) * n for word, n in train.items())
    assert known.mean_length == known.n_characters / known.n_train + 1
    expected = Counter()
    for word, n in train.items():
        expected[word[0]] += n
    assert firsts.tolist() == [0, 0, *(expected[c] for c in known.characters)]


def test_no_word_stands_on_both_sides_though_words_are_repeated(folder):
    _, held_out, _ = survey(folder)
    validation, test, train = (list(held_out[part]) for part in ("validation", "test", "train"))
    distinct = len(set(WORDS))
    for part in (validation, test):
        assert len(part) == len(set(part))
        assert abs(len(part) / distinct - 0.1) < 0.03  # three standard deviations of a binomial share
    assert not set(validation) & set(test)
    assert not set(train) & (set(validation) | set(test))


def test_an_epoch_has_every_training_word_once_and_the_next_in_another_order(folder):
    known, held_out, _ = survey(folder)
    rest = Counter(w for w in WORDS if w not in set(held_out["validation"]) | set(held_out["test"]))
    stream = ShardStream(known, 16, 0)
    for lane in stream.lanes:
        epochs = []
        for epoch in range(2):
            taken = list(lane.take(epoch * lane.n, (epoch + 1) * lane.n))
            rows = [tape.padded(tape.starts[s], tape.lengths[s], known.longest + 1)[1] for tape, s in taken]
            epochs.append(spelled(known, np.concatenate(rows)))
        assert Counter(epochs[0]) == Counter(epochs[1])
        assert epochs[0] != epochs[1]
        rest -= Counter(epochs[0])
    assert not rest
    sizes = [lane.n for lane in stream.lanes]
    assert max(sizes) - min(sizes) <= 101  # no more than a row group apart


@pytest.mark.parametrize("batch_size", [3, 8, 29])
def test_batches_do_not_depend_on_how_they_are_cut_or_where_one_begins(folder, batch_size):
    known, *_ = survey(folder)
    steps = (0, 1, 2, 31, 32, 200)
    whole = {step: spelled(known, ShardStream(known, batch_size, 5).rows(step, 0, batch_size)[1]) for step in steps}
    cuts = [0, 1, batch_size // 2, batch_size]
    parts = [ShardStream(known, batch_size, 5) for _ in cuts]
    for step in steps:
        found = []
        for stream, first, last in zip(parts, cuts, cuts[1:], strict=False):
            if first < last:
                inputs, targets = stream.rows(step, first, last)
                assert (inputs[:, 1:] == np.where(targets[:, 1:] == PAD, PAD, targets[:, :-1])).all()
                assert (targets != PAD).any(axis=0).all()  # no column more than the longest word takes
                found += spelled(known, targets)
        assert found == whole[step]
    other = spelled(known, ShardStream(known, batch_size, 6).rows(0, 0, batch_size)[1])
    assert other != whole[0]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_any_column_of_text(tmp_path, kind):
    cells = ["  anna ", "", None, "José", "José", "x" * 99, "a\nb", *made_up(499)]
    known, held_out, _ = survey(write(tmp_path / "shards", cells, kind=kind))
    assert known.dropped == Dropped(long=1, broken=1, blank=2)
    assert known.n_words == 3 + 499
    assert "́" not in known.characters
    assert known.describe(held_out).startswith(
        f"shards: 502 words in 3 shards, 1 too long and dropped, 1 with a line break and dropped; {known.n_train} train"
    )


def test_a_run_goes_on_bit_for_bit_and_keeps_what_it_needs(folder, tmp_path, monkeypatch):
    """It is stopped in the middle of an epoch and of a row group, its shards are moved, and it goes on."""
    fields = {**TINY, "engine": "auto", "batch_size": 24, "steps": 90, "eval_every": 30, "dropout": 0.1}
    begin = ["train", "--data", folder, "--column", "name", *flags(**fields), "--out"]
    done = command(*begin, tmp_path / "whole")
    assert done.status == 0, done.err
    assert "1,999 words in 3 shards" in done.out
    assert "engine distributed;" in done.out
    cut = tmp_path / "cut"
    with monkeypatch.context() as patched, observed(ctrl_c(at=71)):  # of 66 or so steps an epoch
        patched.setattr(trainer, "STEPS_AT_ONCE", 11)
        assert command(*begin, cut).status == 130
    (tmp_path / "moved").mkdir()
    for path in folder.iterdir():
        path.rename(tmp_path / "moved" / path.name)
    assert "No such file" in command("train", "--out", cut, "--resume").err
    done = command("train", "--out", cut, "--resume", "--data", f"{tmp_path}/moved/*.parquet")
    assert "Going on after 71 steps." in done.out, done.err
    assert_same(tmp_path / "whole", cut)
    told = read_lines(cut / run_dir.METRICS)[-1]
    assert {"final_train_loss", "final_validation_loss", "final_test_loss"} < told.keys()
    assert command("sample", cut, "-n", 3).status == 0
    assert "keeps no list of its words" in command("sample", cut, "-n", 3, "--new-only").err


def test_a_shard_that_was_written_anew_is_refused(folder, tmp_path):
    out = tmp_path / "run"
    fields = {**TINY, "engine": "auto", "batch_size": 8}
    assert command("train", "--data", folder, "--column", "name", *flags(**fields), "--out", out).status == 0
    (out / run_dir.SAMPLES).unlink()
    write(folder, WORDS[::-1])
    told = command("train", "--out", out, "--resume").err
    assert f"{folder}/0.parquet is not the shard that the run was begun with: it was written anew." in told


TRAIN = "train --data shards --column name --out new"
BAD = [
    ("train --data shards --out new", "shards is made of Parquet shards: name the --column that holds the words."),
    ("train --data no/*.parquet --column name", "'no/*.parquet' matches no Parquet shards: give a directory with"),
    ("train --data shards --column nam --out new", "/0.parquet has no column 'nam'; did you mean 'name'?"),
    ("train --data shards --column id --out new", "/0.parquet: column 'id' holds int64, not text."),
    ("train --data torn --column name --out new", "/0.parquet cannot be read as Parquet: "),
    ("train --data blank --column name --out new", "blank holds 0 words, too few different ones to hold some out"),
    ("train --data same --column name --out new", "same holds 50 words, too few different ones to hold some out"),
    (f"{TRAIN} --protocol article", "Shards are split by a hash of each word, which is protocol strict; protocol art"),
    (f"{TRAIN} --batching stream", "Shards give batches of words: batching must be 'words', but is 'stream'."),
    (f"{TRAIN} --engine native", "Engine native cannot do a list in shards; leave out --engine."),
]


@pytest.mark.parametrize(("line", "expected"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_clear_line(folder, monkeypatch, line, expected):
    monkeypatch.chdir(folder.parent)
    write(folder.parent / "blank", [None, "", " "], 1)
    write(folder.parent / "same", ["anna"] * 50, 1)
    (folder.parent / "torn").mkdir()
    (folder.parent / "torn" / "0.parquet").write_bytes((folder / "0.parquet").read_bytes()[:-9])
    done = command(*line.split(" "))
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("rungwise: error: ")
    assert expected in done.err
    assert not (folder.parent / "new").exists()


def test_a_row_group_that_memory_should_not_hold_is_refused(folder, monkeypatch):
    monkeypatch.setattr(shards, "LARGEST_GROUP", 100)
    with pytest.raises(UserError, match="has a row group of 101 rows, more than should be in memory at once"):
        survey(folder)


def test_pyarrow_that_is_not_installed(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = command("train", "--data", folder, "--column", "name")
    assert done.err == "rungwise: error: Parquet shards need the package pyarrow: pip install 'rungwise[stream]'\n"


@pytest.mark.parametrize("name", [dataset.SHARDS, dataset.HELD_OUT])
def test_what_a_run_keeps_of_its_shards_is_read_with_care(folder, tmp_path, name):
    out = tmp_path / "run"
    fields = {**TINY, "engine": "auto", "batch_size": 8}
    assert command("train", "--data", folder, "--column", "name", *flags(**fields), "--out", out).status == 0
    (out / run_dir.SAMPLES).unlink()
    path = out / name
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"groups": "many"}))
    else:
        path.write_bytes(path.read_bytes()[:-7])
    done = command("train", "--out", out, "--resume")
    assert done.status == 2
    assert done.err.startswith(f"rungwise: error: {path}")
    assert ("groups" if path.suffix == ".json" else "is damaged") in done.err
    read_tensors(out / run_dir.CHECKPOINT)


SCRIPT = """
import re, sys
from pathlib import Path
from rungwise.cli.main import main  # noqa: E402
main(sys.argv[1:])
# Not getrusage(): a process that was forked begins with the peak of the one that it was forked from.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.long
def test_memory_is_flat_in_the_size_of_the_list(tmp_path):
    """Forty shards of 100,000 words against four: nearly all of them different; every lane goes through several."""
    rng, letters, peaks = np.random.default_rng(0), np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8), {}
    for n in (4, 40):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(n):
            rows = letters[rng.integers(26, size=(100_000, 10))].tobytes().decode()
            part = [rows[10 * j : 10 * j + 3 + j % 8] for j in range(100_000)]
            pq.write_table(pa.table({"name": part}), folder / f"{i:03}.parquet", row_group_size=20_000)
        fields = {**TINY, "engine": "auto", "batch_size": 4096, "steps": 100}
        arguments = ["train", "--data", folder, "--column", "name", *flags(**fields), "--out", tmp_path / f"run{n}"]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        peaks[n] = int(done.stdout.splitlines()[-1])
    print("peak MiB by number of shards:", peaks)
    assert peaks[40] < 1.1 * peaks[4] + 20  # ten times the words

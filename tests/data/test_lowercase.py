"""--lowercase: one list whatever way it is read, and every command that reads lists."""

import gzip
import json

import polars as pl
import pytest

from helpers import TINY, command, flags
from rungwise import train
from rungwise.config import ListConfig
from rungwise.data import words
from rungwise.data.dataset import load

MIXED = ["Anna", "BEA", "carl", "DÖRTE", "Éva", "anna", "İpek"]
LOWER = ["anna", "bea", "carl", "dörte", "éva", "anna", "i\u0307pek"]
N = len(set("".join(LOWER)))


@pytest.mark.parametrize("kind", ["txt", "gz", "csv", "parquet", "strings"])
def test_every_source_gives_the_same_words(tmp_path, kind):
    path, column = tmp_path / f"l.{kind}", None
    if kind == "strings":
        found = words.from_words(MIXED, how=ListConfig(lowercase=True))
    else:
        text = "\n".join(MIXED).encode()
        if kind == "parquet":
            pl.DataFrame({"name": MIXED}).write_parquet(path)
        else:
            path.write_bytes(
                {"txt": text, "gz": gzip.compress(text), "csv": b"name,x\n" + text.replace(b"\n", b",1\n") + b",1"}[
                    kind
                ]
            )
        column = "name" if kind in ("csv", "parquet") else None
        found = words.load(ListConfig(str(path), column=column, lowercase=True))
        assert list(words.load(ListConfig(str(path), column=column))) == MIXED
    assert list(found) == LOWER


def test_shards(tmp_path):
    for i in range(3):
        pl.DataFrame({"name": [f"Name{i}{j}X" for j in range(200)]}).write_parquet(tmp_path / f"{i}.parquet")
    dataset, _ = load(ListConfig(str(tmp_path / "*.parquet"), column="name", lowercase=True), "strict", "words")
    assert dataset.vocabulary.characters == "".join(sorted(set("namex0123456789")))


def test_the_commands(tmp_path):
    path = tmp_path / "l.txt"
    path.write_text("\n".join(f"{a}{b}" for a in MIXED for b in MIXED))
    described = command("data", path, "--no-counts").out
    assert f"In lower case (--lowercase) it would have {N} characters: fewer to learn" in described
    assert "(--lowercase)" not in command("data", path, "--no-counts", "--lowercase").out
    done = command("train", "--data", path, "--lowercase", "--out", tmp_path / "r", *flags(**TINY))
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "r/config.json").read_text())["list"]["lowercase"] is True
    told = json.loads(command("eval", tmp_path / "r", path, "--json").out)  # reads a list as its model read its own
    assert told["words_with_unknown_characters"] == 0 and told["by_part"].keys() == {"training", "held out"}
    assert sum(part["words"] for part in told["by_part"].values()) == 49
    how = ["--steps", 2, "--seeds", 1, "--rungs", "baseline", "--engine", "torch", "--processes", 1]
    climbed = command("climb", "--data", path, "--lowercase", "--out", tmp_path / "c", *how)
    assert climbed.status == 0 and f"({N} characters" in climbed.out
    other = command("climb", "--data", path, "--out", tmp_path / "c", *how)
    assert other.status == 2 and "holds another climb (reading" in other.err
    assert "--lowercase" in (tmp_path / "c/report.md").read_text()
    run = train(MIXED * 5, lowercase=True, **TINY)
    assert run.vocabulary.characters == "".join(sorted(set("".join(LOWER))))


def test_a_flag_of_train_needs_no_value(tmp_path):
    (tmp_path / "l").write_text("\n".join(MIXED * 9))
    for i, how in enumerate((["--lowercase"], ["--lowercase", "True"], ["--lowercase", "False"])):
        done = command("train", *how, "--data", tmp_path / "l", "--out", tmp_path / f"r{i}", *flags(**TINY))
        assert done.status == 0, done.err
        kept = json.loads((tmp_path / f"r{i}/config.json").read_text())["list"]["lowercase"]
        assert kept is (how[-1] != "False")

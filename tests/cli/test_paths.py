"""Any path that the system accepts, in every command and whatever the locale; what is stored of it is found again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import TINY, WORDS, command, flags, tiny_run
from rungwise.config import ListConfig
from rungwise.data.shards import Shards
from rungwise.util import files
from rungwise.util.files import local, portable

ODD = [b"-m\xfcller [1]*?'\"\n\xed\xa0\x80", "f\xfcr \xe9lise \u6771".encode()]


@pytest.fixture(params=ODD, ids=ascii)
def place(request, tmp_path) -> Path:
    """A directory that has such a name, and in it a list that has one, too."""
    folder = tmp_path / os.fsdecode(request.param)
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this system has no such names")
    (folder / f"{folder.name}.txt").write_text("\n".join(WORDS))
    return folder


def good(*arguments: object) -> str:
    done = command(*arguments)
    assert done.status == 0, done
    return done.out


def test_every_command_takes_any_path(place, monkeypatch):
    data, run, climb = place / f"{place.name}.txt", place / "run", place / "climb"
    assert json.loads(good("data", data, "--json", "--no-counts"))["list"] == data.name
    good("train", f"--data={data}", "--out", run, *flags(**TINY))
    stored = json.loads((run / "config.json").read_bytes())
    assert (stored["data"], stored["list"]["data"]) == (data.name, str(data))
    assert good("sample", run, "-n", 3, "--new-only").count("\n") == 3
    assert f"{len(WORDS)} words, {len(WORDS)} scored" in good("eval", run, data)
    good("train", "--config", run / "config.json", "--out", place / "again")
    (run / "samples.txt").unlink()
    monkeypatch.chdir(place.parent)  # the list is found from elsewhere
    assert "Going on after 20 steps." in good("train", "--out", run, "--resume")
    asked = (f"--data={data}", "--out", climb, "--rungs", "baseline", "--seeds", 1, "--steps", 4, "--processes", 1)
    good("climb", *asked)
    good("climb", *asked)  # goes on: it is the same list by its name
    assert json.loads((climb / "results.jsonl").read_bytes())["data"] == data.name
    good("report", climb)
    good("play", climb, f"--data={data}")
    assert (climb / "play.html").read_text(encoding="utf-8").count("</html>") == 1
    assert "</html>" in (climb / "report.html").read_text(encoding="utf-8")


def test_tables_and_shards_may_lie_anywhere(place):
    frame, shards = pl.DataFrame({"name": [f"{a}{b}" for a in WORDS for b in WORDS]}), place / "shards"
    shards.mkdir()
    for name in ("a", "b"):
        with (shards / f"{name}.parquet").open("wb") as file:
            frame.write_parquet(file)
    asked = ("--column", "name")
    good("data", shards / "a.parquet", *asked, "--no-counts")
    fields = flags(**{**TINY, "engine": "distributed", "steps": 2, "warmup_steps": 1})
    good("train", f"--data={shards}", "--out", place / "run", *asked, *fields)
    (place / "run" / "samples.txt").unlink()
    assert "Going on after 2 steps." in good("train", "--out", place / "run", "--resume")


def test_what_libraries_do_not_take_is_told_before_anything_is_written(tmp_path):
    out = tmp_path / os.fsdecode(b"m\xfcller")
    (tmp_path / "l").write_text("\n".join(WORDS))
    line = "takes no path that is not UTF-8, such as "
    done = command("train", "--data", tmp_path / "l", "--out", out, "--tensorboard", *flags(**TINY))
    assert (done.status, f"tensorboard {line}" in done.err) == (2, True)
    done = command("export", tiny_run(tmp_path), "--format", "hf", "--out", out)
    assert (done.status, f"transformers {line}" in done.err) == (2, True)
    assert not out.exists()


def in_locale_c(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
    """Where Python takes ASCII for the language of the file system, and would write it, too."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-m", "rungwise", *map(str, arguments)]
    return subprocess.run(asked, env=os.environ | plain, capture_output=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file system speaks UTF-8 in any locale")
def test_a_run_goes_from_locale_to_locale(tmp_path):
    data, run = tmp_path / "f\xfcr \xe9lise.txt", tmp_path / "run \xfc"
    data.write_text("\n".join([*WORDS, "r\xe9mi", "zo\xe9", "ren\xe9e"]), encoding="utf-8")
    done = in_locale_c("train", "--data", data, "--out", run, *flags(**TINY))
    assert done.returncode == 0, done
    assert "f\xfcr \xe9lise.txt: 43 words" in done.stdout.decode("utf-8")
    stored = json.loads((run / "config.json").read_bytes())
    assert (stored["data"], stored["list"]["data"]) == (data.name, str(data))
    (run / "samples.txt").unlink()
    assert "Going on after 20 steps." in good("train", "--out", run, "--resume")  # here
    (run / "samples.txt").unlink()
    done = in_locale_c("train", "--out", run, "--resume")  # and there
    assert done.returncode == 0, done
    drawn = good("sample", run, "-n", 5, "--prefix", "r\udcc3\udca9")  # as Python has it there
    assert [word[:2] for word in drawn.splitlines()] == ["r\xe9"] * 5


@given(st.binary(max_size=20).filter(lambda name: b"\0" not in name))
def test_any_bytes_are_text_and_back(name):
    text = portable(os.fsdecode(name))
    assert os.fsencode(local(text)) == name
    assert json.loads(files.utf8(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}
    assert portable(text) == text
    assert ListConfig.from_dict({"data": text}).data == text


@given(st.text(st.characters(categories=["Cs", "L", "P"])))
def test_half_characters_end_no_program(text):
    assert isinstance(portable(text), str)
    assert files.utf8(text).decode("utf-8") == text.encode("utf-8", "backslashreplace").decode()
    assert ListConfig.from_dict({"data": text, "column": text}).column == text


def test_shards_that_are_known_again_lie_where_they_lay(tmp_path):
    pl.DataFrame({"name": [f"{a}{b}" for a in WORDS for b in WORDS]}).write_parquet(tmp_path / "a.parquet")
    from rungwise.data import shards

    known = shards.survey(ListConfig(str(tmp_path), column="name"))[0]
    moved = {**known.to_dict(), "files": ["/m\udcfcller/a.parquet"], "name": "m\udcfcller"}
    found = Shards.from_dict(json.loads(files.utf8(json.dumps(moved))), "here")
    assert (found.files, found.name) == (moved["files"], moved["name"])
    assert found.to_dict() == moved

"""What climbs and runs wrote, read back when somebody has altered it: text, NaN or Infinity where numbers belong is one
line that names the file and the place."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_up
from altered import altered, assert_civil
from conftest import make_words
from helpers import TINY, a_result, command, flags
from rungwise.analysis.evidence import read
from rungwise.errors import UserError
from rungwise.experiment.results import RESULTS, Result
from rungwise.util.files import read_lines, write_lines

WRONG = [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "inf"), ('"2.1"', "'2.1'"), ("[]", "[]")]
FEW = {name: made_up.LOSSES[name] for name in ("baseline", "2-heads", "stream")}


def replaced(path: Path, at: tuple, token: str, line: int | None = None) -> None:
    """Put a piece of JSON into a place of a file, or of one of its lines, as somebody's editor would."""
    texts = path.read_text().splitlines() if line else [path.read_text()]
    value = json.loads(texts[(line or 1) - 1])
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    assert at[-1] in inner or isinstance(inner, list)
    inner[at[-1]] = "HERE"
    texts[(line or 1) - 1] = json.dumps(value).replace('"HERE"', token)
    path.write_text("\n".join(texts) + "\n")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return made_up.write_climb(tmp_path_factory.mktemp("kept"), losses=FEW, seeds=(0, 1))


@pytest.fixture
def climb(kept, tmp_path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "c"))


PLACES = ["test_loss", "train_loss", "seed", "n_params", "detail.accuracy", "detail.by_position.2",
          "detail.n_test_tokens", "model.vocab_size", "train.warmup_steps", "split_seed"]  # fmt: skip


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize(("token", "shown"), WRONG, ids=[token for token, _ in WRONG])
def test_results(climb, at, token, shown):
    replaced(climb / RESULTS, tuple(int(k) if k == "2" else k for k in at.split(".")), token, line=3)
    done = command("report", climb)
    assert done.status == 2, done
    where = f"rungwise: error: {climb / RESULTS}: line 3: {at}: "
    assert done.err.startswith(where) and shown in done.err and done.err.count("\n") == 1, done.err
    assert not (climb / "report.md").exists()


def test_a_line_is_counted_as_an_editor_counts(climb):
    """Blank lines and torn ones count, too."""
    lines = (climb / RESULTS).read_text().splitlines()
    (climb / RESULTS).write_text(
        "\n".join(["", lines[0], '{"rung": "bas', lines[1].replace('"seed": 1', '"seed": "1"')])
    )
    assert f"{RESULTS}: line 4: seed: " in command("report", climb).err


@pytest.mark.parametrize(("token", "shown"), WRONG[:-1], ids=[token for token, _ in WRONG[:-1]])
@pytest.mark.parametrize(
    ("name", "at"),
    [("baselines.json", ("kneser_ney", "3", "test_loss")), ("peers.json", ("makemore", "test_loss")),
     ("peers.json", ("makemore", "n_params")), ("peers.json", ("makemore", "steps"))],
)  # fmt: skip
def test_what_lies_beside_results(climb, name, at, token, shown):
    peer = {"test_loss": 2.0, "steps": 5000, "n_params": 9, "protocol": "makemore", "source": "measured"}
    (climb / "peers.json").write_text(json.dumps({"makemore": peer}))
    replaced(climb / name, at, token)
    done = command("report", climb)
    assert done.status == 2, done
    assert done.err.startswith(f"rungwise: error: {climb / name}: {'.'.join(at)}: ") and shown in done.err, done.err


@pytest.mark.parametrize("name", ["words.parquet", "curves.parquet"])
@pytest.mark.parametrize("wrong", ["text", float("nan"), float("inf"), None])
def test_tables_beside_results(climb, name, wrong):
    frame = pl.read_parquet(climb / name)
    column = "train_loss" if name == "curves.parquet" else "baseline/0"
    values = [wrong, *(frame[column].cast(pl.String) if wrong == "text" else frame[column])][: len(frame)]
    frame.with_columns(pl.Series(column, values, strict=False)).write_parquet(climb / name)
    with pytest.raises(UserError, match=f"{name}: column '{column}' must hold finite numbers"):
        read([climb])
    frame.drop(column).drop("tokens", "step", strict=False).write_parquet(climb / name)
    with pytest.raises(UserError, match=f"{name} has no column"):
        read([climb])


# -------------------------------------------------------------------------------------------- runs, and the climb


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Path:
    """A real climb of one rung, with words drawn on the way."""
    words = make_words()
    out = tmp_path_factory.mktemp("played")
    (out / "l").write_text("\n".join(words))
    how = ["--rungs", "baseline", "--steps", 3, "--seeds", 1, "--engine", "torch", "--processes", 1, "--snapshots"]
    assert command("climb", "--data", out / "l", "--out", out / "c", *how).status == 0
    return out


@pytest.fixture
def a_climb(played, tmp_path) -> Path:
    return Path(shutil.copytree(played / "c", tmp_path / "c"))


@pytest.mark.parametrize(("token", "shown"), WRONG, ids=[token for token, _ in WRONG])
@pytest.mark.parametrize(("name", "key"), [("metrics.jsonl", "train_loss"), ("metrics.jsonl", "step"),
                                           ("snapshots.jsonl", "step")])  # fmt: skip
def test_curves_of_a_run(a_climb, played, name, key, token, shown):
    path = a_climb / "baseline/seed-0" / name
    replaced(path, (key,), token, line=1)
    done = command("play", a_climb, "--data", played / "l")
    assert done.status == 2, done
    assert f"{path}: line 1: {key}: " in done.err and shown in done.err, done.err
    if name == "metrics.jsonl":  # the same command again gathers the curves
        how = ["--rungs", "baseline", "--steps", 3, "--seeds", 1, "--engine", "torch", "--processes", 1]
        done = command("climb", "--data", played / "l", "--out", a_climb, *how)
        assert done.status == 2 and f"{path}: line 1: {key}: " in done.err


def test_metrics_of_a_run_that_goes_on(tmp_path):
    (tmp_path / "l").write_text("\n".join(make_words()))
    out = tmp_path / "r"
    assert command("train", "--data", tmp_path / "l", "--out", out, *flags(**TINY)).status == 0
    (out / "samples.txt").unlink()
    lines = read_lines(out / "metrics.jsonl")
    write_lines(out / "metrics.jsonl", [lines[0], lines[1] | {"train_loss": "low"}, *lines[2:]])
    done = command("train", "--out", out, "--resume")
    assert done.status == 2
    assert f"{out / 'metrics.jsonl'}: line 2: train_loss: " in done.err


def test_settings_of_a_climb(a_climb, played):
    replaced(a_climb / "climb.json", ("split_seed",), "NaN")
    done = command("climb", "--data", played / "l", "--out", a_climb, "--steps", 3)
    assert done.status == 2 and "(split_seed nan, not 0)" in done.err


def test_a_result_that_is_not_finite_is_never_kept():
    with pytest.raises(UserError, match=r"Training diverged: test_loss of baseline, seed 3, is not finite\. Try"):
        a_result("baseline", 3, float("nan"))
    assert isinstance(a_result("baseline", 3), Result)


civil = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@civil
@given(data=st.data())
def test_a_report_of_anything(kept, tmp_path_factory, data):
    folder = Path(shutil.copytree(kept, tmp_path_factory.mktemp("any") / "c"))
    name = data.draw(st.sampled_from([RESULTS, "baselines.json"]))
    if name == RESULTS:
        lines = read_lines(folder / name)
        at = data.draw(st.integers(0, len(lines) - 1))
        write_lines(folder / name, [*lines[:at], data.draw(altered(lines[at])), *lines[at + 1 :]])
    else:
        (folder / name).write_text(json.dumps(data.draw(altered(json.loads((folder / name).read_text())))))
    assert_civil(command("report", folder))


@civil
@given(data=st.data())
def test_a_page_of_anything(played, tmp_path_factory, data):
    folder = Path(shutil.copytree(played / "c", tmp_path_factory.mktemp("any") / "c"))
    name = data.draw(st.sampled_from(["metrics.jsonl", "snapshots.jsonl", "config.json", "climb.json"]))
    path = folder / name if name == "climb.json" else folder / "baseline/seed-0" / name
    if name.endswith("jsonl"):
        first, *rest = read_lines(path)
        write_lines(path, [data.draw(altered(first)), *rest])
    else:
        path.write_text(json.dumps(data.draw(altered(json.loads(path.read_text())))))
    assert_civil(command("play", folder, "--data", played / "l"))

"""Random bytes, and files with random damage, at every reader: the answer is a line, never a traceback."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altered import altered, assert_civil, values
from helpers import WORDS, command, tiny_run
from rungwise.data.sources import PACKED
from rungwise.experiment.results import read as read_results
from rungwise.util.files import read_lines

N = int(os.environ.get("RUNGWISE_FUZZ", "20"))  # the examples of each; RUNGWISE_FUZZ=2000 for a night
fuzz = settings(deadline=None, max_examples=N, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damage(draw, whole: bytes) -> bytes:
    """A file with a piece cut out, overwritten or put in; or something else altogether."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    a, b = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:a] + draw(st.binary(max_size=9)) + whole[b if draw(st.booleans()) else a :]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("fuzz"))


@fuzz
@given(data=st.data())
def test_a_list(data, tmp_path):
    whole = "\n".join(WORDS).encode()
    content = data.draw(st.one_of(damage(whole), st.sampled_from([*PACKED, b"PAR1", b"\xff\xfe"]).flatmap(
        lambda magic: st.binary(max_size=99).map(lambda rest: magic + rest))))  # fmt: skip
    (tmp_path / "list").write_bytes(content)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "shift_jis", "utf-7", "unicode_escape", "big5"]))
    column = data.draw(st.sampled_from([[], ["--column", "anna"]]))
    assert_civil(command("data", tmp_path / "list", "--encoding", encoding, "--no-counts", *column))


def broken(run: Path, contents: dict[str, bytes | None], *arguments: object) -> None:
    """Use a run with these files instead of its own (None: without one)."""
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for name, content in contents.items():
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
    try:
        assert_civil(command(*arguments))
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors", "known.safetensors"])
@fuzz
@given(data=st.data())
def test_a_file_of_a_run(run, name, data):
    content = data.draw(damage((run / name).read_bytes()))
    broken(run, {name: content}, "sample", run, "-n", 2, "--new-only")


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
@fuzz
@given(data=st.data())
def test_json_of_a_run_with_other_values(run, name, data):
    changed = data.draw(altered(json.loads((run / name).read_text())))
    broken(run, {name: json.dumps(changed).encode()}, "sample", run, "-n", 2)


@fuzz
@given(data=st.data())
def test_a_checkpoint(run, data, tmp_path):
    content = data.draw(damage((run / "checkpoint.safetensors").read_bytes()))
    broken(run, {"checkpoint.safetensors": content}, "sample", run, "-n", 2, "--weights", "last")
    (tmp_path / "l").write_text("\n".join(WORDS))
    unfinished = {"checkpoint.safetensors": content, "samples.txt": None}
    broken(run, unfinished, "train", "--out", run, "--resume", "--data", tmp_path / "l")


@fuzz
@given(data=st.data())
def test_metrics_and_config_of_a_run_that_goes_on(run, data, tmp_path):
    config = json.loads((run / "config.json").read_text())
    some = {key: config[key] for key in ("run", "list", "seed", "rung", "engine", "threads", "versions")}
    changed = json.dumps(config | data.draw(altered(some))).encode()
    metrics = data.draw(damage((run / "metrics.jsonl").read_bytes()))
    (tmp_path / "l").write_text("\n".join(WORDS))
    unfinished = {"config.json": changed, "metrics.jsonl": metrics, "samples.txt": None}
    broken(run, unfinished, "train", "--out", run, "--resume", "--data", tmp_path / "l")


@fuzz
@given(data=st.data())
def test_a_configuration_file(data, tmp_path):
    good = b'{"model": {"n_embd": 8}, "train": {"steps": 2}, "seed": 1}'
    content = data.draw(damage(good) | values.map(json.dumps).map(str.encode))
    path = tmp_path / data.draw(st.sampled_from(["c.json", "c.toml"]))
    path.write_bytes(content)
    # An unknown rung, so that nothing is trained where the file is good.
    done = command("train", "--config", path, "--out", tmp_path / "r", "--rung", "none", "--data", tmp_path / "none")
    assert_civil(done)
    assert done.status == 2


@fuzz
@given(data=st.data())
def test_results_of_a_climb(data, tmp_path):
    line = json.dumps({"rung": "baseline", "seed": 0, "n_params": 2908})
    (tmp_path / "lines").write_bytes(data.draw(damage(f"{line}\n{line}\n".encode())))
    assert all(isinstance(value, dict) for value in read_lines(tmp_path / "lines"))
    from rungwise.errors import UserError

    try:
        read_results(tmp_path / "lines")
    except UserError as error:
        assert "\n" not in str(error)


@fuzz
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4), st.sampled_from(
    ["train", "sample", "eval", "data", "ladder", "climb", ""]))  # fmt: skip
def test_any_arguments(words, name):
    if name in ("ladder", "climb", "data", "train") and not words:  # these would begin their work
        return
    known = [word for word in words if word not in ("auto", "names", "given-names", "-")]
    done = command(*filter(None, [name]), *(word.replace("\0", "0") + "?" for word in known), "--nonsense")
    assert_civil(done)

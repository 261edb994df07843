"""Run directories: written whole, read with care, held by one process."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from helpers import WORDS, tiny_run
from rungwise.errors import UserError
from rungwise.training import run_dir
from rungwise.util import files
from rungwise.util.files import append_line, atomic, lock, read_lines, read_tensors, write_tensors, write_text


def refused(folder: Path, weights: run_dir.Weights = "best") -> str:
    with pytest.raises(UserError) as caught:
        run_dir.load(folder, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("protocol", ["strict", "article", "makemore"])
def test_a_run_is_complete(tmp_path, protocol):
    folder = tiny_run(tmp_path, protocol)
    run = run_dir.load(folder)
    assert sorted(p.name for p in folder.iterdir() if p.name != files.LOCK) == [
        *("checkpoint.safetensors", "config.json", "known.safetensors", "metrics.jsonl", "model.safetensors"),
        *("samples.txt", "snapshots.jsonl", "vocabulary.json"),
    ]
    assert run.protocol.name == protocol
    assert run.vocabulary.characters == "".join(sorted(set("".join(WORDS))))
    assert run.known is not None and len(run.known) == len(WORDS)
    assert {"data", "data_sha256", "versions", "git_revision", "seed", "engine", "started"} <= run.info.keys()
    assert (run.sampled_firsts is None) == run.protocol.start_token
    assert run.train_config.steps == 20
    last = run_dir.load(folder, "last")
    best_step = read_lines(folder / run_dir.METRICS)[-1]["best_step"]
    same = all(torch.equal(a, b) for a, b in zip(run.model.parameters(), last.model.parameters(), strict=True))
    assert same == (best_step in (0, 20))


def test_saved_and_loaded_weights_are_equal(tmp_path):
    run = run_dir.load(tiny_run(tmp_path))
    run_dir.save(tmp_path / "again", run, ["a", "b"])
    again = run_dir.load(tmp_path / "again")
    for (name, a), (other, b) in zip(run.model.state_dict().items(), again.model.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)
    np.testing.assert_array_equal(run.firsts, again.firsts)
    assert again.known is None


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = tiny_run(tmp_path)
    (folder / name).unlink()
    assert name in refused(folder) or "has no weights yet" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "known.safetensors", "checkpoint.safetensors"])
def test_every_damaged_byte_of_tensors_is_seen(tmp_path, name):
    folder = tiny_run(tmp_path)
    weights: run_dir.Weights = "last" if name == "checkpoint.safetensors" else "best"
    path = folder / name
    whole = path.read_bytes()
    for keep in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        assert f"{name} is damaged" in refused(folder, weights)
    path.write_bytes(whole)
    rng, (tensors, about) = np.random.default_rng(0), read_tensors(path)
    for at in [*rng.integers(len(whole), size=40), *rng.integers(300, size=40)]:
        altered = bytearray(whole)
        altered[at] ^= 1 << rng.integers(8)
        path.write_bytes(altered)
        try:
            found, told = read_tensors(path)
        except UserError:
            assert name in refused(folder, weights)
        else:  # a byte that means nothing: white space of the header, or the name of the format
            assert told == about
            assert all(np.array_equal(found[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"format": 0}, "is of another version of rungwise: this one reads format 1."),
        ({"format": "1"}, "is of another version of rungwise: this one reads format 1."),
        ({"model": None}, "'model' is missing."),
        ({"model": {"n_embd": "8"}}, "config.json: model: n_embd: Input should be a valid integer, but is '8'."),
        ({"model": {"n_embed": 8}}, "config.json: model: unknown field 'n_embed'; did you mean 'n_embd'?"),
        ({"model": {}}, "does not fit the model's vocab_size=28."),
        ({"model": {"n_layer": 10**9}}, "config.json: model: n_layer must be at most 1,000, but is 1000000000."),
        ({"train": {"steps": -1}}, "config.json: train: steps must be at least 1, but is -1."),
        ({"protocol": {}}, "config.json: protocol: name: Field required"),
    ],
)
def test_a_config_that_was_altered(tmp_path, changes, line):
    folder = tiny_run(tmp_path)
    edit(folder / "config.json", **changes)
    assert line in refused(folder)


@pytest.mark.parametrize(
    "field", [{"n_layer": 999}, {"n_embd": 10**15}, {"n_embd": 10**30}, {"mlp_ratio": 10**9}, {"mlp": "none"}]
)
def test_a_config_that_asks_for_too_much_is_refused_at_once(tmp_path, field):
    folder = tiny_run(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", model=config["model"] | field)
    assert "another model" in refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"characters": 5},
        {"characters": "ab"},
        {"characters": "\ud800" + "b" * 21},
        {"firsts": [1]},
        {"firsts": "x"},
        {"firsts": None},
    ],
)
def test_a_vocabulary_that_was_altered(tmp_path, changes):
    folder = tiny_run(tmp_path)
    edit(folder / "vocabulary.json", **changes)
    assert "vocabulary.json" in refused(folder)


def test_firsts_must_be_counts(tmp_path):
    folder = tiny_run(tmp_path)
    good = json.loads((folder / "vocabulary.json").read_text())["firsts"]
    for bad in (
        [-1, *good[1:]],
        [0.5, *good[1:]],
        [True, *good[1:]],
        [2**64, *good[1:]],
        [0] * len(good),
        [1, *good[1:]],
    ):
        edit(folder / "vocabulary.json", firsts=bad)
        assert "firsts" in refused(folder)


def test_weights_of_another_shape_type_or_value(tmp_path):
    folder = tiny_run(tmp_path)
    path = folder / "model.safetensors"
    tensors, about = read_tensors(path)
    assert about["step"] <= 20
    name = "head.bias"
    for bad in (tensors[name][:-1], tensors[name].astype(np.float64)):
        write_tensors(path, {**tensors, name: bad})
        assert "weights of another model" in refused(folder)
    write_tensors(path, {k: v for k, v in tensors.items() if k != name})
    assert "weights of another model" in refused(folder)
    write_tensors(path, {**tensors, name: tensors[name] * np.nan})
    assert "not finite" in refused(folder)
    path.write_bytes(safetensors.numpy.save(tensors))  # somebody else's file
    assert "its checksum does not fit" in refused(folder)


def test_what_is_there_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_text(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write .*a: No space left on device."):
        write_text(path, "new")
    with pytest.raises(UserError, match=r"Cannot write .*b: No space left on device."):
        append_line(tmp_path / "b", {})
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_left_when_the_writer_fails(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path):
    """A process that may write files of at most 4,000 bytes."""
    resource = pytest.importorskip("resource")
    code = textwrap.dedent(f"""
        import resource, signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
        from rungwise.cli.main import main
        main({["train", "--data", "given-names", "--out", str(tmp_path / "r"), "--steps", "1"]!r})
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"rungwise: error: Cannot write {tmp_path / 'r'}/")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "r").glob(".*.tmp"))


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere, and on Windows everybody")
def test_a_read_only_directory_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"Cannot write to .*: Permission denied."):
        files.make_folder(tmp_path / "run")
    tmp_path.chmod(0o700)


def test_the_second_process_is_refused(tmp_path):
    refusal = f"Another process .id {os.getpid()}. is at work in"
    with lock(tmp_path), pytest.raises(UserError, match=refusal), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_a_killed_holder_lets_go_and_is_cleared_away(tmp_path):
    (tmp_path / ".model.safetensors.1.tmp").write_text("half")
    code = (
        "import pathlib, sys, time; from rungwise.util.files import lock\n"
        "with lock(pathlib.Path(sys.argv[1])): print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UserError, match=f"id {holder.pid}"), lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with lock(tmp_path):
        assert not files.contents(tmp_path)
        assert not list(tmp_path.glob("*.tmp"))


def test_lines_survive_a_torn_one(tmp_path):
    path = tmp_path / "lines"
    append_line(path, {"a": 1, "text": "x\u2028y\x85z"})
    with path.open("a") as file:
        file.write('{"a": 2')
    append_line(path, {"a": 3})
    with path.open("ab") as file:
        file.write(b"[1]\n\xff\n" + b"[" * 100_000 + b"\n" + b"9" * 5_000 + b"\n")
    assert [line["a"] for line in read_lines(path)] == [1, 3]
    assert read_lines(path)[0]["text"] == "x\u2028y\x85z"
    assert read_lines(tmp_path / "none") == []

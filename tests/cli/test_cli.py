"""The command: its flags, its help, and one clear line for everything that a user can get wrong."""

import contextlib
import dataclasses
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import rungwise
from helpers import ROOT, TINY, WORDS, command, flags, tiny_run
from rungwise.cli import main as cli
from rungwise.cli.flags import documentation
from rungwise.cli.main import main
from rungwise.cli.train import read_file
from rungwise.config import ListConfig, ModelConfig, RunConfig, TrainConfig, settings
from rungwise.config.settings import Fields, Settings
from rungwise.inference.prefix_tree import Sampling, SamplingFields
from rungwise.util.files import read_lines


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--data", "none.txt"], "No word list at 'none.txt'"),
        (["sample", "none"], "none is not a run directory"),
        (["train", "--n-embd", "0", "--data", "given-names"], "command line: n_embd must be at least 1"),
    ],
)
def test_the_installed_command_says_the_same(tmp_path, arguments, line):
    done = subprocess.run(
        [sys.executable, "-m", "rungwise", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"rungwise: error: {line}")
    assert done.stderr.count("\n") == 1


HELP = [[], ["--help"], *([name, "--help"] for name in cli.COMMANDS)]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_answers_without_torch(arguments):
    code = (
        "import sys\nfrom rungwise.cli.main import main\ntry: main(sys.argv[1:])\n"
        "except SystemExit as e: print(e.code, sorted({'torch', 'polars', 'pydantic', 'scipy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    assert "usage: rungwise" in done.stdout


def test_the_package_alone_does_not_import_torch():
    code = "import sys, rungwise, rungwise.cli; dir(rungwise); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------------ fields


def test_every_field_is_a_flag_with_its_reason():
    done = command("train", "--help")
    assert done.status == 0
    squeezed = " ".join(done.out.replace("│", " ").split())
    for name in settings.ALL:
        assert f"--{name.replace('_', '-')} " in done.out
    for kind in (ListConfig, RunConfig, ModelConfig, TrainConfig):
        for name in settings.fields(kind):
            reason = documentation(kind)[name].replace("None:", "default:")
            assert " ".join(reason.split()) in squeezed, name


def test_the_fields_of_python_are_those_of_the_command():
    known = {name for name in settings.ALL if name != "data"}  # data is train()'s own argument
    assert set(Fields.__annotations__) == known
    assert set(SamplingFields.__annotations__) == {field.name for field in dataclasses.fields(Sampling)}
    hints = get_type_hints(Fields)
    for section, kind in settings.KINDS.items():
        for name in settings.fields(kind):
            assert name == "data" or hints[name] == get_type_hints(kind)[name], (section, name)


@pytest.mark.parametrize("suffix", ["json", "toml"])
@pytest.mark.parametrize("sections", [False, True])
def test_flags_over_file_over_rung(tmp_path, suffix, sections):
    (tmp_path / "l").write_text("\n".join(WORDS))
    path = tmp_path / f"config.{suffix}"
    if suffix == "json":
        text = {"n_embd": 8, "n_head": 2, "n_layer": 1}, {"steps": 7, "batch_size": 3}
        path.write_text(json.dumps({"model": text[0], "train": text[1]} if sections else text[0] | text[1]))
    else:
        heads = ("[model]\n", "[train]\n") if sections else ("", "")
        path.write_text(f"{heads[0]}n_embd = 8\nn_head = 2\nn_layer = 1\n{heads[1]}steps = 7\nbatch_size = 3\n")
    arguments = ["--data", tmp_path / "l", "--out", tmp_path / "r", "--config", path, "--rung", "baseline"]
    done = command("train", *arguments, "--steps", 5, "--head-size", 4, "--engine", "torch")
    assert done.status == 0, done.err
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert (config["train"]["steps"], config["train"]["batch_size"]) == (5, 3)
    assert (config["model"]["n_embd"], config["model"]["head_size"], config["model"]["mlp"]) == (8, 4, "none")
    assert config["rung"] == "baseline"


@pytest.mark.parametrize("name", ["c.json", "c.toml", "c.TOML", "c.Json"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_configuration_file_as_any_editor_leaves_it(tmp_path, name, mark):
    text = 'n_embd = 8\r\nrung = "gelu"\r\n' if name.lower().endswith("toml") else '{"n_embd": 8,\r\n "rung": "gelu"}'
    (tmp_path / name).write_bytes((mark + text).encode())
    assert read_file(tmp_path / name) == {"n_embd": 8, "rung": "gelu"}


def test_files_of_a_run_may_have_passed_through_an_editor(tmp_path):
    """One that puts a byte-order mark before the text."""
    run = tiny_run(tmp_path)
    for path in (run / "config.json", run / "vocabulary.json", run / "metrics.jsonl"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert command("sample", run, "-n", 3).status == 0
    assert read_lines(run / "metrics.jsonl")[0]["step"] == 1


def test_a_runs_own_config_makes_the_same_run_again(tmp_path):
    (tmp_path / "l").write_text("\n".join(WORDS))
    one, other = tmp_path / "one", tmp_path / "other"
    assert command("train", "--data", tmp_path / "l", "--out", one, "--seed", 5, *flags(**TINY)).status == 0
    assert command("train", "--config", one / "config.json", "--out", other).status == 0
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("n", "n_embd", "steps"),
    [(10, 32, 5_000), (2_999, 32, 5_000), (3_000, 64, 20_000), (50_000, 64, 20_000), (50_001, 128, 20_000)],
)
def test_defaults_suit_the_size_of_the_list(n, n_embd, steps):
    asked = Settings.of({}, "test")
    model, train = asked.suited_to(n).model_and_train(ModelConfig(), TrainConfig(), 28, 16)
    assert (model.n_embd, train.steps) == (n_embd, steps)
    assert model.n_embd % model.n_head == 0
    assert (model.dropout == 0) == (n > 50_000)
    asked = Settings.of({"n_embd": 48, "steps": 7, "dropout": 0.1}, "test").suited_to(n)
    model, train = asked.model_and_train(ModelConfig(), TrainConfig(), 28, 16)
    assert (model.n_embd, model.n_head, model.dropout, train.steps) == (48, 4, 0.1, 7)


# ------------------------------------------------------------------------------------------------------ sample


def test_sample_prints_words_and_nothing_else(tmp_path):
    run = tiny_run(tmp_path)
    done = command("sample", run, "-n", 5)
    assert (done.status, done.err) == (0, "")
    words = done.out.splitlines()
    assert len(words) == 5
    assert set("".join(words)) <= set("abcdefghijklmnoprstuvwxyz")
    assert command("sample", run, "--n", 3).out.splitlines() == words[:3]
    assert command("sample", run, "-n", 5, "--seed", 1).out != done.out
    assert command("sample", run, "-n", 0).out == ""
    assert all(word.startswith("an") for word in command("sample", run, "--prefix", "an").out.splitlines())
    assert command("sample", run, "-n", 5, "--weights", "last").status == 0


def test_sample_as_json(tmp_path):
    done = command("sample", tiny_run(tmp_path), "-n", 200, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [list(line) for line in lines] == [["word", "log_likelihood", "new", "part"]] * 200
    assert all(line["new"] == (line["word"] not in WORDS) for line in lines)
    assert all(line["log_likelihood"] < 0 for line in lines)


def test_sample_tells_when_words_run_out(tmp_path):
    run = tiny_run(tmp_path)
    done = command("sample", run, "-n", 9_999, "--unique", "--new-only", "--max-length", 1)
    assert done.status == 0
    words = done.out.splitlines()
    assert sorted(words) == list("abcdefghijklmnoprstuvwxyz")
    assert done.err == "Only 25 of 9,999 distinct and new words came; the model hardly gives any more.\n"


def test_a_reader_that_has_enough(tmp_path):
    run = tiny_run(tmp_path)
    started = [sys.executable, "-m", "rungwise", "sample", str(run), "-n"]
    with subprocess.Popen([*started, "50000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_to_a_full_disk_is_one_line(tmp_path, capsys):
    run = tiny_run(tmp_path)
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it fails
    with contextlib.redirect_stdout(full), pytest.raises(SystemExit) as ended:
        cli.main(["sample", str(run), "-n", "9"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "rungwise: error: Cannot write: No space left on device.\n"
    with contextlib.suppress(OSError):
        full.close()


def test_a_file_gets_utf_8_whatever_the_locale(tmp_path):
    (tmp_path / "l").write_text("東京\nさくら\nはな\nゆき\nそら\n" * 2, encoding="utf-8")
    assert command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**TINY)).status == 0
    for encoding in ("ascii", "cp1252", "utf-16"):
        done = command("sample", tmp_path / "r", "-n", 3, encoding=encoding)
        assert (done.status, done.err) == (0, "")
        assert set(done.out) <= set("東京さくらはなゆきそら\n")
    told = command("sample", tmp_path / "r", "--prefix", "é", encoding="ascii")
    assert told.err.startswith("rungwise: error: 'é' in 'é' is not in the alphabet")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals to be had here")
def test_a_terminal_keeps_its_encoding(tmp_path):
    (tmp_path / "l").write_text("東京\n東京\n", encoding="utf-8")
    asked = [sys.executable, "-m", "rungwise", "data", str(tmp_path / "l"), "--no-counts"]
    for encoding, shown in (("ascii", r"\u4eac 2  \u6771 2"), ("euc-jp", "京 2  東 2")):
        reader, terminal = os.openpty()
        done = subprocess.run(asked, stdout=terminal, stderr=terminal, env=os.environ | {"PYTHONIOENCODING": encoding})
        os.close(terminal)
        assert done.returncode == 0
        assert f"Alphabet (2 characters): {shown}" in os.read(reader, 9999).decode(encoding)
        os.close(reader)


# ------------------------------------------------------------------------------------------------- for Python


def test_the_functions_are_had_however_their_files_were_imported():
    import rungwise.training.run
    from rungwise import Transformer, generate, load, train

    assert all(callable(f) and not hasattr(f, "__path__") for f in (Transformer, generate, load, train))
    assert train.__module__ == generate.__module__ == "rungwise.api"
    assert set(rungwise.__all__) <= set(dir(rungwise))
    assert not hasattr(rungwise, "nothing")
    for name in rungwise.__all__:
        assert getattr(rungwise, name).__doc__ or name == "Word"


def test_training_and_generating_in_python(tmp_path):
    from rungwise import generate, load, train

    run = train(WORDS, tmp_path / "r", n_embd=8, n_head=2, n_layer=1, steps=5, engine="torch")
    words = [word.text for word in generate(run, 9, temperature=0.8, new_only=True)]
    assert len(words) == 9 and not set(words) & set(WORDS)
    assert [w.text for w in generate(load(tmp_path / "r"), 9, temperature=0.8, new_only=True)] == words
    with pytest.raises(rungwise.UserError, match=r"train\(\): unknown field 'n_embed'; did you mean 'n_embd'\?"):
        train(WORDS, n_embed=8)  # type: ignore[call-arg]
    (tmp_path / "l").write_text("\n".join(WORDS))
    kept = train(tmp_path / "l", n_embd=8, n_head=2, n_layer=1, steps=5, engine="torch")
    assert [w.text for w in generate(kept, 3)] == [w.text for w in generate(run, 3)]


def test_the_worked_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = ROOT / "docs/examples/library.py"
    assert sum(bool(line.strip()) for line in path.read_text().splitlines()[1:]) <= 10
    runpy.run_path(str(path))
    first, *words = capsys.readouterr().out.splitlines()
    assert first == "52,288 parameters; alphabet abcdefghijklmnopqrstuvwxyz"
    assert len(words) == 10
    assert all(word.startswith("ma") for word in words)


def test_streams_that_were_closed(tmp_path, monkeypatch):
    """As `rungwise ... >&- 2>&-` and `<&-` leave them: Python has None there."""
    run = tiny_run(tmp_path)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    main(["sample", str(run), "-n", "2"])  # nobody reads it, and that is no error
    with pytest.raises(SystemExit) as ended:
        main(["data", "-"])
    assert ended.value.code == 2

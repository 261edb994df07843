"""The command: its flags, its help, and one clear line for everything that a user can get wrong."""

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import rungwise
from helpers import TINY, WORDS, command, flags, tiny_run
from rungwise import cli, settings
from rungwise.config import ListConfig, ModelConfig, RunConfig, TrainConfig
from rungwise.settings import Fields, Settings


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with everything that the table of bad inputs speaks of."""
    folder = tmp_path_factory.mktemp("bad")
    text = "\n".join(WORDS).encode()
    for name, content in {
        "good.txt": text,
        "empty.txt": b"",
        "blank.txt": b"\n \n\t\n",
        "one.txt": b"anna\n",
        "same.txt": b"anna\n" * 50,
        "two.txt": b"anna\nbea\n",
        "latin.txt": "anna\nJosé\n".encode("latin-1"),
        "utf16.txt": "anna\nbea\n".encode("utf-16"),
        "long.txt": b"x" * 99,
        "broken.gz": gzip.compress(text)[:-8],
        "table.csv": b"id,name\n1,anna\n",
        "fields.csv": b"id,name\n1," + b"x" * 200_000,
        "bad.parquet": b"PAR1" + b"\0" * 40 + b"PAR1",
        "strange.txt": "東京\nさくら\n".encode(),
        "no.json": b"{",
        "list.json": b"[1]",
        "unknown.json": b'{"n_embed": 8}',
        "wrong.json": b'{"n_embd": "8"}',
        "section.json": b'{"model": {"n_hed": 2}}',
        "kind.json": b'{"model": 5}',
        "latin.json": b'{"rung": "\xff"}',
        "deep.json": b"[" * 100_000,
        "no.toml": b"n_embd = ",
        "vocab.json": b'{"vocab_size": 5}',
    }.items():
        (folder / name).write_bytes(content)
    pl.DataFrame({"n": [1]}).write_parquet(folder / "numbers.parquet")
    (folder / "folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("mine")
    tiny_run(folder)
    for name, target in (("noweights", "model.safetensors"), ("novocabulary", "vocabulary.json")):
        damaged = tiny_run(folder / name)
        (damaged / target).unlink()
    torn = tiny_run(folder / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:-1])
    old = tiny_run(folder / "old")
    (old / "config.json").write_text(json.dumps(json.loads((old / "config.json").read_text()) | {"format": 99}))
    noknown = tiny_run(folder / "noknown")
    (noknown / "known.safetensors").unlink()
    return folder


TRAIN = "train --data good.txt --out new"
MISSING = "give a file's path, given-names, names, auto, or - for standard input."
ALPHABET = "abcdefghijklmnoprstuvwxyz"
BAD = [
    # the list
    ("train --data none.txt", f"No word list at 'none.txt'; {MISSING}"),
    ("data none.txt", f"No word list at 'none.txt'; {MISSING}"),
    ("climb --data none.txt", f"No word list at 'none.txt'; {MISSING}"),
    ("eval run-strict none.txt", f"No word list at 'none.txt'; {MISSING}"),
    ("train --data folder", "Cannot read 'folder': Is a directory."),
    ("train --data empty.txt", "empty.txt holds no words."),
    ("data empty.txt", "empty.txt holds no words."),
    ("climb --data empty.txt", "empty.txt holds no words."),
    ("eval run-strict empty.txt", "empty.txt holds no words."),
    ("train --data -", "standard input holds no words."),
    ("train --data blank.txt", "blank.txt holds no words."),
    ("train --data one.txt", "one.txt holds 1 distinct words; protocol strict needs at least 3 to train on some and test on others."),
    ("train --data same.txt", "same.txt holds 1 distinct words; protocol strict needs at least 3 to train on some and test on others."),
    ("train --data two.txt", "two.txt holds 2 distinct words; protocol strict needs at least 3 to train on some and test on others."),
    ("climb --data one.txt", "one.txt holds 1 words; protocol article needs at least 2 to train on some and test on others."),
    ("train --data latin.txt", "latin.txt is not UTF-8: line 2, byte 9 of the file (0xe9); convert it first, or name its --encoding."),
    ("data latin.txt", "latin.txt is not UTF-8: line 2, byte 9 of the file (0xe9); convert it first, or name its --encoding."),
    ("data utf16.txt", "utf16.txt is not UTF-8: line 1, byte 1 of the file (0xff); it looks like UTF-16: --encoding utf-16."),
    ("data latin.txt --encoding ascii", "latin.txt is not ascii: line 2, byte 9 of the file (0xe9); try another --encoding."),
    ("data good.txt --encoding utf-88", "Unknown encoding 'utf-88'; did you mean 'utf8'?"),
    ("data long.txt", "long.txt holds no words of at most 64 characters."),
    ("data good.txt --max-length 0", "max_length must be at least 1, but is 0."),
    ("train --data good.txt --max-length -1", "command line: max_length must be at least 1, but is -1."),
    ("data broken.gz", "broken.gz is a damaged gzip file: Compressed file ended before the end-of-stream marker was reached."),
    ("data table.csv --column nam", "table.csv has no column 'nam'; did you mean 'name'?"),
    ("data empty.txt --column name", "empty.txt has no column 'name'; choose from: ."),
    ("data fields.csv --column name", "fields.csv: line 2: field larger than field limit (131072)."),
    ("data numbers.parquet", "numbers.parquet is a Parquet file: name its --column (n)."),
    ("data numbers.parquet --column n", "numbers.parquet: column 'n' holds Int64, not text."),
    ("data bad.parquet --column n", "bad.parquet cannot be read as Parquet: "),
    # the fields
    (f"{TRAIN} --rung fnal", "Unknown rung 'fnal'; did you mean 'final'?"),
    ("climb --data good.txt --rungs baselin", "Unknown rung 'baselin'; did you mean 'baseline'?"),
    (f"{TRAIN} --protocol strcit", "Unknown protocol 'strcit'; did you mean 'strict'?"),
    ("climb --data good.txt --protocol strcit", "Unknown protocol 'strcit'; did you mean 'strict'?"),
    (f"{TRAIN} --engine nativ", "Unknown engine 'nativ'; did you mean 'native'?"),
    (f"{TRAIN} --n-embd 0", "command line: n_embd must be at least 1, but is 0."),
    (f"{TRAIN} --n-embd 10 --n-head 4", "command line: n_embd must be a multiple of n_head=4, but is 10."),
    (f"{TRAIN} --n-embd 12 --n-head 4", "command line: RoPE rotates pairs: the head size must be even, but is 3."),
    (f"{TRAIN} --n-layer -1", "command line: n_layer must be at least 1, but is -1."),
    (f"{TRAIN} --mlp gleu", "command line: mlp: Input should be 'none', 'relu' or 'gelu', but is 'gleu'."),
    (f"{TRAIN} --dropout 1", "command line: dropout must be at least 0 and below 1, but is 1.0."),
    (f"{TRAIN} --dropout nan", "command line: dropout"),
    (f"{TRAIN} --steps 0", "command line: steps must be at least 1, but is 0."),
    (f"{TRAIN} --batch-size 0", "command line: batch_size must be at least 1, but is 0."),
    (f"{TRAIN} --learning-rate 0", "command line: learning_rate must be above 0 and below 10, but is 0.0."),
    (f"{TRAIN} --learning-rate=-1", "command line: learning_rate must be above 0 and below 10, but is -1.0."),
    (f"{TRAIN} --schedule linear", "command line: schedule: Input should be 'constant' or 'cosine', but is 'linear'."),
    (f"{TRAIN} --weight-decay=-1", "command line: weight_decay must be at least 0, but is -1.0."),
    (f"{TRAIN} --beta1 1", "command line: beta1 must be at least 0 and below 1, but is 1.0."),
    (f"{TRAIN} --patience=-1", "command line: patience must be at least 0, but is -1."),
    (f"{TRAIN} --patience 1 --protocol article", "patience needs validation words, and protocol article has none: use protocol strict."),
    (f"{TRAIN} --steps 1e3", "--steps must be a whole number, but is '1e3'; see rungwise train --help"),
    (f"{TRAIN} --learning-rate fast", "--learning-rate must be a number, but is 'fast'; see rungwise train --help"),
    (f"{TRAIN} --learning-rat 1", "Unrecognized options: --learning-rat"),
    (f"{TRAIN} --steps", "Missing value for argument '--steps'. Expected 1 values; see rungwise train --help"),
    ("climb --seeds 0", "seeds must be at least 1, but is 0."),
    ("climb --steps 0", "steps must be at least 1, but is 0."),
    # a configuration file
    (f"{TRAIN} --config none.json", "No configuration file at 'none.json'."),
    (f"{TRAIN} --config folder", "folder cannot be read: "),
    (f"{TRAIN} --config no.json", "no.json cannot be read: Expecting property name enclosed in double quotes"),
    (f"{TRAIN} --config list.json", "list.json must hold an object with fields."),
    (f"{TRAIN} --config unknown.json", "unknown.json: unknown field 'n_embed'; did you mean 'n_embd'?"),
    (f"{TRAIN} --config vocab.json", "vocab.json: unknown field 'vocab_size'; "),
    (f"{TRAIN} --config wrong.json", "wrong.json: n_embd: Input should be a valid integer, but is '8'."),
    (f"{TRAIN} --config section.json", "section.json: unknown field 'n_hed' in 'model'; did you mean 'n_head'?"),
    (f"{TRAIN} --config kind.json", "kind.json: section 'model' must hold fields."),
    (f"{TRAIN} --config latin.json", "latin.json cannot be read: 'utf-8' codec can't decode"),
    (f"{TRAIN} --config deep.json", "deep.json cannot be read: nested too deep."),
    (f"{TRAIN} --config no.toml", "no.toml cannot be read: Invalid value"),
    # where to write
    ("train --data good.txt --out full", "full is not empty; give another --out for this run, or remove it."),
    ("train --data good.txt --out run-strict", "run-strict is not empty; give another --out for this run, or remove it."),
    ("train --data good.txt --out good.txt", "Cannot write to good.txt: File exists."),
    ("train --data good.txt --out good.txt/x", "Cannot write to good.txt/x: Not a directory."),
    ("climb --data good.txt --out full", "full holds something else than a climb; give another --out."),
    ("climb --data good.txt --out good.txt", "Cannot write to good.txt: File exists."),
    ("train --out new --resume", "new holds no run to go on with (config.json is missing); start one without --resume."),
    ("train --out run-strict --resume --steps 9", "--resume reads everything from run-strict; leave out --steps."),
    # a run
    ("sample none", "none is no run: config.json is missing."),
    ("sample good.txt", "good.txt is no run: it is a file."),
    ("sample full", "full is no run: config.json is missing."),
    ("sample noweights/run-strict", "noweights/run-strict has no weights yet: training was stopped before."),
    ("sample novocabulary/run-strict", "novocabulary/run-strict is no run: vocabulary.json is missing."),
    ("sample torn/run-strict", "torn/run-strict/model.safetensors is damaged: "),
    ("sample old/run-strict", "old/run-strict/config.json is of another version of rungwise: this one reads format 1."),
    ("sample noknown/run-strict --new-only", "This run keeps no list of its words, so new ones cannot be told: leave out new_only."),
    ("sample run-strict -n=-1", "n must be at least 0, but is -1."),
    ("sample run-strict -n x", "-n/--n must be a whole number, but is 'x'; see rungwise sample --help"),
    ("sample run-strict --temperature=-1", "temperature must be at least 0 and finite, but is -1.0."),
    ("sample run-strict --top-k=-1", "top_k must be at least 0, but is -1."),
    ("sample run-strict --top-p 0", "top_p must be above 0 and at most 1, but is 0.0."),
    ("sample run-strict --max-length 0", "max_length must be at least 1, but is 0."),
    ("sample run-strict --prefix aQ", f"'Q' in 'aQ' is not in the alphabet of the training list: {ALPHABET}"),
    ("sample run-strict --prefix annaanna", "The prefix 'annaanna' is longer than the longest word (5 characters)."),
    ("sample", "Missing from rungwise sample: PATH"),
    ("eval run-strict strange.txt", "No word of strange.txt can be scored: each holds a character outside the model's alphabet, "),
    ("eval run-strict", "Missing from rungwise eval: STR"),
    # the command itself
    ("smaple", "Unknown command 'smaple'; did you mean 'sample'?"),
    ("--frobnicate", "Unrecognized options: --frobnicate; see rungwise --help"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_clear_line(place, monkeypatch, line, expected):
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.name != ".lock"}
    done = command(*line.split(" "))
    assert done.status == 2, done
    told = done.err.splitlines()[-1]
    assert told.startswith(f"rungwise: error: {expected}"), told
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before  # nothing written, nothing lost


def test_the_table_is_long_enough():
    assert len({line for line, _ in BAD}) == len(BAD) >= 60


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--data", "none.txt"], "No word list at 'none.txt'"),
        (["sample", "none"], "none is no run"),
        (["train", "--data", "good.txt", "--n-embd", "0"], "command line: n_embd must be at least 1"),
    ],
)
def test_the_installed_command_says_the_same(place, arguments, line):
    done = subprocess.run(
        [sys.executable, "-m", "rungwise", *arguments], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"rungwise: error: {line}")
    assert done.stderr.count("\n") == 1


HELP = [[], ["--help"], *([name, "--help"] for name in cli.COMMANDS)]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_answers_without_torch(arguments):
    code = (
        "import sys\nfrom rungwise.cli import main\ntry: main(sys.argv[1:])\n"
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
            reason = settings.documentation()[kind.__name__][name].replace("None:", "default:")
            assert " ".join(reason.split()) in squeezed, name


def test_the_fields_of_python_are_those_of_the_command():
    known = {name for name in settings.ALL if name != "data"}  # data is train()'s own argument
    assert set(Fields.__annotations__) == known
    hints = settings.get_type_hints(Fields)
    for section, kind in settings.KINDS.items():
        for name in settings.fields(kind):
            assert name == "data" or hints[name] == settings.get_type_hints(kind)[name], (section, name)


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


def test_a_runs_own_config_makes_the_same_run_again(tmp_path):
    (tmp_path / "l").write_text("\n".join(WORDS))
    one, other = tmp_path / "one", tmp_path / "other"
    assert command("train", "--data", tmp_path / "l", "--out", one, "--seed", 5, *flags(**TINY)).status == 0
    assert command("train", "--config", one / "config.json", "--out", other).status == 0
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("n", "steps"), [(10, 5_000), (2_999, 5_000), (3_000, 20_000), (10**6, 20_000)])
def test_defaults_suit_the_size_of_the_list(n, steps):
    asked = Settings.of({}, "test")
    model, train = asked.suited_to(n).model_and_train(ModelConfig(), TrainConfig(), 28, 16)
    assert train.steps == steps
    assert (model.dropout == 0) == (n > 200_000)
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
    assert set("".join(words)) <= set(ALPHABET)
    assert command("sample", run, "--n", 3).out.splitlines() == words[:3]
    assert command("sample", run, "-n", 5, "--seed", 1).out != done.out
    assert command("sample", run, "-n", 0).out == ""
    assert all(word.startswith("an") for word in command("sample", run, "--prefix", "an").out.splitlines())
    assert command("sample", run, "-n", 5, "--weights", "last").status == 0


def test_sample_as_json(tmp_path):
    done = command("sample", tiny_run(tmp_path), "-n", 200, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [list(line) for line in lines] == [["word", "log_likelihood", "new"]] * 200
    assert all(line["new"] == (line["word"] not in WORDS) for line in lines)
    assert all(line["log_likelihood"] < 0 for line in lines)


def test_sample_tells_when_words_run_out(tmp_path):
    run = tiny_run(tmp_path)
    done = command("sample", run, "-n", 9_999, "--unique", "--new-only", "--max-length", 1)
    assert done.status == 0
    words = done.out.splitlines()
    assert sorted(words) == list(ALPHABET)
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
    full = Path("/dev/full").open("w")
    with contextlib.redirect_stdout(full), pytest.raises(SystemExit) as ended:
        cli.main(["sample", str(run), "-n", "9"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "rungwise: error: Cannot write: No space left on device.\n"
    with contextlib.suppress(OSError):
        full.close()


def test_words_of_any_script_are_printed_whatever_the_terminal(tmp_path):
    (tmp_path / "l").write_text("東京\nさくら\nはな\nゆき\nそら\n" * 2, encoding="utf-8")
    assert command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**TINY)).status == 0
    done = command("sample", tmp_path / "r", "-n", 3, encoding="ascii")
    assert (done.status, done.err) == (0, "")
    assert all(line.startswith("\\u") for line in done.out.splitlines())


# ------------------------------------------------------------------------------------------------- for Python


def test_the_functions_are_had_however_their_files_were_imported():
    import rungwise.generate
    import rungwise.train
    from rungwise import Transformer, generate, load, train

    assert all(callable(f) and not hasattr(f, "__path__") for f in (Transformer, generate, load, train))
    assert train.__module__ == generate.__module__ == "rungwise.practice"
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

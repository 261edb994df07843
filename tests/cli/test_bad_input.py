"""A table of what users get wrong: each is answered with its line, exit status 2, and nothing is written or lost."""
# ruff: noqa: E501  a line a case

import gzip
import json
import pickle
from pathlib import Path

import polars as pl
import pytest

from helpers import TINY, WORDS, command, flags, tiny_run


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
        "utf16-bare.txt": "anna\nbea\n".encode("utf-16-be"),
        "utf32.txt": "anna\nbea\n".encode("utf-32"),
        "zeros.txt": b"anna\n" + bytes(5) + b"\nbea\n",
        "noise.txt": bytes(range(250, 0, -1)),
        "long.txt": b"x" * 99,
        "broken.gz": gzip.compress(text)[:-8],
        "table.csv": b"id,name\n1,anna\n",
        "quote.tsv": b'id\tname\n1\t"anna\n2\tbea\n',
        "breaks.csv": b'id,name\n1,"an\nna"\n',
        "fields.csv": b"id,name\n1," + b"x" * 200_000,
        "bad.parquet": b"PAR1" + b"\0" * 40 + b"PAR1",
        "longer.txt": b"annalena\nmaximilian\n",
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
        "rising.json": b'{"learning_rate": 0.01, "min_learning_rate": 0.1}',
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
    for name, target in (("altered", "model.safetensors"), ("forged", "known.safetensors"), ("cut", "config.json")):
        path = tiny_run(folder / name) / target
        content = bytearray(path.read_bytes())
        if name == "cut":
            del content[-9:]
        else:
            content[-2] ^= 1  # one bit of the last number
        path.write_bytes(content)
    pickled = tiny_run(folder / "pickled")
    (pickled / "model.safetensors").write_bytes(pickle.dumps({"head.bias": [1.0]}))
    half = tiny_run(folder / "half")
    (half / "samples.txt").unlink()
    other = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(other | {"list": other["list"] | {"data": str(folder / "two.txt")}}))
    learned = flags(**{**TINY, "steps": 3, "position": "learned"})
    assert command("train", "--data", folder / "good.txt", "--out", folder / "learned", *learned).status == 0
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
    ("train --data folder", "folder holds no Parquet shards: give a directory with *.parquet files, or a pattern."),
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
    ("data utf32.txt", "utf32.txt is not UTF-8: line 1, byte 1 of the file (0xff); it looks like UTF-32: --encoding utf-32."),
    ("data utf16-bare.txt", "utf16-bare.txt holds zero characters (U+0000): it is no text, or UTF-16 without its mark (--encoding utf-16-le or utf-16-be)."),
    ("train --data zeros.txt", "zeros.txt holds zero characters (U+0000): it is no text, or UTF-16 without its mark "),
    ("data noise.txt", "noise.txt is not UTF-8: line 1, byte 1 of the file (0xfa); convert it first, or name its --encoding."),
    ("data latin.txt --encoding ascii", "latin.txt is not ascii: line 2, byte 9 of the file (0xe9); try another --encoding."),
    ("data good.txt --encoding utf-88", "Unknown encoding 'utf-88'; did you mean 'utf8'?"),
    ("data long.txt", "long.txt holds no words of at most 64 characters."),
    ("data good.txt --max-length 0", "max_length must be at least 1, but is 0."),
    ("train --data good.txt --max-length -1", "command line: max_length must be at least 1, but is -1."),
    ("data broken.gz", "broken.gz is a damaged gzip file: Compressed file ended before the end-of-stream marker was reached."),
    ("data table.csv --column nam", "table.csv has no column 'nam'; did you mean 'name'?"),
    ("data given-names --column name", "The list given-names has no columns: --column needs a table."),
    ("train --data given-names --column name", "The list given-names has no columns: --column needs a table."),
    ("judge given-names good.txt --column name", "The list given-names has no columns: --column needs a table."),
    ("judge good.txt two.txt --column name", "good.txt has no column 'name'; choose from: "),
    ("judge good.txt empty.txt", "empty.txt holds no words."),
    ("judge good.txt two.txt --valid regex:[0-9]{9}", "--valid: no word of the list keeps the rule. Is it meant for other words?"),
    ("judge good.txt two.txt --valid regex:(", "--valid: '(' is not a regular expression: missing ), unterminated subpattern at position 0."),
    ("judge table.csv two.txt --column name --condition region", "table.csv has no column 'region'; choose from: "),
    ("judge good.txt two.txt --condition region", "--condition names a column of a table: name the --column of the words, too."),
    ("judge good.txt two.txt --tokens one.txt", "good.txt: "),
    ("sample run-strict --pattern (", "--pattern '(' is not a regular expression: missing ), unterminated subpattern at position 0."),
    ("sample run-strict --pattern a{99999}", "--pattern 'a{99999}' repeats more than 100 times: words are shorter."),
    ("sample run-strict --pattern a{2,101}", "--pattern 'a{2,101}' repeats more than 100 times: words are shorter."),
    ("sample run-strict --pattern ^a", "--pattern '^a' cannot be made an automaton: "),
    ("sample run-strict --pattern [0-9]+", "No word fits: the model cannot write one that keeps all that is asked for."),
    ("data empty.txt --column name", "empty.txt has no column 'name'; choose from: ."),
    ("data quote.tsv --column name", "quote.tsv: line 3: unexpected end of data (a quote that is not closed?)."),
    ("data breaks.csv --column name", "breaks.csv holds no words on one line."),
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
    (f"{TRAIN} --n-layer 100000000", "command line: n_layer must be at most 1,000, but is 100000000."),
    (f"{TRAIN} --n-embd 1000000000", "Training would take "),
    (f"{TRAIN} --batch-size 1000000000000", "Training would take "),
    (f"{TRAIN} --position lerned", "command line: position: Input should be 'none', 'learned' or 'rope', but is 'lerned'."),
    (f"{TRAIN} --position learned --batching stream", "A window of 16 is longer than the 6 places that learned positions have here: use a window of at most 6, or position rope."),
    (f"{TRAIN} --batching stream --window 1000", "The training words make 157 tokens; a window of 1000 needs more."),
    (f"{TRAIN} --n-layer -1", "command line: n_layer must be at least 1, but is -1."),
    (f"{TRAIN} --mlp gleu", "command line: mlp: Input should be 'none', 'relu', 'gelu' or 'swiglu', but is 'gleu'."),
    (f"{TRAIN} --dropout 1", "command line: dropout must be at least 0 and below 1 (after rounding to 1/65536, the step of masks), but is 1.0."),
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
    (f"{TRAIN} --dropout 0.999999", "command line: dropout must be at least 0 and below 1 (after rounding to 1/65536, the step of masks), but is 0.999999."),
    (f"{TRAIN} --steps 40 --warmup-steps 41", "command line: warmup_steps must be at most steps=40, but is 41: the learning rate would never reach its peak."),
    (f"{TRAIN} --rung final --warmup-steps 20001", "command line: warmup_steps must be at most steps=20000, but is 20001: the learning rate would never reach its peak."),
    (f"{TRAIN} --learning-rate 5e-5 --min-learning-rate 1e-4", "command line: min_learning_rate must be at most learning_rate=5e-05, but is 0.0001: the learning rate would rise."),
    (f"{TRAIN} --min-learning-rate 1", "command line: min_learning_rate must be at most learning_rate=0.001, but is 1.0: the learning rate would rise."),
    (f"{TRAIN} --config rising.json", "rising.json: min_learning_rate must be at most learning_rate=0.01, but is 0.1: the learning rate would rise."),
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
    *([("train --data good.txt --out /proc/none", "Cannot write to /proc/none: ")] * Path("/proc").is_dir()),
    ("climb --data good.txt --out full", "full holds something else than a climb; give another --out."),
    ("climb --data good.txt --out good.txt", "Cannot write to good.txt: File exists."),
    ("train --out new --resume", "new holds no run to go on with (config.json is missing); start one without --resume."),
    ("train --out half/run-strict --resume", "two.txt is not the list that half/run-strict was begun with (SHA-256 differs)."),
    ("train --out half/run-strict --resume --data none.txt", f"No word list at 'none.txt'; {MISSING}"),
    ("train --out run-strict --resume --steps 9", "--resume reads everything from run-strict; leave out --steps."),
    # a run
    ("sample none", "none is not a run directory: config.json is missing."),
    ("sample good.txt", "good.txt is not a run directory: it is a file."),
    ("sample full", "full is not a run directory: config.json is missing."),
    ("sample noweights/run-strict", "noweights/run-strict has no weights yet: training was stopped before."),
    ("sample novocabulary/run-strict", "novocabulary/run-strict is not a run directory: vocabulary.json is missing."),
    ("sample torn/run-strict", "torn/run-strict/model.safetensors is damaged: "),
    ("sample altered/run-strict", "altered/run-strict/model.safetensors is damaged: its checksum does not fit."),
    ("sample forged/run-strict --new-only", "forged/run-strict/known.safetensors is damaged: its checksum does not fit."),
    ("sample cut/run-strict", "cut/run-strict/config.json cannot be read: "),
    ("sample pickled/run-strict", "pickled/run-strict/model.safetensors is damaged: "),
    ("eval altered/run-strict good.txt", "altered/run-strict/model.safetensors is damaged: its checksum does not fit."),
    ("sample old/run-strict", "old/run-strict/config.json is of another version of rungwise: this one reads format 1."),
    ("sample noknown/run-strict --new-only", "This run keeps no list of its words, so new ones cannot be told: leave out --new-only."),
    ("sample run-strict -n=-1", "n must be at least 0, but is -1."),
    ("sample run-strict -n x", "-n/--n must be a whole number, but is 'x'; see rungwise sample --help"),
    ("sample run-strict --temperature=-1", "temperature must be at least 0 and finite, but is -1.0."),
    ("sample run-strict --top-k=-1", "top_k must be at least 0, but is -1."),
    ("sample run-strict --top-p 0", "top_p must be above 0 and at most 1, but is 0.0."),
    ("sample run-strict --top-p nan", "top_p must be above 0 and at most 1, but is nan."),
    ("sample run-strict --temperature inf", "temperature must be at least 0 and finite, but is inf."),
    ("sample run-strict --prefix an --max-length 1", "The prefix 'an' is longer than the longest word (1 characters)."),
    ("sample run-strict --weights first", "invalid choice 'first' for argument '--weights'. Expected one of ('best', 'last'); see rungwise sample --help"),
    ("sample run-strict --max-length 0", "max_length must be at least 1, but is 0."),
    ("sample run-strict --prefix aQ", f"'Q' in 'aQ' is not in the alphabet of the training list: {ALPHABET}"),
    ("sample run-strict --prefix annaanna", "The prefix 'annaanna' is longer than the longest word (5 characters)."),
    ("sample", "Missing from rungwise sample: PATH"),
    ("eval run-strict strange.txt", "No word of strange.txt can be scored: each holds a character outside the model's alphabet, "),
    ("eval learned longer.txt", "No word of longer.txt can be scored: each that the model can spell is longer than the 5 characters that its learned positions reach."),
    ("eval run-strict", "Missing from rungwise eval: STR"),
    # exporting
    ("export none --format onnx", "none is not a run directory: config.json is missing."),
    ("export torn/run-strict --format hf", "torn/run-strict/model.safetensors is damaged: "),
    ("export run-strict", "Missing from rungwise export: --format {onnx,hf}"),
    ("export run-strict --format tf", "invalid choice 'tf' for argument '--format'. Expected one of ('onnx', 'hf')"),
    ("export run-strict --format hf", "No class that we export to holds this model exactly: for GPTNeoXForCausalLM, the nearest, it has no final norm and has a head with a bias; train with --final-norm True --head-bias False (rung no-head-bias fits), or export with --format onnx."),
    ("export run-strict --format onnx --out full", "full is not empty; give another --out, or remove it."),
    ("export run-strict --format onnx --out good.txt", "Cannot write to good.txt: File exists."),
    ("export run-strict --format onnx --out good.txt/x", "Cannot write to good.txt: File exists."),
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

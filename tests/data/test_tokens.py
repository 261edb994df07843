"""--tokens: a word is its symbols joined, whatever a symbol is; every part of the product speaks of the same ones."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from helpers import ROOT, TINY, command, flags
from rungwise import generate, load, train
from rungwise.config import ListConfig, TrainConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.dataset import load as load_dataset
from rungwise.data.known_words import KnownWords
from rungwise.data.sources import comparable
from rungwise.data.tokens import Tokens
from rungwise.errors import UserError
from rungwise.inference.score import score

FAMILY, FLAG, E = "👨‍👩‍👧", "🇩🇪", "x\u0301"
texts = st.text(
    st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]) | st.sampled_from(FAMILY + FLAG + E)
)
SMILES = ["CCO", "CCl", "BrCCBr", "C[C@@H]Cl", "CClBr", "OCCl", "ClCCl", "CBr", "CC", "CO", "OO", "BrBr"]
ATOMS = ["Cl", "Br", "@@", *"CO[]H@"]


def of_file(tokens: list[str]) -> Tokens:
    return Tokens("file", tuple(tokens))


@given(texts, st.lists(texts.filter(bool)), st.sampled_from(["chars", "graphemes", "file"]))
def test_symbols_joined_are_the_word(word, listed, kind):
    tokens = of_file(listed) if kind == "file" else Tokens(kind)
    assert "".join(tokens.split(word)) == word
    assert all(tokens.split(word))
    again = Tokens.from_json(json.loads(json.dumps(tokens.to_json())))
    assert list(again.split(word)) == list(tokens.split(word))


@given(st.text("ab", max_size=9), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1))
def test_the_longest_token_that_fits_comes_first(word, listed):
    """An oracle: regular expressions take the first alternative that fits."""
    longest_first = "|".join([*sorted(listed, key=len, reverse=True), "."])
    assert of_file(listed).split(word) == re.findall(longest_first, word)


@given(texts)
def test_graphemes_are_those_of_unicode(word):
    assert Tokens("graphemes").split(word) == regex.findall(r"\X", word)


def test_what_a_reader_takes_for_one_character_is_one_symbol():
    listed = words.from_words([FAMILY + FLAG, E + "a" + FAMILY], how=ListConfig(tokens="graphemes"))
    assert listed.vocabulary.characters == tuple(sorted([FAMILY, FLAG, E, "a"]))
    assert listed.lengths.tolist() == [2, 3] and list(listed) == [FAMILY + FLAG, E + "a" + FAMILY]


kept = st.lists(texts.map(comparable).filter(bool), min_size=1, max_size=20)


@given(kept, st.sampled_from(["graphemes", "file"]))
def test_a_list_gives_back_its_words(some, kind):
    tokens = of_file(sorted({"".join(some), *(word[:2] for word in some)})) if kind == "file" else Tokens(kind)
    how = ListConfig(max_length=10_000)
    listed = words.from_words(some, how=how, tokens=tokens)
    assert list(listed) == some
    assert listed.lengths.tolist() == [len(tokens.split(word)) for word in some]
    tape = Tape.of(listed, np.arange(len(some)), get_protocol("strict"))
    assert listed.vocabulary.decode_rows(tape.tokens[None])[1:] == some
    assert [listed.vocabulary.decode(listed.vocabulary.encode(word)) for word in some] == some
    assert all(i in listed.find(word) for i, word in enumerate(some))
    known = KnownWords.of(listed)
    assert known.holds(known.hash(some)).all()


@given(st.lists(st.text("abcdé", min_size=1, max_size=6), min_size=1), st.permutations([*"abcdexyé"]))
def test_tokens_of_one_character_are_the_characters(some, file):
    plain, ours = words.from_words(some), words.from_words(some, tokens=of_file(file))
    assert plain.codes.tolist() == ours.codes.tolist() and plain.codes.dtype == ours.codes.dtype
    assert plain.offsets.tolist() == ours.offsets.tolist() and plain.sha256 == ours.sha256
    assert "".join(ours.vocabulary.characters) == plain.vocabulary.characters


def test_a_run_on_tokens_of_one_character_is_the_run_on_characters_bit_for_bit(tmp_path):
    (tmp_path / "tokens").write_text("\n".join(sorted(set("".join(SMILES)) | set("xyz"))))
    a = train(SMILES * 4, out=tmp_path / "a", **TINY)
    b = train(SMILES * 4, out=tmp_path / "b", tokens=str(tmp_path / "tokens"), **TINY)
    for name in ("model.safetensors", "samples.txt", "known.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    losses = [[line.get("val_loss") for line in map(json.loads, (tmp_path / r / "metrics.jsonl").open())] for r in "ab"]
    assert losses[0] == losses[1]
    drawn = [[(w.text, w.log_likelihood, w.part) for w in generate(run, 50, temperature=1.5)] for run in (a, b)]
    assert drawn[0] == drawn[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A list, its file of tokens, and a run on them."""
    found = tmp_path_factory.mktemp("tokens")
    (found / "list.txt").write_text("\n".join(SMILES))
    (found / "atoms.txt").write_text("\n".join(ATOMS) + "\n\n")
    how = ["--data", found / "list.txt", "--tokens", found / "atoms.txt", "--out", found / "run"]
    done = command("train", *how, *flags(**TINY))
    assert done.status == 0, done.err
    assert "tokens, END, PAD)" in done.out and "every token and the end are scored, in nats a token." in done.out
    assert "Nats a token:" in done.out and "character" not in done.out
    return found


def test_a_run_keeps_its_tokens(folder, tmp_path):
    """A directory is enough: the file of tokens and the list may be gone."""
    moved = shutil.copytree(folder / "run", tmp_path / "moved")
    run = load(moved)
    assert run.vocabulary.characters == tuple(sorted(set(ATOMS) - {"@"}))
    assert run.vocabulary.tokens.split("CCl@@@Br") == ["C", "Cl", "@@", "@", "Br"]
    assert all(w.part == ("training" if w.text in SMILES else "new") or w.part == "held out" for w in generate(run, 99))
    drawn = {w.text for w in generate(run, 300, prefix="Cl")}
    assert drawn and all(text.startswith("Cl") for text in drawn)


def test_eval_says_what_its_losses_are_of(folder):
    run = load(folder / "run")
    (folder / "other.txt").write_text("\n".join([*SMILES, "CCX", "C@H"]))  # @ alone was in no word, X is no token
    told = json.loads(command("eval", folder / "run", folder / "other.txt", "--json").out)
    assert told["unit"] == "token" and told["unknown_tokens"] == {"@": 1, "X": 1}
    assert told["words_with_unknown_tokens"] == 2 and told["scored"] == "every token and the end"
    n = sum(len(run.vocabulary.tokens.split(word)) + 1 for word in SMILES)
    assert told["tokens_scored"] == n
    assert told["nats_per_token"] * n / len(SMILES) == pytest.approx(told["nats_per_word"])
    assert told["bits_per_word"] == pytest.approx(told["nats_per_word"] / np.log(2))
    assert not [key for key in told if "character" in key]
    out = command("eval", folder / "run", folder / "list.txt").out
    assert "bits a token" in out and "character" not in out
    assert "nats\tnats_per_token\tword" in command("eval", folder / "run", folder / "list.txt", "--words").out


def test_a_sample_has_the_likelihood_that_eval_gives_its_symbols(folder):
    run = load(folder / "run")
    some = [w for w in generate(run, 200) if run.vocabulary.tokens.split(w.text)]
    drawn = words.from_words([w.text for w in some], tokens=run.vocabulary.tokens).in_vocabulary(run.vocabulary)[0]
    scored = score(run.model, Tape.of(drawn, np.arange(len(drawn)), run.word_start)).words
    same = np.isclose(-scored, [w.log_likelihood for w in some], atol=1e-4)
    merged = ["ClCl" in w.text or "@" in w.text.replace("@@", "") or "@@@" in w.text for w in some]
    assert (same | np.array(merged)).all() and same.mean() > 0.5  # "@" is no symbol of it: nothing merges but @ and @


def test_a_run_that_was_stopped_goes_on_with_its_own_tokens(folder, tmp_path):
    out = shutil.copytree(folder / "run", tmp_path / "r")
    (out / "samples.txt").unlink()
    text = (folder / "atoms.txt").read_text()
    (folder / "atoms.txt").write_text("C\n")
    try:
        done = command("train", "--resume", "--out", out)
    finally:
        (folder / "atoms.txt").write_text(text)
    assert done.status == 0, done.err
    assert (out / "samples.txt").read_text() == (folder / "run/samples.txt").read_text()


def test_data_and_climb_read_the_same_symbols(folder, tmp_path):
    told = json.loads(command("data", folder / "list.txt", "--tokens", folder / "atoms.txt", "--json").out)
    assert told["unit"] == "token" and told["alphabet"]["Cl"] == sum(word.count("Cl") for word in SMILES)
    plain = command("data", folder / "list.txt", "--tokens", folder / "atoms.txt").out
    assert "Alphabet (8 tokens)" in plain and "nats a token" in plain
    how = ["--steps", 2, "--seeds", 1, "--rungs", "baseline", "--engine", "torch", "--processes", 1]
    where = ["--data", folder / "list.txt", "--out", tmp_path / "c"]
    done = command("climb", *where, "--tokens", folder / "atoms.txt", *how)
    assert done.status == 0, done.err
    assert "(8 tokens" in done.out and "Losses are nats a token" in done.out
    assert load(tmp_path / "c/baseline/seed-0").vocabulary.characters == load(folder / "run").vocabulary.characters
    report = (tmp_path / "c/report.md").read_text()
    assert "What is called a character here is a token of atoms.txt" in report
    other = command("climb", *where, *how)
    assert other.status == 2 and "holds another climb (reading" in other.err


@pytest.mark.parametrize("tokens", ["graphemes", "atoms.txt"])
def test_shards_are_read_in_the_same_symbols(tmp_path, tokens):
    some = [f"{a}{b}{FAMILY}" for a in "CO" for b in ("Cl", "Br", FLAG)] * 300 + [f"C{i}" for i in range(900)]
    for i in range(3):
        pl.DataFrame({"name": some[i::3]}).write_parquet(tmp_path / f"{i}.parquet")
    if tokens == "atoms.txt":
        tokens = str(tmp_path / tokens)
        Path(tokens).write_text("\n".join([*ATOMS, FAMILY, FLAG, *"0123456789"]))
    config = ListConfig(str(tmp_path / "*.parquet"), column="name", tokens=tokens)
    dataset, _ = load_dataset(config, "strict", "words")
    whole = words.from_words(some, how=ListConfig(tokens=tokens))
    assert dataset.vocabulary == whole.vocabulary and dataset.block_size == whole.block_size
    dataset.save(tmp_path)
    again = type(dataset).load(tmp_path, dataset.firsts)  # type: ignore[attr-defined]
    assert again.vocabulary == dataset.vocabulary
    assert dataset.firsts.sum() == dataset.n_train
    inputs, targets = dataset.batches(TrainConfig(batch_size=4), 0).rows(0, 0, 4)
    for row in targets:
        assert dataset.vocabulary.decode(row) in set(some)
    assert inputs[:, 0].tolist() == [1] * 4


def test_exports_split_words_as_the_run_does(folder):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    from rungwise.export import tokenizer
    from rungwise.export.onnx import about

    run = load(folder / "run")
    assert about(run)["characters"] == list(run.vocabulary.characters)
    (folder / "hf").mkdir()
    tokenizer.save(folder / "hf", run.vocabulary, True, run.model.config.block_size)
    theirs = transformers.AutoTokenizer.from_pretrained(folder / "hf")
    ids = theirs(SMILES).input_ids
    assert ids == [[1, *run.vocabulary.encode(word)] for word in SMILES]
    assert theirs.batch_decode(ids, skip_special_tokens=True) == SMILES


CONJUNCTS = ["्क", "क्षक", "क्\u200dष", "a्क"]
"""One grapheme each but the second; by Unicode before 15.1, more."""


@examples(deadline=None, max_examples=30)
@example(CONJUNCTS)
@given(kept)
def test_graphemes_go_to_another_tokenizer_and_back(tmp_path_factory, some):
    transformers = pytest.importorskip("transformers")
    from rungwise.export import tokenizer

    listed = words.from_words(some, how=ListConfig(max_length=10_000, tokens="graphemes"))
    out = tmp_path_factory.mktemp("hf")
    tokenizer.save(out, listed.vocabulary, False, 17)
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    assert theirs(some).input_ids == [listed.vocabulary.encode(word).tolist() for word in some]


def test_the_example_of_an_export_runs(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "onnx"
    done = command("export", folder / "run", "--format", "onnx", "--out", out)
    assert done.status == 0, done.err
    card = (out / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True)
    assert ran.returncode == 0 and "is followed by" in ran.stdout, ran.stderr
    assert "8 tokens, the longest word" in card and "nats a scored token" in card


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.parametrize("kind", ["graphemes", "file", "chars"])
def test_the_page_splits_words_as_python_does(folder, kind):
    some = SMILES if kind == "file" else [FAMILY + FLAG + "a", "a" + E + FLAG, "da" + E, *CONJUNCTS]
    listed = words.from_words(some, tokens=of_file(ATOMS) if kind == "file" else Tokens(kind))
    values = {**listed.vocabulary.to_json(), "block_size": listed.block_size, "members": None, "held_out": None}
    script = (
        f"import {{ openList, encode, decode }} from {json.dumps(str(ROOT / 'src/rungwise/play/text.js'))};"
        f"const list = openList({json.dumps(values)});"
        f"const ids = {json.dumps(some)}.map((word) => encode(list, word).ids);"
        "console.log(JSON.stringify(ids.map((mine) => [mine, decode(list, mine)])))"
    )
    ran = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == [[listed.vocabulary.encode(word).tolist(), word] for word in some]


def test_the_page_of_a_run_holds_its_symbols(folder):
    done = command("play", folder / "run", "--out", folder / "page.html")
    assert done.status == 0, done.err
    embedded = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', (folder / "page.html").read_text()
    )
    about = json.loads(embedded[1])["list"]  # type: ignore[index]
    assert about["characters"] == sorted(set(ATOMS) - {"@"}) and about["members"] and about["unit"] == "token"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, r"No file of tokens at '.*none\.txt'"),
        (b"", r"tokens\.txt holds no tokens"),
        (b"\xff\xfe", r"tokens\.txt is not UTF-8"),
        (b"C\nO\n", r"list\.txt: 'CCl' cannot be split: no token of tokens\.txt fits its character 3, 'l'"),
    ],
)
def test_bad_tokens_are_one_line(folder, tmp_path, file, message):
    path = tmp_path / ("tokens.txt" if file is not None else "none.txt")
    if file is not None:
        path.write_bytes(file)
    for name in ("train", "climb", "data"):
        given = ["--data", folder / "list.txt", "--out", tmp_path / "out"] if name != "data" else [folder / "list.txt"]
        done = command(name, *given, "--tokens", path)
        assert done.status == 2 and re.search(message, done.err) and len(done.err.splitlines()) == 1, done.err
    assert not (tmp_path / "out").exists()


def test_a_misspelt_kind_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'graphemes'"):
        words.load(ListConfig("given-names", tokens="grapheme"))


@pytest.mark.parametrize(
    "change", [{"tokens": ["C"]}, {"tokens": 3}, {"tokens": "file"}, {"characters": "CO"}, {"tokens": [""]}]
)
def test_an_altered_vocabulary_is_refused(folder, tmp_path, change):
    out = shutil.copytree(folder / "run", tmp_path / "r")
    values = json.loads((out / "vocabulary.json").read_text())
    (out / "vocabulary.json").write_text(json.dumps(values | change))
    with pytest.raises(UserError, match=r"vocabulary\.json"):
        load(out)


def test_longer_words_are_told_by_their_symbols():
    some = [FAMILY * 3, FAMILY * 4, "a"]
    read = words.read(io.BytesIO("\n".join(some).encode()), "l", ListConfig(max_length=3, tokens="graphemes"))
    assert list(read) == [FAMILY * 3, "a"] and read.dropped.long == 1


def test_n_grams_count_symbols(folder):
    from rungwise.data.ngram import fit

    listed = words.load(ListConfig(str(folder / "list.txt"), tokens=str(folder / "atoms.txt")))
    tape = Tape.of(listed, np.arange(len(listed)), get_protocol("strict"))
    model = fit(tape, len(listed.vocabulary), 1)
    assert len(model.score(tape)) == sum(listed.lengths) + len(listed)

"""--condition: one model for all, each word given the value of a column; every part of the product knows it."""

import csv
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import ROOT, TINY, command, flags
from rungwise import generate, load
from rungwise.config import ListConfig, get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.data.dataset import load as load_dataset
from rungwise.data.known_words import KnownWords
from rungwise.data.ngram import fit
from rungwise.data.words import END, PAD
from rungwise.errors import UserError
from rungwise.inference.score import score
from rungwise.play import page
from rungwise.play.collect import find

ALL = ["".join(w) for n in range(1, 5) for w in itertools.product("ab", repeat=n)]
PAIRS = [(w, "f" if w.count("a") >= w.count("b") else "m") for w in ALL] + [("abab", "m"), ("a", "m")]
HOW = ListConfig("-", column="name", condition="sex")


def table(pairs: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([("name", "n", "sex"), *((word, i, value) for i, (word, value) in enumerate(pairs))])
    return text.getvalue()


def read(pairs: list[tuple[str, str]], how: ListConfig = HOW) -> words.WordList:
    return words.read(io.BytesIO(table(pairs).encode()), "l.csv", how)


def given_of(listed: words.WordList) -> list[str]:
    first = listed.vocabulary.first_condition
    return [listed.vocabulary.conditions[i - first] for i in listed.codes[listed.offsets[:-1]].tolist()]


some = st.text("abcé \n\"',", max_size=5)
cells = st.lists(st.tuples(some, st.sampled_from(["f", "m", "x y", "x\n\ny", " ", "", "f "])), max_size=30)


@given(cells.filter(lambda found: any(w.strip() and "\n" not in w.strip() and v.strip() for w, v in found)))
def test_each_word_keeps_what_it_is_given(pairs):
    listed = read(pairs)
    kept = [(w.strip(), " ".join(v.split())) for w, v in pairs if w.strip() and v.strip() and "\n" not in w.strip()]
    assert list(zip(listed, given_of(listed), strict=True)) == kept
    assert list(listed.spelled) == [w for w, _ in kept]
    assert listed.dropped.unconditioned == sum(bool(w.strip()) and not v.strip() for w, v in pairs)
    assert listed.vocabulary.conditions == tuple(sorted({v for _, v in kept}))
    assert len(listed.firsts) == len(set(kept))
    assert all(i in listed.find(word) for i, (word, _) in enumerate(kept))


@given(st.lists(st.sampled_from(PAIRS + [(w, "x") for w in ALL]), min_size=40, max_size=90), st.integers(0, 3))
def test_no_spelling_is_on_both_sides_of_the_strict_split(pairs, seed):
    listed, protocol = read(pairs), get_protocol("strict", "sex")
    if len(set(listed)) < 10:
        return
    parts = words.split(listed, protocol, seed)
    sides = [{listed[i] for i in part} for part in (parts.train, parts.validation, parts.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    every = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(every) == listed.firsts.tolist()
    assert len(sides[2]) == round(len(set(listed)) * protocol.test_fraction)


def test_a_table_in_parquet_is_the_same_list(tmp_path):
    pl.DataFrame({"sex": [v for _, v in PAIRS], "name": [w for w, _ in PAIRS]}).write_parquet(tmp_path / "l.parquet")
    found, expected = words.load(HOW.replace(data=str(tmp_path / "l.parquet"))), read(PAIRS)
    assert found.codes.tolist() == expected.codes.tolist() and found.vocabulary == expected.vocabulary


def test_graphemes_may_be_given_something_too():
    flag = "\U0001f1e9\U0001f1ea"
    listed = read([(f"a{flag}", "f"), (flag, "m")], HOW.replace(tokens="graphemes"))
    assert list(listed) == [f"a{flag}", flag] and given_of(listed) == ["f", "m"] and listed.spelled.max_length == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table where the condition decides which letters a word has, and a run on it."""
    found = tmp_path_factory.mktemp("condition")
    decided = [("".join(w), value) for value, letters in (("f", "ab"), ("m", "xy"))
               for n in range(1, 6) for w in itertools.product(letters, repeat=n)]  # fmt: skip
    (found / "l.csv").write_text(table(decided))
    how = ["--data", found / "l.csv", "--column", "name", "--condition", "sex", "--out", found / "run"]
    done = command("train", *how, *flags(**TINY | {"steps": 250, "batch_size": 16, "learning_rate": 0.01}))
    assert done.status == 0, done.err
    assert "2 conditions, END, PAD)" in done.out and "every character and the end (given sex) are scored" in done.out
    return found


def test_where_the_condition_decides_the_model_learns_it(folder):
    run = load(folder / "run")
    for value, letters in (("f", "ab"), ("m", "xy")):
        drawn = [w.text for w in generate(run, 400, given=value)]
        assert all(drawn) and np.mean([set(text) <= set(letters) for text in drawn]) > 0.97
    both = [w.text for w in generate(run, 400)]
    assert 0.3 < np.mean([text[0] in "ab" for text in both]) < 0.7  # as often as in training


def test_likelihoods_given_each_condition_sum_to_one(folder):
    """Over all words of the alphabet of at most four letters, with what else there is: longer ones, and what the model
    gives to tokens that no word can have next. An oracle: the chain rule, by the model's forward pass."""
    run = load(folder / "run")
    letters = {letter: run.vocabulary.ids[letter] for letter in "abxy"}
    for value in "fm":
        begun, ended, rest = {"": 1.0}, dict[str, float](), 0.0
        for _ in range(5):
            tokens = [[run.vocabulary.condition(value), *(letters[c] for c in text)] for text in begun]
            with torch.inference_mode():
                follows = run.model(torch.tensor(tokens))[:, -1].double().softmax(-1).numpy()
            for row, (text, p) in zip(follows, begun.items(), strict=True):
                ended[text] = p * row[END]
                rest += p * (row[PAD] + row[run.vocabulary.first_condition :].sum())
            both = zip(follows, begun.items(), strict=True)
            begun = {text + c: p * row[i] for row, (text, p) in both for c, i in letters.items()}
        rest += ended.pop("") + sum(begun.values())
        listed, _ = read([(word, value) for word in ended]).in_vocabulary(run.vocabulary)
        scores = score(run.model, Tape.of(listed, np.arange(len(listed)), run.word_start))
        assert len(ended) == 4 + 16 + 64 + 256 and scores.lengths.tolist() == [len(word) + 1 for word in ended]
        np.testing.assert_allclose(scores.words, -np.log(list(ended.values())), rtol=1e-4)
        assert np.exp(-scores.words).sum() + rest == pytest.approx(1, abs=1e-5)


def test_samples_have_the_likelihood_that_eval_gives_them(folder):
    run = load(folder / "run")
    drawn = list(generate(run, 100, given="m", temperature=1.3, prefix="x"))
    assert all(w.text.startswith("x") for w in drawn)
    listed, _ = read([(w.text, "m") for w in drawn]).in_vocabulary(run.vocabulary)
    nats = score(run.model, Tape.of(listed, np.arange(len(listed)), run.word_start)).words
    np.testing.assert_allclose(nats, [-w.log_likelihood for w in drawn], atol=1e-4)
    without = [w.text for w in generate(run, 60, prefix="x")]
    assert all(text.startswith("x") for text in without)
    assert {len(w.text) for w in generate(run, 60, max_length=1, given="f")} == {1}


def test_every_word_that_is_drawn_is_told_from_the_list_whatever_it_is_given(folder):
    listed = words.load(HOW.replace(data=str(folder / "l.csv")))
    for w in generate(load(folder / "run"), 200):
        assert (w.part != "new") == (w.text in set(listed))


def test_counting_knows_the_condition(folder):
    """An n-gram's first character depends on what the word is given, by the same counts."""
    listed = words.load(HOW.replace(data=str(folder / "l.csv")))
    tape = Tape.of(listed, np.arange(len(listed)), get_protocol("article", "sex"))
    bigram = fit(tape, len(listed.vocabulary), 2).score(tape)
    assert len(bigram) == sum(map(len, listed)) + len(listed)
    first = bigram[np.cumsum(tape.lengths) - tape.lengths]
    assert (first < np.log(2.2)).all()  # two of four letters are possible, not four


def test_eval_tells_the_loss_of_each_condition(folder):
    done = command("eval", folder / "run", folder / "l.csv", "--column", "name", "--json")
    told = json.loads(done.out)
    assert told["by_condition"].keys() == {"f", "m"}
    assert sum(part["words"] for part in told["by_condition"].values()) == told["words_scored"] == told["words"]
    by, n = told["by_condition"], dict.fromkeys("fm", 62)
    tokens = {value: sum(m * 2**m for m in range(1, 6)) + n[value] for value in "fm"}
    mean = sum(by[v]["nats_per_character"] * tokens[v] for v in "fm") / sum(tokens.values())
    assert mean == pytest.approx(told["nats_per_character"])
    assert told["by_part"].keys() == {"training", "held out"}
    assert (
        "Nats a character by condition: " in command("eval", folder / "run", folder / "l.csv", "--column", "name").out
    )


def test_one_line_where_the_condition_is_missing_or_unknown(folder, tmp_path):
    (tmp_path / "o.csv").write_text(table([("ab", "mm"), ("a", "f")]))
    (tmp_path / "none.csv").write_text("name,sux\na,f\n")
    (tmp_path / "blank.csv").write_text(table([("ab", " ")]))
    run, of = folder / "run", ["--column", "name"]
    cases = [
        (["sample", run, "--given", "fm"], "was given 'fm'; did you mean 'f'|was given 'fm'; did you mean 'm'"),
        (["eval", run, tmp_path / "o.csv", *of], "was given 'mm'; did you mean 'm'"),
        (["eval", run, tmp_path / "none.csv", *of], "no column 'sex'; did you mean 'sux'"),
        (["eval", run, folder / "l.csv"], "give a table with a column 'sex', and name the --column"),
        (["data", folder / "l.csv", *of, "--condition", "sx"], "no column 'sx'; did you mean 'sex'"),
        (["data", tmp_path / "blank.csv", *of, "--condition", "sex"], "holds no words with a condition"),
        (["data", folder / "l.csv", "--condition", "sex"], "name the --column of the words, too"),
        (["data", "given-names", *of, "--condition", "sex"], "has no columns"),
        (["train", "--data", folder / "l.csv", *of, "--condition", "sex", "--rung", "stream", "--out", tmp_path / "r"],
         "batching must be 'words'"),
    ]  # fmt: skip
    for arguments, message in cases:
        done = command(*arguments)
        assert done.status == 2 and re.search(message, done.err) and len(done.err.splitlines()) == 1, done
    assert not (tmp_path / "r").exists()
    with pytest.raises(UserError, match="words alone"):
        words.from_words(["a", "b"], how=HOW)


def test_a_run_without_a_condition_is_given_none(tmp_path):
    (tmp_path / "l.csv").write_text(table(PAIRS))
    done = command("train", "--data", tmp_path / "l.csv", "--column", "name", "--out", tmp_path / "r", *flags(**TINY))
    assert done.status == 0, done.err
    assert "conditions" not in json.loads((tmp_path / "r/vocabulary.json").read_text())
    refused = command("sample", tmp_path / "r", "--given", "f")
    assert refused.status == 2 and "trained without --condition" in refused.err


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    out = shutil.copytree(folder / "run", tmp_path / "r")
    (out / "samples.txt").unlink()
    done = command("train", "--resume", "--out", out)
    assert done.status == 0, done.err
    assert (out / "samples.txt").read_text() == (folder / "run/samples.txt").read_text()


def test_a_climb_is_given_the_condition(folder, tmp_path):
    how = ["--steps", 2, "--seeds", 1, "--rungs", "baseline", "--engine", "torch", "--processes", 1]
    of = ["--data", folder / "l.csv", "--column", "name", "--condition", "sex", "--out", tmp_path / "c"]
    done = command("climb", *of, *how)
    assert done.status == 0, done.err
    assert "every character and the end (given sex)" in done.out
    assert "every character and the end (given sex)" in (tmp_path / "c/report.md").read_text()
    assert load(tmp_path / "c/baseline/seed-0").vocabulary.conditions == ("f", "m")
    assert (tmp_path / "c/play.html").exists()


def test_exports_know_the_conditions(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    transformers = pytest.importorskip("transformers")
    from rungwise.export import tokenizer

    run = load(folder / "run")
    tokenizer.save(tmp_path, run.vocabulary, False, run.model.config.block_size)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("<m>\nxy").input_ids == [run.vocabulary.condition("m"), *run.vocabulary.encode("xy")]
    assert theirs.decode(theirs("<m>\nxy").input_ids, skip_special_tokens=True) == "xy"
    done = command("export", folder / "run", "--format", "onnx", "--out", tmp_path / "onnx")
    assert done.status == 0, done.err
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "onnx/README.md").read_text(), re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "onnx", capture_output=True, text=True)
    assert ran.returncode == 0 and "is followed by" in ran.stdout, ran.stderr


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_page_reads_and_draws_words_under_each_condition(folder, tmp_path):
    """Its likelihoods are Python's, and it draws what the condition allows."""
    run = load(folder / "run")
    listed = words.load(HOW.replace(data=str(folder / "l.csv")))
    page.write(tmp_path / "page.html", find([folder / "run"]), listed, precision="float32")
    text = (tmp_path / "page.html").read_text()
    assert 'id="given"' in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    (tmp_path / "data.json").write_text(data)
    play = ROOT / "src/rungwise/play"
    script = f"""
import {{ readFileSync }} from "node:fs";
import {{ openList, encode, decode, conditionId, glyph }} from "{play}/text.js";
import {{ readWord, drawWord, randomNumbers }} from "{play}/sample.js";
import {{ readWeights }} from "{play}/forward.js";
const page = JSON.parse(readFileSync("{tmp_path}/data.json"));
const list = openList(page.list);
const [rung] = page.rungs;
const model = {{ config: rung.model, start: rung.word_start, weights: readWeights(rung.weights, page.precision) }};
const found = {{}};
for (const value of ["f", "m"]) {{
  const given = conditionId(list, value);
  const mine = {{ ...model, given }};
  const nats = readWord(mine, encode(list, "ab").ids).reduce((sum, {{ surprise }}) => sum + surprise, 0);
  const drawn = Array.from({{ length: 60 }}, (_, i) => decode(list, drawWord(list, mine, randomNumbers(0, i)).ids));
  found[value] = {{ nats, drawn, shown: glyph(list, given) }};
}}
console.log(JSON.stringify(found));
"""
    ran = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    for value, letters in (("f", "ab"), ("m", "xy")):
        asked, _ = read([("ab", value)]).in_vocabulary(run.vocabulary)
        nats = score(run.model, Tape.of(asked, np.arange(1), run.word_start)).words
        assert found[value]["nats"] == pytest.approx(nats[0], rel=1e-4) and found[value]["shown"] == value
        assert np.mean([set(text) <= set(letters) for text in found[value]["drawn"]]) > 0.9


def test_shards_are_refused(tmp_path):
    pl.DataFrame({"name": ["a"], "sex": ["f"]}).write_parquet(tmp_path / "0.parquet")
    with pytest.raises(UserError, match="without --condition"):
        load_dataset(HOW.replace(data=str(tmp_path)), "strict", "words")


def test_known_words_are_spellings():
    listed = read([("ab", "f"), ("ab", "m"), ("ba", "f")])
    known = KnownWords.of(listed, np.array([2]))
    assert len(known) == 2 and known.parts(known.hash(["ab", "ba"])) == ["held out", "training"]

"""One word is one text, at every border: lists, models, prefixes, --unique and --new-only, eval, a climb's tags."""

import json
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import TINY, command
from rungwise import api
from rungwise.config import ModelConfig, get_protocol
from rungwise.data.known_words import KnownWords
from rungwise.data.sources import BLANKS, comparable
from rungwise.data.words import Vocabulary, from_words
from rungwise.errors import UserError
from rungwise.experiment.plan import Experiment
from rungwise.experiment.task import tag
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.inference.sample import generate
from rungwise.model.transformer import Transformer
from rungwise.training import run_dir

anything = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
awkward = st.one_of(
    st.sampled_from(["\u0301", "\u0323", "\u0302", "e", "o", "u\u0308", "\u1100\u1161", *BLANKS]), anything
)
texts = st.lists(awkward, max_size=8).map("".join)


def test_blanks_are_pythons_white_space_and_the_byte_order_mark():
    assert set(BLANKS) == {"\ufeff", *filter(str.isspace, map(chr, range(sys.maxunicode + 1)))}


@given(texts, st.text(st.sampled_from(BLANKS)), st.sampled_from(["NFC", "NFD"]))
def test_one_word_is_one_text(text, blanks, form):
    word = comparable(text)
    assert comparable(word) == word == unicodedata.normalize("NFC", word)
    assert comparable(blanks + unicodedata.normalize(form, word) + blanks) == word
    assert word[:1] not in {*BLANKS} and word[-1:] not in {*BLANKS}
    begun = comparable(text, beginning=True)
    assert begun.strip(BLANKS) == word and begun[:1] not in {*BLANKS}


def made(listed, temperature: float = 1.0) -> Transformer:
    """A model of a list as it begins: it draws any character anywhere."""
    return Transformer(
        ModelConfig(len(listed.vocabulary), listed.block_size, n_layer=1, n_head=1, n_embd=4), seed=1
    ).eval()


@settings(max_examples=15)
@given(st.lists(texts, min_size=4, max_size=12), st.booleans(), st.integers(0, 9))
def test_any_text_through_list_model_sample_eval_and_back(tmp_path_factory, lines, start, seed):
    """What a model of any list prints is scored by the same model, known where listed, and is never there twice."""
    folder = tmp_path_factory.mktemp("back")
    try:
        run = api.train(
            lines, folder / "run", **TINY | {"steps": 1, "warmup_steps": 1}, protocol="strict" if start else "article"
        )
    except UserError as error:
        assert "holds" in str(error)  # too few words
        return
    listed = {word for line in lines if (word := comparable(line)) and not {*"\r\n"} & {*word}}
    asked = ("sample", folder / "run", "-n", 300, "--seed", seed, "--json")
    drawn = [json.loads(line) for line in command(*asked).out.split("\n")[:-1]]
    words = [word["word"] for word in drawn]
    assert words == [word for word in map(comparable, words) if word]
    assert [word["new"] for word in drawn] == [word not in listed for word in words]
    unique = [json.loads(line)["word"] for line in command(*asked, "--unique").out.split("\n")[:-1]]
    assert len(set(unique)) == len(unique)
    assert not set(unique[: len(set(words))]) ^ set(words)
    (folder / "drawn").write_bytes(command(*asked[:-1]).out.encode())
    done = command("eval", folder / "run", folder / "drawn", "--words", "--json")
    if words:
        assert [json.loads(line)["word"] for line in done.out.split("\n")[:-1]] == words
        told = json.loads(done.err.split("\n")[-2])
        assert (told["words_scored"], told["words_with_unknown_characters"]) == (len(words), 0)
    again = run_dir.load(folder / "run")
    assert again.vocabulary == run.vocabulary


SPACED = ["los alamos", "los amoan", "new york", "san jos\xe9", "s\u0323an", "x\u0301"]


@pytest.mark.parametrize("start", [True, False])
def test_the_likelihood_is_that_of_what_was_drawn(start):
    listed = from_words(SPACED)
    firsts = None if start else listed.first_counts(np.arange(len(listed)))
    model, sampling = made(listed), Sampling(temperature=3.0)
    drawer = Drawer(model, listed.vocabulary, firsts, sampling, 0)
    ids, nats, _ = drawer.draw(0, 2000)
    raw = listed.vocabulary.decode_rows(ids[:, drawer.begin :])
    kept = [(comparable(text), n) for text, n in zip(raw, nats.tolist(), strict=True)]
    kept = [(text, n) for text, n in kept if text and set(text) <= set(listed.vocabulary.characters)]
    found = list(generate(model, listed.vocabulary, len(kept), firsts, sampling))
    assert [word.text for word in found] == [text for text, _ in kept]
    np.testing.assert_allclose([word.log_likelihood for word in found], [n for _, n in kept], rtol=1e-6)
    assert 0 < sum(text != comparable(text) for text in raw) < len(raw)  # there were such words
    assert len(kept) < len(raw)  # and such as no list could hold


def test_a_word_that_only_differs_in_blanks_or_marks_is_listed_and_comes_once():
    listed = from_words(["a", "b a", "a b", "\xe9", "e", "x\u0301", "x"])
    known, model = KnownWords.of(listed), made(listed)
    words = list(generate(model, listed.vocabulary, 5_000, None, known=known))
    assert {word.text for word in words if not word.new} == set(listed)
    unique = [word.text for word in generate(model, listed.vocabulary, 99, None, Sampling(unique=True), known=known)]
    assert len(set(map(comparable, unique))) == 99
    new = list(generate(model, listed.vocabulary, 500, None, Sampling(new_only=True), known=known))
    assert not {comparable(word.text) for word in new} & set(listed)


@pytest.mark.parametrize(
    ("prefix", "begun"), [("re\u0301", "r\xe9"), ("  a", "a"), ("\ufeffa b", "a b"), ("a ", "a "), (" ", "")]
)
def test_a_prefix_is_any_text(prefix, begun):
    listed = from_words(["r\xe9a b", "a b", "b \u0301a", "bb \xe9"])
    words = [word.text for word in generate(made(listed), listed.vocabulary, 200, None, Sampling(prefix=prefix))]
    assert len(words) == 200
    assert all(word.startswith(begun) for word in words)


def test_a_model_that_draws_nothing_but_blanks_ends():
    listed = from_words(["a\u2003" * 9 + "b"])
    model = made(listed)
    model.head.weight.data.zero_()
    model.head.bias.data[:] = 0
    model.head.bias.data[listed.vocabulary.encode("\u2003")] = 99
    assert list(generate(model, listed.vocabulary, 5, None)) == []


def test_drawn_words_of_a_climb_are_found_where_they_stand():
    listed = from_words(["los alamos", "new york", "jos\xe9", "anna"] * 20)
    experiment = Experiment(listed, get_protocol("article"), [], [0])
    assert {tag(experiment, text) for text in ("los alamos ", "\ufeffnew york", "jose\u0301", "anna")} == {"training"}
    assert tag(experiment, "annaa") == "new"
    assert listed.find(" ").tolist() == []


def test_a_vocabulary_says_what_it_spells():
    assert Vocabulary("ab").spells("abba") and Vocabulary("ab").spells("")
    assert not Vocabulary("ab").spells("abc")

"""Sampling: its likelihoods are the training path's, its frequencies the model's, and it always ends."""

import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers import listed
from rungwise.config import PROTOCOLS, ModelConfig
from rungwise.data.batches import Tape
from rungwise.data.known_words import KnownWords, marked
from rungwise.data.words import PAD, Vocabulary, from_words
from rungwise.engine import native
from rungwise.errors import UserError
from rungwise.inference import prefix_tree as drawing
from rungwise.inference.prefix_tree import ROOT, Drawer, TorchTree, distinct, grown, make_tree, pick
from rungwise.inference.sample import Sampling, generate
from rungwise.inference.score import score
from rungwise.ladder import RUNGS, TRANSFORMERS
from rungwise.model.transformer import Transformer

generating = importlib.import_module("rungwise.inference.sample")  # `from rungwise import generate` is the function
ABC = Vocabulary("abc")
FIRSTS = np.array([0, 0, 5, 3, 0])
SMALL = ModelConfig(vocab_size=5, block_size=5, n_layer=2, n_head=2, n_embd=8)


def model(config: ModelConfig = SMALL, seed: int = 3) -> Transformer:
    return Transformer(config, seed).eval()


def texts(*args, **kwargs) -> list[str]:
    return [word.text for word in generate(*args, **kwargs)]


def trained_path(of: Transformer, some: list[str], start: bool, vocabulary: Vocabulary) -> np.ndarray:
    """Log-likelihood of each word, by evaluate.score()."""
    words, strange = from_words(some).in_vocabulary(vocabulary)
    assert not strange.any()
    protocol = PROTOCOLS["strict" if start else "article"]
    return -score(of, Tape.of(words, np.arange(len(words)), protocol)).words


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("native_engine", ["0", "1"])
def test_likelihoods_are_the_training_paths(rung, start, native_engine, monkeypatch):
    monkeypatch.setenv("RUNGWISE_NATIVE", native_engine)
    config = RUNGS[rung].model.replace(vocab_size=5, block_size=9)
    of = model(config)
    for sampling in (Sampling(), Sampling(0.5, top_k=2, prefix="ab"), Sampling(max_length=2, top_p=0.7)):
        words = list(generate(of, ABC, 40, None if start else FIRSTS, sampling))
        expected = trained_path(of, [w.text for w in words], start, ABC)
        np.testing.assert_allclose([w.log_likelihood for w in words], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_words_come_as_often_as_the_model_says():
    """Chi-squared over all words of at most two characters, and the rest."""
    of, n = model(), 20_000
    every = ["".join(w) for k in (1, 2) for w in itertools.product("abc", repeat=k)]
    # PAD is never drawn, and END not as a first character: what the training path gives them goes to the others.
    probability = []
    for word in every:
        ids, p = torch.tensor([[1, *ABC.encode(word)]]), 1.0
        for t, row in enumerate(of(ids).double().softmax(-1)[0]):
            row[PAD] = 0
            if not t:
                row[1] = 0
            p *= float((row / row.sum())[[*ABC.encode(word), 1][t]])
        probability.append(p)
    drawn = texts(of, ABC, n, None)
    counts = [drawn.count(word) for word in every]
    observed, expected = [*counts, n - sum(counts)], [*(n * np.array(probability)), n * (1 - sum(probability))]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_first_characters_are_the_lists_where_there_is_no_start_token():
    drawn = texts(model(), ABC, 8_000, FIRSTS)
    share = sum(word[0] == "a" for word in drawn) / len(drawn)
    assert {word[0] for word in drawn} == {"a", "b"}
    assert abs(share - 5 / 8) < 4 * math.sqrt(5 / 8 * 3 / 8 / 8_000)


@pytest.mark.parametrize("start", [True, False])
def test_temperature_zero_is_the_greedy_word(start):
    of, word = model(), "b"
    while len(word) < 4:  # in plain Python, without cache or batches
        row = of(torch.tensor([[1] * start + ABC.encode(word).tolist()]))[0, -1]
        row[PAD] = -torch.inf
        if (token := int(row.argmax())) == 1:
            break
        word += ABC.decode([token])
    assert set(texts(of, ABC, 5, None if start else FIRSTS, Sampling(0, prefix="b"))) == {word}


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([0.0, 1e-30, 0.3, 1.0, 5.0, 1e30]),
    st.integers(0, 6),
    st.sampled_from([1e-9, 0.2, 0.9, 1.0]),
    st.text("abc", max_size=2),
    st.sampled_from([None, 2, 3, 99]),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_word_is_as_asked(temperature, top_k, top_p, prefix, max_length, seed, start):
    sampling = Sampling(temperature, top_k, top_p, prefix, max_length)
    words = list(generate(model(), ABC, 33, None if start else FIRSTS, sampling, seed))
    assert len(words) == 33
    for word in words:
        assert word.text.startswith(prefix)
        assert 1 <= len(word.text) <= min(max_length or 4, 4)
        assert set(word.text) <= set("abc")
        assert -math.inf < word.log_likelihood < 0
    assert words == list(generate(model(), ABC, 33, None if start else FIRSTS, sampling, seed))


def test_top_k_and_top_p_by_hand():
    logits = torch.log(torch.tensor([[0.0, 0.5, 0.3, 0.15, 0.05]]).double())

    def left(**kwargs):
        drawer = Drawer(model(), ABC, None, Sampling(**kwargs), 0)
        return drawer.distribution(logits)[0].tolist()

    assert left(top_k=2) == pytest.approx([0, 0.625, 0.375, 0, 0])
    assert left(top_p=0.49) == pytest.approx([0, 1, 0, 0, 0])
    assert left(top_p=0.51) == pytest.approx([0, 0.625, 0.375, 0, 0])
    assert left(top_p=1.0, top_k=99) == pytest.approx([0, 0.5, 0.3, 0.15, 0.05])
    assert left(temperature=0.5) == pytest.approx([x * x / 0.365 for x in (0, 0.5, 0.3, 0.15, 0.05)])
    assert left(temperature=0) == [0, 1, 0, 0, 0]


@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 99))
def test_picking_inverts_each_rows_cumulative_sum(rows, n_tokens, seed):
    rng = np.random.default_rng(seed)
    p = rng.random((rows, n_tokens)) * (rng.random((rows, n_tokens)) > 0.3)
    p[:, rng.integers(n_tokens)] = 1
    p /= p.sum(1, keepdims=True)
    row, uniform = rng.integers(rows, size=50), rng.integers(2**32, size=50) / 2**32
    uniform[:2] = 0, 1 - 2**-32
    for r, u, token in zip(row, uniform, pick(p, row, uniform), strict=True):
        assert p[r, token] > 0
        assert p[r, :token].sum() <= u + 1e-9
        assert p[r, : token + 1].sum() >= u - 1e-9


def test_word_i_depends_on_the_seed_alone(monkeypatch):
    """Not on how many are drawn, nor on how many go side by side, in threads, across the blocks."""
    of = model()
    many = texts(of, ABC, 9_000, None)
    assert texts(of, ABC, 20, None) == many[:20]
    assert texts(of, ABC, 4_097, None) == many[:4_097]
    monkeypatch.setattr(drawing, "CACHE_BYTES", 100_000)
    assert texts(of, ABC, 5_000, None) == many[:5_000]
    assert texts(of, ABC, 20, None, seed=1) != many[:20]


@pytest.mark.parametrize("most", [1, 3, 11])
@pytest.mark.parametrize("start", [True, False])
def test_the_tree_can_be_walked_in_parts(monkeypatch, most, start):
    """However few prefixes go side by side: the same words and likelihoods."""
    of, firsts = model(), None if start else FIRSTS
    whole = list(generate(of, ABC, 300, firsts))
    monkeypatch.setattr(drawing, "MOST_PREFIXES", most)
    parts = list(generate(of, ABC, 300, firsts))
    assert [w.text for w in parts] == [w.text for w in whole]
    np.testing.assert_allclose([w.log_likelihood for w in parts], [w.log_likelihood for w in whole], atol=1e-5)


@given(st.lists(st.integers(0, 12), max_size=50))
def test_distinct_keys(keys):
    keys = np.array(keys, dtype=np.int64)
    for found, expected in zip(distinct(keys, 13), np.unique(keys, return_inverse=True), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_unique_and_new_only():
    of = model()
    known = KnownWords.of(listed(["a", "ab", "abc", "cab"]))
    every = list(generate(of, known.vocabulary, 3_000, None, known=known))
    assert {w.text for w in every if not w.new} == {"a", "ab", "abc", "cab"} & {w.text for w in every}
    new = list(generate(of, known.vocabulary, 50, None, Sampling(unique=True, new_only=True), known=known))
    assert len({w.text for w in new}) == len(new) == 50
    assert all(w.new for w in new)
    kept = list(dict.fromkeys(w.text for w in every if w.new))
    assert [w.text for w in new] == kept[:50]  # the same words, less those that will not do
    assert {w.new for w in generate(of, ABC, 9, None)} == {None}


def test_asking_for_more_than_there_is_ends():
    of = model(SMALL.replace(block_size=3))  # words of one or two of three characters: 12 of them
    every = texts(of, ABC, 1_000, None, Sampling(unique=True))
    assert sorted(every) == sorted("".join(w) for k in (1, 2) for w in itertools.product("abc", repeat=k))
    known = KnownWords.of(listed(every))
    assert texts(of, known.vocabulary, 5, None, Sampling(new_only=True), known=known) == []
    assert len(texts(of, ABC, 9, None, Sampling(0, unique=True))) == 1


def test_a_slow_trickle_ends_too():
    """Fewer than one in a thousand over GIVE_UP_AFTER words, though not none."""
    batches = iter([(["a"] * 1_999 + [f"b{i}"], np.zeros(2_000)) for i in range(100)])
    words = generating.accepted(batches, 1_000, Sampling(unique=True), KnownWords(Vocabulary("0123456789ab")), None)
    assert len(list(words)) == 11


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        ({"temperature": -1}, "temperature must be at least 0 and finite, but is -1."),
        ({"temperature": math.nan}, "temperature must be at least 0 and finite, but is nan."),
        ({"temperature": math.inf}, "temperature must be at least 0 and finite, but is inf."),
        ({"top_k": -1}, "top_k must be at least 0, but is -1."),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, but is 0."),
        ({"top_p": math.nan}, "top_p must be above 0 and at most 1, but is nan."),
        ({"max_length": 0}, "max_length must be at least 1, but is 0."),
        ({"prefix": "abd"}, "'d' in 'abd' is not in the alphabet of the training list: abc"),
        ({"prefix": "abcab"}, "The prefix 'abcab' is longer than the longest word (4 characters)."),
        ({"prefix": "ab", "max_length": 1}, "The prefix 'ab' is longer than the longest word (1 characters)."),
        ({"new_only": True}, "This run keeps no list of its words, so new ones cannot be told: leave out new_only."),
    ],
)
def test_what_cannot_be_drawn(kwargs, line):
    with pytest.raises(UserError) as caught:
        generate(model(), ABC, 1, None, Sampling(**kwargs))
    assert str(caught.value) == line


def test_memory_is_bounded_by_the_cache(monkeypatch):
    monkeypatch.setenv("RUNGWISE_NATIVE", "0")
    drawer = Drawer(model(ModelConfig(block_size=65)), Vocabulary("abcdefghijklmnopqrstuvwxyz"), None, Sampling(), 0)
    drawer.words(0, 700)
    assert isinstance(drawer.tree, TorchTree)
    held = sum(x.nbytes for x in drawer.tree.kept.values())
    assert 0 < held <= drawing.CACHE_BYTES


@pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))
@pytest.mark.parametrize("rung", TRANSFORMERS)
def test_both_trees_grow_alike(rung):
    """Logits of a tree that branches, is left, and is gone back to; against the whole prefixes read at once."""
    of, width, rng = model(RUNGS[rung].model.replace(vocab_size=7, block_size=11)), 11, np.random.default_rng(0)
    trees = [make_tree(of, 13, width), TorchTree(of, 13, width)]
    assert isinstance(trees[0], native.Tree)
    paths, prefixes, crossing = ROOT, np.empty((1, 0), dtype=np.int64), None
    for n in (1, 3, 13, 7, 13, 2):
        if paths.shape[1] == 3:
            crossing = paths, prefixes
        paths, prefixes = walk(of, trees, paths, prefixes, rng.integers(len(prefixes), size=n), rng)
    assert crossing
    walk(of, trees, *crossing, np.array([12, 0, 5]), rng)


def walk(of, trees, paths, prefixes, parents, rng):
    tokens = rng.integers(1, 7, size=len(parents))
    paths, prefixes = grown(paths, parents), np.concatenate([prefixes[parents], tokens[:, None]], axis=1)
    with torch.no_grad():
        expected = of(torch.from_numpy(prefixes))[:, -1].numpy()
    for tree in trees:
        np.testing.assert_allclose(tree.grow(tokens, paths), expected, atol=2e-5, rtol=1e-5)
    return paths, prefixes


@pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))
@pytest.mark.parametrize(
    ("tokens", "paths"),
    [
        ([7], [[0]]),
        ([1, 1, 1, 1], [[0], [1], [2], [3]]),
        ([1], [[0, 1, 2, 3]]),
        ([1, 1], [[0, 1], [0, 3]]),
        ([1], [[9]]),
    ],
)
def test_what_does_not_fit_a_tree_is_refused(tokens, paths):
    tree = make_tree(model(SMALL.replace(vocab_size=7)), 3, 3)
    with pytest.raises(ValueError):
        tree.grow(np.array(tokens), np.array(paths))


def test_membership_is_told_from_hashes(tmp_path):
    some = listed(["anna", "bea", "carl", "anna", "c"])
    known = KnownWords.of(some)
    assert len(known) == 4
    known.save(tmp_path)
    again = KnownWords.load(tmp_path, some.vocabulary)
    assert again is not None
    asked = ["anna", "annab", "ann", "c", "carl", "lrac"]
    assert again.holds(again.hash(asked)).tolist() == [True, False, False, True, True, False]
    assert KnownWords.load(tmp_path / "nowhere", some.vocabulary) is None
    assert not KnownWords(some.vocabulary).holds(known.hash(["c"])).any()


@pytest.mark.parametrize("told", [True, False])
def test_where_a_word_is(tmp_path, told):
    """In training, held out, or new; runs of before know only whether it is in the list."""
    listed = from_words(["anna", "bea", "anna", "carl", "dora"])
    known = KnownWords.of(listed, np.array([0, 3]) if told else None)
    known.save(tmp_path)
    again = KnownWords.load(tmp_path, listed.vocabulary)
    parts = again.parts(again.hash(["anna", "bea", "carl", "dora", "ada"]))
    inside = ["training", "held out", "training", "held out"] if told else ["in the list"] * 4
    assert parts == [*inside, "new"]


def test_words_in_a_row_are_told_apart():
    assert [marked("anna", part) for part in ("training", "held out", "new", None)] == [
        "anna*",
        "anna°",
        "anna",
        "anna",
    ]
    assert marked("new york", "training") == '"new york"*'

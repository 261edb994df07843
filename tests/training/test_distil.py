"""Students and mixtures: what they are taught is what their teachers say, to the letter."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch

from conftest import make_words
from helpers import TINY, assert_same, command, ctrl_c, flags, listed, observed
from ngram_oracle import GIVEN, WHOLE, oracle_of, sequences, tape
from rungwise.config import EngineConfig, ListConfig, WordStart, get_protocol
from rungwise.config.settings import Settings
from rungwise.data.batches import Tape
from rungwise.data.ngram import best_share, fit
from rungwise.data.teacher import leave_one_out
from rungwise.data.words import END, load, split
from rungwise.inference.mixture import Mixture, distributions
from rungwise.inference.sample import generate
from rungwise.inference.score import score
from rungwise.ladder import get_rung
from rungwise.model.transformer import Transformer
from rungwise.training import distil
from rungwise.training import run as training

SMALL = {"n_embd": 8, "n_head": 2, "head_size": None, "n_layer": 2}


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    monkeypatch.setattr(distil, "DRAWN_WORDS", 200)


def setting(protocol="strict"):
    words, how = make_words(), get_protocol(protocol)
    parts = split(words, how)
    rung = get_rung("recipe-student")
    model = rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size, **SMALL)
    return (
        words,
        parts,
        model,
        rung.train.replace(steps=20, warmup_steps=2, batch_size=5),
        Tape.of(words, parts.train, how),
    )


def slowly(models, some, size):
    """(tokens, V) mean probabilities, a word at a time by the models' own forward pass."""
    found = []
    for start, length in zip(some.starts, some.lengths, strict=True):
        inputs = torch.from_numpy(some.tokens[start : start + length].astype(np.int64))[None]
        with torch.inference_mode():
            found.append(np.mean([model.eval()(inputs)[0].softmax(-1).numpy() for model in models], axis=0))
    return np.concatenate(found)


@pytest.mark.parametrize("protocol", ["strict", "article"])
def test_a_mixture_says_the_mean_of_its_models(protocol, monkeypatch):
    _, _, config, _, some = setting(protocol)
    models = [Transformer(config, seed) for seed in (1, 2)]
    monkeypatch.setattr("rungwise.inference.mixture.WORDS_TOGETHER", 7)
    rows, at = distributions(Mixture(models), some)
    expected = slowly(models, some, config.vocab_size)
    np.testing.assert_allclose(rows[at], expected, atol=1e-6)
    assert len(rows) < len(at)  # a prefix is computed once
    ngram = fit(some, config.vocab_size, 4)
    mixture = Mixture(models, ngram, 0.3, end_fed=get_protocol(protocol).start_token)
    follows = some.packed(some.starts, some.lengths)[1]
    each = np.arange(len(follows))
    together = 0.7 * expected[each, follows] + 0.3 * np.exp(-ngram.score(some))
    np.testing.assert_allclose(mixture.score(some).nats, -np.log(together), rtol=1e-4)
    assert Mixture(models[:1]).score(some).loss == pytest.approx(score(models[0], some).loss, rel=1e-5)


@pytest.mark.parametrize("protocol", [WHOLE, GIVEN], ids=["whole", "given"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_what_follows_a_history_is_the_oracle_s(protocol, order):
    some = ["abba", "bea", "ada", "dee", "abe", "a"]
    probability = oracle_of(sequences(some, protocol), order, 6, 0.75)
    model = fit(tape(some, protocol), 7, order)
    for history in ("^", "^a", "^ab", "^e", "^abba"):
        codes = np.array([[1 + "^abcde".index(c) for c in history]])
        if protocol is GIVEN and history == "^":
            continue
        expected = [0, *(probability(w, history) for w in "$abcde")]
        np.testing.assert_allclose(model.after(codes)[0], expected, rtol=1e-5)


def test_a_mixture_draws_as_it_scores():
    """The log-likelihood of each word that is drawn is that of the word scored."""
    words, _, config, _, some = setting()
    mixture = Mixture([Transformer(config, s) for s in (1, 2)], fit(some, config.vocab_size, 4), 0.4)
    drawn = list(generate(mixture, words.vocabulary, 50, None, seed=3))
    again = listed([word.text for word in drawn])
    known, _ = again.in_vocabulary(words.vocabulary)
    nats = mixture.score(Tape.of(known, np.arange(len(known)), get_protocol("strict"))).words
    np.testing.assert_allclose([word.log_likelihood for word in drawn], -nats, rtol=1e-4)


def test_the_share_is_the_best_one():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(size=(2, 500))
    losses = [-np.log((1 - w) * one + w * other).mean() for w in np.linspace(0, 1, 1001)]
    assert best_share(one, other) == pytest.approx(np.argmin(losses) / 1000, abs=2e-3)


@pytest.mark.parametrize("protocol", ["strict", "article"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_lesson_is_what_the_teachers_say(protocol, n):
    words, parts, model, config, some = setting(protocol)
    start = WordStart.of(get_protocol(protocol), config)
    firsts = None if start.end_fed else words.first_counts(parts.train)
    room, config = distil.Classroom(EngineConfig("torch")), config.replace(teachers=n)
    lesson = distil.prepare(model, config, some, None, words.vocabulary, firsts, 5, room)
    teachers = distil._teachers(model, config, some, 5, room)
    n_words, n_tokens, size = len(some.starts), some.n_tokens, model.vocab_size
    made = lesson.tape
    assert len(made.starts) == n_words + distil.DRAWN_WORDS
    places = made.targets(made.starts, made.lengths)
    rows = lesson.teacher.rows[lesson.teacher.at[places]]
    follows = made.tokens[places]
    # the list's words: 0.2 of what follows, and 0.8 of teachers and n-grams
    left_out = leave_one_out(some, size)
    said = slowly(teachers, some, size)
    said += distil.SHARE * (left_out.rows[left_out.at[places[:n_tokens]]] - said)
    np.testing.assert_array_equal(follows[:n_tokens], some.packed(some.starts, some.lengths)[1])
    np.testing.assert_allclose(rows[:n_tokens], 0.8 * said + 0.2 * np.eye(size)[follows[:n_tokens]], atol=1e-5)
    # words that were drawn: what the mixture says, as it scores them
    drawn = Tape(made.tokens, made.starts[n_words:], made.lengths[n_words:], made.unscored)
    mixture = Mixture(teachers, fit(some, size, 6, 0.85), distil.SHARE, start.end_fed)
    told, at = distributions(mixture, drawn)
    np.testing.assert_allclose(rows[n_tokens:], told[at], atol=1e-5)
    assert rows.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert (follows != 0).all() and (made.tokens[made.starts + made.lengths] == 1).all()


def test_a_student_s_run_goes_on_bit_for_bit(tmp_path):
    fields = {**TINY, "teachers": 2, "rung": "final", "dropout": 0.1, "engine": "torch"}

    def begin(out):
        training.start(out, Settings.of(fields, "test"), log=lambda line: None, listed=listed())

    begin(tmp_path / "whole")
    with observed(ctrl_c(at=5)), pytest.raises(KeyboardInterrupt):
        training.start(tmp_path / "cut", Settings.of(fields, "test"), log=lambda line: None, listed=listed())
    assert (tmp_path / "cut" / distil.LESSON).exists()
    training.resume(tmp_path / "cut", log=lambda line: None, listed=listed())
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert not (tmp_path / "cut" / distil.LESSON).exists()


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_teachers_go_on_bit_for_bit(tmp_path, monkeypatch, capsys, engine):
    monkeypatch.setattr(distil, "STEPS_AT_ONCE", 4)
    fields, trained, pieces = {**TINY, "teachers": 3, "rung": "final", "engine": engine}, distil.train, []

    def interrupted(*args, **kwargs):
        trained(*args, **kwargs)
        pieces.append(kwargs["last_step"])
        if pieces.count(8) == 1 and pieces[-1] == 8:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    def quietly(line):
        return None

    training.start(tmp_path / "whole", Settings.of(fields, "test"), log=quietly, listed=listed())
    monkeypatch.setattr(distil, "train", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"steps of teachers; everything is saved\."):
        training.start(tmp_path / "cut", Settings.of(fields, "test"), log=quietly, listed=listed())
    assert list((tmp_path / "cut").glob(distil.TEACHERS))
    assert max(pieces) < 20
    training.resume(tmp_path / "cut", log=quietly, listed=listed())
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert not list((tmp_path / "cut").glob(distil.TEACHERS))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"accumulate": 2, "targets": "smoothed"}, "learns from words alone: leave out targets=smoothed."),
        ({"accumulate": 2, "teachers": 2}, "learns from words alone: leave out teachers=2."),
        ({"batching": "stream", "targets": "smoothed"}, "Smoothed targets and teachers need batching=words"),
        ({"optimizer": "moun"}, "optimizer: Input should be 'adamw' or 'muon', but is 'moun'."),
        ({"teacher_weight": 1.5}, "teacher_weight must be 0 to 1, but is 1.5."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_taught_is_told_in_a_line(tmp_path, fields, line):
    (tmp_path / "l").write_text("\n".join(listed()))
    asked = flags(**{**TINY, **fields, "engine": "auto"})
    done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *asked)
    assert done.status == 2
    assert line in done.err.splitlines()[-1]


def test_a_climb_measures_students(tmp_path):
    (tmp_path / "l").write_text("\n".join(listed()))
    asked = flags(rungs="recipe-smoothed,recipe-student", seeds=2, steps=4, engine="torch", processes=1)
    done = command("climb", "--data", tmp_path / "l", "--out", tmp_path / "c", *asked, "--protocol", "strict")
    assert done.status == 0, done.err
    assert len((tmp_path / "c" / "results.jsonl").read_text().splitlines()) == 4


def test_drawn_words_are_given_what_the_list_s_words_are(tmp_path):
    """Each value as often, and the word behind it."""
    rows = [f"{word},{'y' if i % 4 == 0 else 'x'}" for i, word in enumerate(list(make_words())[:40])]
    (tmp_path / "words.csv").write_text("\n".join(["word,kind", *rows]))
    table = load(ListConfig(str(tmp_path / "words.csv"), column="word", condition="kind"))
    vocabulary, everything = table.vocabulary, np.arange(len(table))
    model = get_rung("recipe-student").model.replace(vocab_size=len(vocabulary), block_size=table.block_size, **SMALL)
    some, firsts = Tape.of(table, everything, get_protocol("strict", "kind")), table.first_counts(everything)
    mixture = Mixture([Transformer(model, 1)], end_fed=False)
    drawn = distil._drawn(mixture, vocabulary, firsts, 3, some)
    begins = drawn.tokens[drawn.starts]
    assert [int((begins == vocabulary.condition(value)).sum()) for value in ("x", "y")] == [150, 50]
    assert (drawn.tokens[drawn.starts + 1] < vocabulary.first_condition).all()
    assert (drawn.tokens[drawn.starts + drawn.lengths] == END).all()
    assert (drawn.lengths >= 2).all()

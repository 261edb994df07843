"""Targets that are distributions: against counting everything anew without the position, and unbiased on real words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngram_oracle import ABC, WHOLE, either, lists, oracle_of, sequences, tape
from rungwise.config import PROTOCOLS
from rungwise.data import teacher, words
from rungwise.data.batches import Tape
from rungwise.data.ngram import fit
from rungwise.data.teacher import Teacher, leave_one_out
from rungwise.errors import UserError

SYMBOLS = "$" + ABC
"""Token 1, 2, ...; 0 is PAD."""


def told(found: Teacher, read: Tape) -> np.ndarray:
    """(tokens, V) distributions in the order of Tape.packed."""
    places = [np.arange(start + 1, start + length + 1) for start, length in zip(read.starts, read.lengths, strict=True)]
    return found.rows[found.at[np.concatenate(places)]]


@settings(max_examples=100, deadline=None)
@given(lists, either, st.integers(1, 6), st.sampled_from([0.3, 0.85, 1.0]))
def test_a_position_is_told_what_counting_all_others_says(some, protocol, order, discount):
    events, read = sequences(some, protocol), tape(some, protocol)
    rows = told(leave_one_out(read, 7, order, discount), read)
    assert rows.shape == (len(events), 7)
    for i, (history, _) in enumerate(events):
        probability = oracle_of(events[:i] + events[i + 1 :], order, len(SYMBOLS), discount)
        np.testing.assert_allclose(rows[i, 1:], [probability(w, history) for w in SYMBOLS], rtol=1e-4, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(lists, either, st.integers(1, 7))
def test_rows_sum_to_one_and_what_is_not_predicted_has_none(some, protocol, order):
    read = tape(some, protocol)
    found = leave_one_out(read, 7, order)
    assert found.rows[1:].sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (found.rows >= 0).all()
    assert not found.rows[0].any()
    assert not found.rows[:, 0].any()
    predicted = np.zeros(len(read.tokens), dtype=bool)
    for start, length in zip(read.starts, read.lengths, strict=True):
        predicted[start + 1 : start + length + 1] = True
    assert (predicted == (found.at > 0)).all()


def test_blocks_change_nothing(monkeypatch):
    read = tape(["abba", "bea", "ada", "dee", "abe"], WHOLE)
    whole = leave_one_out(read, 7)
    monkeypatch.setattr(teacher, "GRAMS_AT_ONCE", 2)
    np.testing.assert_array_equal(leave_one_out(read, 7).rows, whole.rows)


def test_rows_that_no_memory_holds_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(teacher, "memory", lambda: 100.0)
    with pytest.raises(UserError, match=r"^Smoothed targets would take .* Use targets=words\.$"):
        leave_one_out(tape(["abba", "bea", "ada", "dee"], WHOLE), 7)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_on_training_words_it_is_as_surprised_as_on_words_held_out(protocol):
    """Where words are distinct. The plain model knows its training words far too well."""
    read = words.load("given-names")
    parts = words.split(read, protocol)
    train, test = Tape.of(read, parts.train, protocol), Tape.of(read, parts.test, protocol)
    size = len(read.vocabulary)
    model = fit(train, size, teacher.ORDER, teacher.DISCOUNT)
    nats = -np.log(
        told(leave_one_out(train, size), train)[np.arange(train.n_tokens), train.packed(train.starts, train.lengths)[1]]
    )
    noise = np.hypot(*(np.std(x) / np.sqrt(len(x)) for x in (nats, model.score(test))))
    assert abs(nats.mean() - model.loss(test)) < 4 * noise
    assert model.loss(train) < nats.mean() - 20 * noise

"""Looking until it is settled: the error holds over all looks, and what is open says what it would take."""

import numpy as np
import pytest

from conftest import make_words
from helpers import a_result, command
from rungwise.analysis.settle import differences, follow, look_at, looks, spent
from rungwise.experiment.ladder_file import Question
from rungwise.experiment.results import RESULTS, read

QUESTION = Question("mlp", "4-layers", 0.01)
SD = 0.008


def until_settled(rng, truth: float, most: int = 40, error: float = 0.05) -> str:
    """One simulated experiment: splits are added until the question is settled."""
    values = rng.normal(truth, SD, most)
    for k, n in enumerate(looks(most), 1):
        if answer := look_at(QUESTION, values[:n].tolist(), spent(k, error)).answer:
            return answer
    return ""


def test_looks_grow_to_the_most():
    assert looks(40) == [3, 5, 8, 12, 18, 27, 40] and looks(4) == [3, 4] and looks(3) == [3]


def test_the_error_is_spent_once():
    assert sum(spent(k, 0.05) for k in range(1, 1000)) == pytest.approx(0.05, rel=0.01)
    assert sum(spent(k, 0.05, 4) for k in range(1, 1000) for _ in range(4)) <= 0.05


@pytest.mark.parametrize(("truth", "false"), [(0.01, ("the same", "worse")), (-0.01, ("the same", "better"))])
def test_on_the_border_an_answer_is_wrong_no_more_often_than_the_error(truth, false):
    """2,000 experiments in which neither answer is true: the worst there is."""
    rng = np.random.default_rng(0)
    wrong = sum(until_settled(rng, truth) in false for _ in range(2000))
    assert 0.005 < wrong / 2000 <= 0.05


@pytest.mark.parametrize(("truth", "right"), [(0.0, "the same"), (-0.03, "better"), (0.03, "worse")])
def test_what_is_clear_is_settled(truth, right):
    rng = np.random.default_rng(0)
    answers = [until_settled(rng, truth) for _ in range(200)]
    assert answers.count(right) >= 190 and set(answers) <= {right, ""}


def test_looking_at_every_split_without_spending_errs_more():
    """The reason for all this."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(500):
        values = rng.normal(0.01, SD, 40)
        wrong += any(look_at(QUESTION, values[:n].tolist(), 0.05).answer for n in range(3, 41))
    assert wrong / 500 > 0.15


def test_what_is_open_says_how_many_splits_it_would_take():
    found = look_at(QUESTION, [-0.02, -0.012, -0.004, -0.016, -0.008, -0.015], 0.02)
    assert found.answer == "" and found.needed is not None and found.needed > 6
    spread = np.std([-0.02, -0.012, -0.004, -0.016, -0.008, -0.015], ddof=1)
    as_many = found.mean + spread * np.resize([-1, 1], found.needed + found.needed % 2)
    assert look_at(QUESTION, as_many.tolist(), 0.02).answer == "better"
    assert look_at(QUESTION, [-0.03], 0.05).answer == ""


def of_splits(moves: list[float]) -> list:
    return [
        a_result(name, 1000 * split + seed, loss, split_seed=split)
        for split, move in enumerate(moves)
        for seed in range(2)
        for name, loss in (("4-layers", 2.0 + seed), ("mlp", 2.0 + seed + move))
    ]


def test_a_climb_that_goes_on_reads_what_each_look_had():
    """More splits than a look needs are there, after a stop: the answer is the one of the first look that settles."""
    results = of_splits([-0.03, -0.031, -0.029, 0.5, 0.5])
    assert differences(QUESTION, results, range(2)) == pytest.approx([-0.03, -0.031])
    look, then = follow(QUESTION, results, 0, looks(40), 0.05)
    assert look is not None and (look.answer, look.splits, then) == ("better", 3, None)
    look, then = follow(QUESTION, results[:8], 0, looks(40), 0.05)
    assert (look, then) == (None, 3)


def test_a_climb_adds_splits_to_what_is_open_alone(tmp_path):
    (tmp_path / "list").write_text("\n".join(make_words()))
    how = ["--steps", 3, "--seeds", 1, "--engine", "torch", "--processes", 1, "--rungs", "baseline,2-heads,double-embd"]
    settle = ["--until", "settled", "--splits", 4, "--margin", 1e-7]
    done = command("climb", "--data", tmp_path / "list", "--out", tmp_path / "c", *how, *settle)
    assert done.status == 0, done
    splits = {(r.rung, r.split_seed) for r in read(tmp_path / "c" / RESULTS)}
    assert {split for _, split in splits} in ({0, 1, 2}, {0, 1, 2, 3})
    assert "the second is" in done.out and "double-embd" in done.out
    lines = len((tmp_path / "c" / RESULTS).read_text().splitlines())
    again = command("climb", "--data", tmp_path / "list", "--out", tmp_path / "c", *how, *settle)
    assert again.status == 0 and len((tmp_path / "c" / RESULTS).read_text().splitlines()) == lines


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--until settled adds splits, --splits at most: give 3 or more."),
        (["--splits", 5, "--margin", 0], "margin must be above 0"),
        (["--splits", 5, "--error", 1], "error must be in (0, 1)"),
        (["--splits", 5, "--rungs", "gelu"], "--until settled needs something to compare"),
    ],
)
def test_bad_requests_are_one_line(tmp_path, flags, says):
    done = command("climb", "--data", "given-names", "--out", tmp_path / "c", "--until", "settled", *flags)
    assert done.status == 2 and says in done.err and not (tmp_path / "c").exists()

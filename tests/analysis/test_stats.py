"""analysis/stats.py against scipy and statsmodels, numbers worked by hand, and simulations of known truth."""

import tracemalloc
import warnings
from dataclasses import astuple
from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from rungwise.analysis import stats
from rungwise.analysis.stats import replicates_needed, words_to_tell

A = [2.11, 2.09, 2.13, 2.08, 2.12]  # five seeds of a rung, nats per token
B = [2.05, 2.06, 2.04, 2.03, 2.07]  # the same seeds one rung up
EXPERIMENTS = 2000  # simulated; a coverage of 0.95 is then known to +-0.005 (one standard error)


def noisy(mean, sd, n, experiments=EXPERIMENTS, seed=0):
    """(experiments, n) normal differences."""
    return np.random.default_rng(seed).normal(mean, sd, (experiments, n))


def covered(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


# A population of words: the gain differs with length, the noise is skewed and larger on longer words. Means
# over words and over tokens differ, so an interval that forgets the weights is not where the truth is.
LENGTHS = np.arange(2, 21)
CHANCE = scipy.stats.poisson.pmf(LENGTHS - 2, 5)
CHANCE /= CHANCE.sum()
GAIN = -0.002 * (LENGTHS - 2) ** 2  # mean b - a of a word, nats
TRUTH = (CHANCE @ GAIN) / (CHANCE @ LENGTHS)  # nats per token


def words(rng, n, seeds=1, seed_sd=0.0):
    """b - a (seeds, n) in nats and tokens (n,) drawn from the population; seed_sd in nats per token."""
    at = rng.choice(LENGTHS.size, n, p=CHANCE)
    tokens = LENGTHS[at]
    loss_a = tokens * rng.gamma(4, 0.5, (seeds, n))
    of_word = np.sqrt(tokens) * 0.15 * (rng.exponential(size=n) - 1)
    of_both = np.sqrt(tokens) * 0.05 * (rng.exponential(size=(seeds, n)) - 1)
    of_seed = tokens * rng.normal(0, seed_sd, (seeds, 1))
    loss_b = loss_a + GAIN[at] + of_word + of_both + of_seed
    return loss_b - loss_a, tokens


# --- summary and paired


def test_summary_is_the_t_interval():
    s = stats.summary(A, level=0.9)
    oracle = DescrStatsW(A)
    assert astuple(s) == pytest.approx((np.mean(A), oracle.std_ddof(1), 5, *oracle.tconfint_mean(0.1)))


def test_summary_worked_by_hand():
    # mean 2, variance (1 + 0 + 1) / 2; t(0.975, 2 degrees of freedom) = 4.303, from any table
    half = 4.302653 / sqrt(3)
    assert astuple(stats.summary([1, 2, 3])) == pytest.approx((2, 1, 3, 2 - half, 2 + half), rel=1e-6)


def test_paired_is_scipys_paired_t_test():
    d = stats.paired(A, B)
    oracle = scipy.stats.ttest_rel(B, A)
    low, high = oracle.confidence_interval(0.95)
    sd = np.std(np.subtract(B, A), ddof=1)
    assert astuple(d) == pytest.approx((np.mean(B) - np.mean(A), sd, 5, low, high, oracle.pvalue))
    assert d.mean < 0 and d.high < 0  # b is better


def test_pairing_removes_what_the_seed_does_to_both():
    shift = np.array([0.5, -0.3, 0.9, 0.0, -1.1])
    assert astuple(stats.paired(A + shift, B + shift)) == pytest.approx(astuple(stats.paired(A, B)))


def test_one_seed_has_no_interval():
    s, d, e = stats.summary([2.1]), stats.paired([2.1], [2.0]), stats.equivalence([0.0])
    assert (s.mean, s.n, d.n) == (2.1, 1, 1) and d.mean == pytest.approx(-0.1)
    assert all(isnan(x) for x in (s.sd, s.low, s.high, d.sd, d.low, d.high, d.p, e.p, e.low, e.high))
    assert e.equivalent is False


def test_without_spread_the_interval_collapses_and_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert astuple(stats.summary([0.1] * 3)) == (0.1, 0, 3, 0.1, 0.1)
        assert astuple(stats.paired([1, 2, 4], [1.5, 2.5, 4.5])) == (0.5, 0, 3, 0.5, 0.5, 0)
        assert astuple(stats.paired(A, A)) == (0, 0, 5, 0, 0, 1)
        assert astuple(stats.equivalence([0.005] * 4)) == (0, 0.005, 0.005, True)
        assert astuple(stats.equivalence([-0.02] * 4)) == (1, -0.02, -0.02, False)
        assert stats.equivalence([0.01] * 4).equivalent is False  # on the margin is not below it


@pytest.mark.parametrize("n", [2, 5])
def test_summary_and_paired_cover(n):
    difference = noisy(-0.03, 0.01, n)
    base = noisy(2.1, 0.1, n, seed=1)
    assert 0.93 <= covered([stats.summary(x) for x in base], 2.1) <= 0.97
    assert 0.93 <= covered([stats.paired(a, a + d) for a, d in zip(base, difference, strict=True)], -0.03) <= 0.97


def test_paired_p_errs_as_often_as_it_says():
    p = [stats.paired(np.zeros(5), d).p for d in noisy(0, 0.01, 5)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01  # uniform where there is no difference


# --- equivalence


@pytest.mark.parametrize("margin", [0.03, 0.06, 0.08])  # inside, near and beyond the observed 0.056
def test_equivalence_is_statsmodels_tost(margin):
    differences = np.subtract(B, A)
    e = stats.equivalence(differences, margin)
    assert e.p == pytest.approx(ttost_paired(np.array(B), np.array(A), -margin, margin)[0])
    assert (e.low, e.high) == pytest.approx(DescrStatsW(differences).tconfint_mean(0.1))
    assert stats.equivalence(-differences, margin).p == pytest.approx(e.p)


def test_equivalent_just_when_the_interval_is_within_the_margin():
    found = [stats.equivalence(d, margin=0.01) for d in noisy(0.005, 0.005, 5)]
    assert all(e.equivalent == (e.low > -0.01 and e.high < 0.01) for e in found)
    assert 0.2 < np.mean([e.equivalent for e in found]) < 0.8  # or the line above would say little


@pytest.mark.parametrize("true", [0.01, -0.01])
def test_equivalence_keeps_its_level_at_the_margin(true):
    rate = np.mean([stats.equivalence(d, margin=0.01).equivalent for d in noisy(true, 0.002, 5)])
    assert 0.035 <= rate <= 0.065  # 0.05, +- three standard errors


def test_equivalence_has_power_inside_and_none_from_noise():
    assert np.mean([stats.equivalence(d).equivalent for d in noisy(0, 0.003, 5)]) > 0.95
    noise = noisy(0, 0.1, 5, experiments=300)
    assert np.mean([stats.paired(np.zeros(5), d).p > 0.05 for d in noise]) > 0.9  # "no significant difference" ...
    assert not any(stats.equivalence(d).equivalent for d in noise)  # ... shows nothing


# --- over test words


def test_bootstrap_words_agrees_with_scipys_bootstrap():
    (nats,), tokens = words(np.random.default_rng(3), 307)
    oracle = scipy.stats.bootstrap(
        (nats, tokens),
        lambda d, t, axis: d.sum(axis) / t.sum(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    got = stats.bootstrap_words(nats, tokens, n_boot=4000)
    assert got.mean == pytest.approx(nats.sum() / tokens.sum())
    within = 0.1 * oracle.standard_error  # the ends of a percentile interval wobble by about 0.04 of it
    assert (got.low, got.high) == pytest.approx(tuple(oracle.confidence_interval), abs=within)


def test_bootstrap_words_covers():
    rng = np.random.default_rng(11)
    found = []
    for _ in range(EXPERIMENTS):
        (nats,), tokens = words(rng, 307)
        found.append(stats.bootstrap_words(nats, tokens, n_boot=300))
    assert 0.93 <= covered(found, TRUTH) <= 0.97
    assert not 0.93 <= covered(found, CHANCE @ (GAIN / LENGTHS)) <= 0.97  # the mean that forgets the weights


def test_bootstrap_words_repeats_and_does_not_depend_on_its_chunks(monkeypatch):
    (nats,), tokens = words(np.random.default_rng(7), 101)
    got = stats.bootstrap_words(nats, tokens, n_boot=503)
    assert got == stats.bootstrap_words(nats, tokens, n_boot=503)
    assert got != stats.bootstrap_words(nats, tokens, n_boot=503, seed=1)
    monkeypatch.setattr(stats, "_CELLS", 1009)
    assert got == stats.bootstrap_words(nats, tokens, n_boot=503)


def test_bootstrap_words_memory_is_bounded():
    (nats,), tokens = words(np.random.default_rng(7), 3200)
    tracemalloc.start()
    stats.bootstrap_words(nats, tokens)  # all 2,000 resamples at once would be 51 MB an array
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_bootstrap_words_resamples_the_tokens_with_their_words():
    got = stats.bootstrap_words([-2.0, -4.0, -10.0], [4, 8, 20])  # 0.5 nats a token, in all words
    assert astuple(got) == (-0.5, -0.5, -0.5)


def test_one_word_has_no_interval():
    assert isnan(stats.bootstrap_words([-1.0], [4]).low)
    assert isnan(stats.both_sources([[-1.0], [-0.9]], [4]).low)


# --- over seeds and test words


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.0), (3, 0.02), (5, 0.005), (5, 0.02)])
def test_both_sources_covers_whichever_source_is_the_larger(seeds, seed_sd):
    rng = np.random.default_rng(13)
    found = [stats.both_sources(*words(rng, 211, seeds, seed_sd)) for _ in range(EXPERIMENTS)]
    assert 0.92 <= covered(found, TRUTH) <= 0.98


def test_both_sources_is_the_paired_interval_where_all_words_agree():
    a = np.outer(A, [5.0, 5.0, 5.0])  # three words of five tokens, each seed's loss the same on all of them
    b = np.outer(B, [5.0, 5.0, 5.0])
    d = stats.paired(A, B)
    assert astuple(stats.both_sources(b - a, [5, 5, 5])) == pytest.approx((d.mean, d.low, d.high))


def test_both_sources_is_the_words_interval_where_all_seeds_agree():
    (nats,), tokens = words(np.random.default_rng(3), 3203)
    got = stats.both_sources(np.tile(nats, (3, 1)), tokens)
    oracle = stats.bootstrap_words(nats, tokens)
    assert astuple(got) == pytest.approx(astuple(oracle), abs=0.1 * (oracle.high - oracle.low))


def test_both_sources_degenerate_cases():
    assert isnan(stats.both_sources([[-1.0, 0.0]], [4, 5]).low)  # one seed
    same = stats.both_sources([[-2.0, -4.0]] * 2, [4, 8])  # 0.5 nats a token, in all cells
    assert astuple(same) == (-0.5, -0.5, -0.5)


# --- many tests


def test_holm_worked_by_hand():
    # In order 0.01, 0.02, 0.03, 0.5, times 4, 3, 2, 1, is 0.04, 0.06, 0.06, 0.5: none below the one before it
    assert stats.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert stats.holm([0.01, 0.04, 0.011]) == pytest.approx([0.03, 0.04, 0.03])  # 0.011 * 2 is raised to 0.03
    assert stats.holm([0.9, 0.8]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=31))
def test_holm_is_statsmodels(p):
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-15)


def test_holm_passes_nan_through_uncounted():
    assert stats.holm([nan, 0.03, nan, 0.01]) == pytest.approx([nan, 0.03, nan, 0.02], nan_ok=True)
    assert isnan(stats.holm([nan])[0])


# --- errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: stats.summary([]), "values"),
        (lambda: stats.summary([1.0, nan]), "values"),
        (lambda: stats.summary([[1.0, 2.0]]), "values"),
        (lambda: stats.summary([1.0, 2.0], level=95), "level"),
        (lambda: stats.paired([1.0, 2.0], [1.0]), "same shape"),
        (lambda: stats.paired([1.0], [inf]), "b must be finite"),
        (lambda: stats.equivalence([1.0, 2.0], margin=0), "margin"),
        (lambda: stats.equivalence([]), "values"),
        (lambda: stats.bootstrap_words([1.0, 2.0], [3]), "same words"),
        (lambda: stats.bootstrap_words([1.0, 2.0], [3, 0]), "positive"),
        (lambda: stats.bootstrap_words([1.0, 2.0], [3, 4], n_boot=0), "n_boot"),
        (lambda: stats.both_sources([1.0, 2.0], [3, 4]), "nats"),
        (lambda: stats.both_sources([[1.0, nan]], [3, 4]), "nats"),
        (lambda: stats.both_sources([[1.0, 2.0]], [3, inf]), "tokens"),
        (lambda: stats.holm([]), "p_values"),
        (lambda: stats.holm([0.2, 1.2]), "p_values"),
    ],
)
def test_bad_input_is_one_clear_line(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert "\n" not in str(error.value)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=12))
def test_rank_correlation_is_scipys(pairs):
    a, b = np.array(pairs, dtype=float).T
    found = stats.rank_correlation(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(a, b).statistic)


def test_words_to_tell_a_difference_are_as_many_as_its_interval_needs():
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 12, 20_000)
    nats = tokens * -0.02 + rng.normal(0, 1.5, tokens.size)
    n = words_to_tell(nats, tokens)
    assert n is not None
    parts = [(nats[i : i + n], tokens[i : i + n]) for i in range(0, 20_000 - n, n)]
    told = [stats.bootstrap_words(*part, n_boot=200).high < 0 for part in parts]
    assert 0.2 < np.mean(told) < 0.8  # the interval of so many ends at zero on average
    assert words_to_tell(0 * tokens, tokens) is None


def test_replicates_needed_are_the_fewest_whose_interval_ends_before_the_border():
    n = replicates_needed(0.004, 0.01)
    assert n is not None

    def half(m: int) -> float:
        values = 0.01 * np.resize([-1.0, 1.0], m)
        s = stats.summary(values * 0.01 / values.std(ddof=1))
        return (s.high - s.low) / 2

    assert half(n) < 0.004 <= half(n - 1)
    assert replicates_needed(0.004, 0.01, fixed=0.003) is None  # the words of a split alone reach the border

"""The arithmetic of the factorial, of the edges of tuning, and of the lists that are made here."""

import tomllib
from itertools import combinations

import numpy as np
import pytest
from scripts import factorial, many_lists, tuned_ladder

from rungwise.experiment.ladder_file import load
from rungwise.ladder import RUNGS


def game(worth: dict[str, float], pairs: dict[tuple[str, str], float]) -> dict[frozenset[str], np.ndarray]:
    """Losses of all arms, where parts bring what they are worth, and pairs something more together."""

    def loss(arm):
        return 2.5 - sum(worth[p] for p in arm) - sum(v for pair, v in pairs.items() if set(pair) <= arm)

    return {arm: loss(arm) + np.array([0.0, 0.1, -0.2]) for arm in factorial.ARMS}


WORTH = dict(zip(factorial.PARTS, (0.1, 0.2, 0.05, 0.0, 0.03), strict=True))


def test_where_parts_add_up_every_view_of_a_part_is_its_worth():
    losses = game(WORTH, {})
    for part, worth in WORTH.items():
        assert factorial.shapley(losses, part) == pytest.approx([worth] * 3)
        assert factorial.main_effect(losses, part) == pytest.approx([worth] * 3)
    for a, b in combinations(factorial.PARTS, 2):
        assert factorial.interaction(losses, a, b) == pytest.approx([0] * 3)


def test_shapley_values_share_what_pairs_bring_and_sum_to_the_whole():
    losses = game(WORTH, {("depth", "MLP"): 0.04})
    assert factorial.shapley(losses, "depth") == pytest.approx([0.22] * 3)
    assert factorial.shapley(losses, "MLP") == pytest.approx([0.07] * 3)
    assert factorial.interaction(losses, "MLP", "depth") == pytest.approx([0.04] * 3)
    whole = losses[frozenset()] - losses[frozenset(factorial.PARTS)]
    assert sum(factorial.shapley(losses, part) for part in factorial.PARTS) == pytest.approx(whole)
    assert "mean over 3 splits" in factorial.table(losses) and "<svg" in factorial.figure(losses).svg


def test_the_arms_are_a_ladder_from_one_head_to_the_full_model(tmp_path):
    before = dict(RUNGS)
    (tmp_path / "f.toml").write_text(factorial.ladder())
    assert len(tomllib.loads(factorial.ladder())["rung"]) == 32
    try:
        arms = {rung.name: rung for rung in load(tmp_path / "f.toml").rungs}
    finally:
        RUNGS.clear()
        RUNGS.update(before)
    full = arms[factorial.name(frozenset(factorial.PARTS))]
    assert (full.model, full.train) == (RUNGS["gelu"].model, RUNGS["gelu"].train)


def test_a_best_rate_at_an_edge_asks_for_one_beyond():
    rates = list(tuned_ladder.RATES)
    assert len(rates) >= 7 and (rates[0], rates[-1]) == (1e-4, 1e-2)
    assert tuned_ladder.beyond(rates, 1e-3) is None
    assert (tuned_ladder.beyond(rates, 1e-2), tuned_ladder.beyond(rates, 1e-4)) == (0.02, 5e-5)
    assert tuned_ladder.beyond([0.1, 1.0], 1.0) is None


def test_lists_differ_in_the_mixed_model_as_they_do():
    rng = np.random.default_rng(0)
    of_list = dict(zip("abcdefgh", rng.normal(0.05, 0.02, 8), strict=True))
    rows = [(k, n, v + rng.normal(0, 0.002)) for k, v in of_list.items() for n in (1000, 10_000) for _ in range(5)]
    mean, low, high, between = many_lists.mixed(rows)
    assert low < 0.05 < high and mean == pytest.approx(np.mean(list(of_list.values())), abs=0.002)
    assert between == pytest.approx(np.std(list(of_list.values()), ddof=1), rel=0.2)


def test_molecules_are_balanced_and_enough(tmp_path):
    made = many_lists.molecules(tmp_path)
    assert len(made) >= max(many_lists.SIZES)
    assert all(m.count("(") == m.count(")") and m.count("1") % 2 == 0 for m in made)

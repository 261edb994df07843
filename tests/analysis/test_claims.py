"""Verdicts on made-up results, on both sides of every border; and what is said where evidence is missing."""

import json
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

import made_up
from rungwise.analysis import evidence as evidence_module
from rungwise.analysis.claims import CLAIMS, CONFOUNDS, confounds, findings, judge
from rungwise.analysis.evidence import Evidence, Measured, read
from rungwise.analysis.verdicts import (
    FALLS_A_LITTLE,
    GROWS,
    HELPS,
    HURTS,
    LESS,
    Effect,
    Rule,
    describe,
    no_effect,
    of_size,
    overall,
    signed,
)
from rungwise.ladder import RUNGS


def sharp(mean: float, spread: float = 0.0005) -> Effect:
    """Five seeds: the 95 % interval is the mean ± about 1.6 spread."""
    return Effect(mean + spread * np.array([-1.5, -0.5, 0.0, 0.5, 1.5]))


# --- rules: each border from both sides

BORDERS = [
    (HELPS, {-0.1: "confirmed", -0.012: "confirmed", -0.008: "refuted", 0.008: "refuted", 0.1: "refuted"}),
    (HURTS, {0.1: "confirmed", 0.012: "confirmed", 0.008: "refuted", -0.1: "refuted"}),
    (GROWS, {0.012: "confirmed", 0.008: "refuted", -0.012: "refuted"}),
    (LESS, {-0.002: "confirmed", 0.002: "refuted"}),
    (FALLS_A_LITTLE, {-0.048: "confirmed", -0.052: "refuted", -0.012: "confirmed", -0.008: "refuted", 0.02: "refuted"}),
    (no_effect(), {0.0: "confirmed", 0.008: "confirmed", -0.008: "confirmed", 0.012: "refuted", -0.012: "refuted"}),
    (no_effect(0.02), {0.018: "confirmed", 0.022: "refuted"}),
    (of_size(-0.12), {-0.178: "confirmed", -0.182: "refuted", -0.062: "confirmed", -0.058: "refuted"}),
    (Rule("", log(1.5), log(1.7)), {log(1.6): "confirmed", log(1.49): "refuted", log(1.71): "refuted"}),
]


@pytest.mark.parametrize(("rule", "mean", "verdict"), [(r, m, v) for r, cases in BORDERS for m, v in cases.items()])
def test_each_side_of_a_border(rule: Rule, mean: float, verdict: str):
    assert rule.judge(sharp(mean)) == verdict


@pytest.mark.parametrize("rule", [rule for rule, _ in BORDERS])
def test_an_interval_across_a_border_is_inconclusive(rule: Rule):
    border = rule.high if np.isfinite(rule.high) else rule.low
    assert rule.judge(sharp(border, spread=0.02)) == "inconclusive"


@pytest.mark.parametrize("rule", [rule for rule, _ in BORDERS])
def test_one_seed_is_inconclusive(rule: Rule):
    effect = Effect(np.array([(max(rule.low, -1) + min(rule.high, 1)) / 2]))
    assert rule.judge(effect) == "inconclusive"
    assert "one seed" in describe(effect)


def test_no_effect_is_never_a_large_p():
    noisy = Effect(np.array([-0.2, 0.2, -0.15, 0.15, 0.01]))  # far from significant, far from shown to be nothing
    assert no_effect().judge(noisy) == "inconclusive"


def test_a_count_is_its_own_interval():
    assert LESS.judge(Effect(np.array([-1.0]), exact=True)) == "confirmed"
    assert LESS.judge(Effect(np.array([0.0]), exact=True)) == "refuted"


def test_words_widen_an_interval_over_seeds():
    tokens = np.full(20, 5.0)
    per_word = np.where(np.arange(20) % 2, -0.5, 0.45) * tokens  # words disagree, seeds do not
    nats = per_word + 0.001 * np.arange(5)[:, None]
    values = nats.sum(axis=1) / tokens.sum()
    assert LESS.judge(Effect(values)) == "confirmed"
    assert LESS.judge(Effect(values, (nats, tokens))) == "inconclusive"


def test_the_extreme_of_many_is_judged_more_strictly():
    low, high = sharp(-0.1).interval()
    low_of_six, high_of_six = Effect(sharp(-0.1).values, tests=6).interval()
    assert low_of_six < low < high < high_of_six


def test_other_words_are_granted_our_spread():
    rng = np.random.default_rng(0)
    tokens, nats = np.full(50, 5.0), rng.normal(0, 1, 50) + rng.normal(0, 0.01, (5, 50))
    ours = Effect(nats.sum(axis=1), (nats, tokens)).interval()
    theirs_too = Effect(nats.sum(axis=1), (nats, tokens), other_words=True).interval()
    assert theirs_too[1] - theirs_too[0] == pytest.approx((ours[1] - ours[0]) * 2**0.5, rel=0.1)


def test_a_claim_is_refuted_with_any_part_and_confirmed_with_all():
    assert overall(["confirmed", "confirmed"]) == "confirmed"
    assert overall(["not measured", "inconclusive", "refuted", "confirmed"]) == "refuted"


def test_what_was_measured_without_an_answer_differs_from_what_was_not_measured():
    assert overall(["confirmed", "inconclusive"]) == "inconclusive"
    assert overall(["confirmed", "not measured"]) == "not measured"
    assert overall(["not measured", "inconclusive"]) == "inconclusive"  # measuring the rest would not confirm it
    assert overall([]) == "not measured"


def test_signed_has_a_true_minus_and_no_negative_zero():
    assert [signed(x) for x in (-0.1234, 0.1234, -0.0001, 0.0)] == ["−0.123", "+0.123", "0.000", "0.000"]


# --- the claims


@pytest.mark.parametrize("claim", [*CLAIMS, *CONFOUNDS], ids=lambda claim: claim.id)
def test_every_rung_that_a_claim_names_stands_on_the_ladder(claim):
    for part in claim.parts:
        assert set(part.question.rungs) <= RUNGS.keys()


def test_there_are_the_articles_twelve():
    assert len(CLAIMS) == len({claim.id for claim in CLAIMS}) == 12
    assert all(part.rule for claim in CLAIMS for part in claim.parts)
    assert not any(part.rule for claim in CONFOUNDS for part in claim.parts)


def world(tmp_path, losses=None, gaps=None, makemore=None, **settings) -> Evidence:
    """Evidence in which every claim but the last holds, less what is changed."""
    losses, gaps = made_up.LOSSES | (losses or {}), made_up.GAPS | (gaps or {})
    article = made_up.write_climb(tmp_path / "article", "article", losses, gaps=gaps, **settings)
    theirs = made_up.write_climb(tmp_path / "makemore", "makemore", {"dropout-20k": makemore or 1.93})
    peer = {"test_loss": 2.013, "steps": 5000, "protocol": "makemore"}
    (tmp_path / "peers.json").write_text(json.dumps({"makemore": peer}))
    return read([article, theirs])


def verdicts(evidence: Evidence) -> dict[str, str]:
    return {finding.claim.id: finding.verdict for finding in findings(evidence)}


def test_claims_that_hold_are_confirmed(tmp_path):
    found = verdicts(world(tmp_path))
    assert (
        found.pop("meaning") == "refuted"
    )  # made up with an arithmetic mean of 25 %, as real ones are above exp(-loss)
    assert set(found.values()) == {"confirmed"}


REFUTED = [
    ("width", {"double-embd": 2.34}, {}),
    ("heads", {"2-heads": 2.33}, {}),
    ("heads", {"2-heads": 2.18}, {}),
    ("heads", {"double-embd": 2.2}, {}),
    ("depth", {"4-layers": 2.15}, {}),
    ("depth", {"wide-1-layer": 2.03}, {}),
    ("stream", {"stream": 1.93}, {}),
    ("stream", {"stream-equal-tokens": 1.93}, {}),
    ("stream", {"stream": 2.3}, {}),
    ("mlp", {"mlp": 1.97}, {}),
    ("mlp", {"mlp": 2.048}, {}),
    ("mlp", {}, {"mlp": 0.02}),
    ("layernorm", {}, {"layernorm": 0.06}),
    ("layernorm", {}, {"layernorm": 0.07}),
    ("rope", {"rope": 1.988}, {}),
    ("rope", {"without-rope": 1.98}, {}),
    ("gelu", {"gelu": 1.94}, {}),
    ("scale", {"scaled": 1.97}, {}),
    ("scale", {"dropout-20k": 1.93}, {}),
    ("dropout", {"dropout-5k": 1.915}, {}),
    ("dropout", {"scaled-20k": 1.84}, {}),
    ("recipe", {"final": 1.85}, {}),
    ("recipe", {"final-no-clip": 1.81}, {}),
    ("recipe", {"final-no-decay": 1.815}, {}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Evidence:
    return world(tmp_path_factory.mktemp("base"))


def moved(measured: Measured, losses: dict[str, float], gaps: dict[str, float]) -> Measured:
    """The same results, with some rungs' mean losses and gaps at other values; every word of a rung moves alike."""

    def move(result):
        up = losses.get(result.rung, made_up.LOSSES[result.rung]) - made_up.LOSSES[result.rung]
        gap = made_up.GAPS.get(result.rung, 0.02)
        wider = gaps.get(result.rung, gap) - gap
        return replace(result, test_loss=result.test_loss + up, train_loss=result.train_loss + up - wider)

    kept = measured.word_losses
    assert kept is not None
    nats = {
        (rung, seed): values + (losses.get(rung, made_up.LOSSES[rung]) - made_up.LOSSES[rung]) * kept.tokens
        for (rung, seed), values in kept.nats.items()
    }
    return replace(measured, results=[move(r) for r in measured.results], word_losses=replace(kept, nats=nats))


@pytest.mark.parametrize(("claim", "losses", "gaps"), REFUTED)
def test_claims_that_fail_are_refuted(base, claim, losses, gaps):
    evidence = Evidence(tuple(moved(g, losses, gaps) for g in base.groups if g.protocol.name == "article"), base.peers)
    finding = next(judge(c, evidence) for c in CLAIMS if c.id == claim)
    assert finding.verdict == "refuted"


def test_makemore_decides_in_its_own_protocol(tmp_path):
    assert verdicts(world(tmp_path, makemore=2.2))["scale"] == "refuted"
    assert verdicts(world(tmp_path, makemore=2.013))["scale"] == "inconclusive"


def test_rough_curves_refute_the_smooth_ones(tmp_path):
    folder = made_up.write_climb(tmp_path / "article")
    frame = evidence_module.read_frame(folder / "curves.parquet")
    swapped = frame["rung"].replace({"final": "dropout-20k", "dropout-20k": "final"})
    frame.with_columns(swapped).write_parquet(folder / "curves.parquet")
    assert verdicts(read([folder]))["recipe"] == "refuted"


def test_what_the_loss_means_where_it_holds(tmp_path):
    folder = made_up.write_climb(tmp_path / "article", losses=made_up.LOSSES | {"final": 1.9})
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line["detail"]["mean_probability"] = exp(-line["test_loss"]) + 0.005
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verdicts(read([folder]))["meaning"] == "confirmed"


def test_seeds_that_disagree_are_inconclusive(tmp_path):
    found = verdicts(world(tmp_path, spread=0.05))
    assert found.pop("meaning") == "refuted"  # percentage points: as surely as before
    assert set(found.values()) == {"inconclusive"}


def test_one_seed_confirms_nothing(tmp_path):
    assert "confirmed" not in verdicts(world(tmp_path, seeds=[0])).values()


# --- missing evidence


def sentences(evidence: Evidence) -> str:
    return " ".join(judged.sentence for finding in findings(evidence) for judged in finding.parts)


def test_missing_evidence_never_decides_and_is_named(tmp_path):
    losses = {name: made_up.LOSSES[name] for name in ("baseline", "2-heads")}
    evidence = read([made_up.write_climb(tmp_path / "few", losses=losses)])
    assert set(verdicts(evidence).values()) == {"not measured"}
    assert "needs rung double-embd in protocol article." in sentences(evidence)
    assert "needs a climb in protocol makemore." in sentences(evidence)


def test_runs_cut_short_are_no_evidence(tmp_path):
    evidence = read([made_up.write_climb(tmp_path / "short", steps=40)])
    assert set(verdicts(evidence).values()) == {"not measured"}
    assert "trained for 40 steps" in sentences(evidence)


def test_without_makemores_own_figure_its_claim_is_not_measured(tmp_path):
    evidence = world(tmp_path)
    evidence = Evidence(evidence.groups)
    assert verdicts(evidence)["scale"] == "not measured"
    assert "makemore's own figure" in sentences(evidence)


def test_confounds_are_told_with_numbers(tmp_path):
    article = made_up.write_climb(tmp_path / "article")
    strict = made_up.write_climb(tmp_path / "strict", "strict")
    told = {f.claim.id: " ".join(j.sentence for j in f.parts) for f in confounds(read([article, strict]))}
    assert "needs" not in " ".join(told.values())
    assert "−0.09" in told["projection"] and "+0.25" in told["residual"]
    assert "14.8 %" in told["duplicates"] and "+0.100" in told["first-character"]

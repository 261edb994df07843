"""Verdicts on made-up results, on both sides of every border; and what is said where evidence is missing."""

import json
import re
from dataclasses import replace
from math import exp, inf, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scripts.write_docs import findings as findings_markdown

import made_up
from rungwise.analysis import evidence as evidence_module
from rungwise.analysis.claims import CLAIMS, CONFOUNDS, confounds, findings, sensitivity
from rungwise.analysis.evidence import Evidence, Measured, read
from rungwise.analysis.thresholds import ERROR, THRESHOLDS, Range
from rungwise.analysis.verdicts import (
    Effect,
    adjust,
    describe,
    judge,
    overall,
    shown_range,
    signed,
    size,
    size_word,
)
from rungwise.ladder import RUNGS, variant


def sharp(mean: float, spread: float = 0.0005, **more) -> Effect:
    """Five seeds: the 95 % interval is the mean ± about 1.6 spread."""
    return Effect(mean + spread * np.array([-1.5, -0.5, 0.0, 0.5, 1.5]), **more)


def borders(allowed: Range) -> list[float]:
    return [border for border in (allowed.low, allowed.high) if np.isfinite(border)]


# --- one rule: what is printed decides


def printed(text: str) -> tuple[float, float]:
    """The range that a text names, back in the units of effects."""
    numbers = re.findall(r"×?[+−]?[0-9.]+", text)
    factors = [n.startswith("×") for n in numbers]
    found = [float(n.strip("×").replace("−", "-")) for n in numbers]
    found = [
        log(x) if is_factor else x / (100 if "points" in text else 1)
        for x, is_factor in zip(found, factors, strict=True)
    ]
    if text.startswith("between"):
        return found[0], found[1]
    return (-inf, found[0]) if text.startswith("below") else (found[0], inf)


@pytest.mark.parametrize("word", THRESHOLDS)
@given(data=st.data())
def test_the_printed_range_and_interval_decide(word, data):
    """Over all rules: a reader with the printed range and the printed interval comes to the printed verdict."""
    allowed = THRESHOLDS[word]
    low, high = printed(shown_range(allowed))
    assert (low, high) == pytest.approx((allowed.low, allowed.high))
    width = abs(borders(allowed)[0]) + 0.02
    values = data.draw(st.lists(st.floats(-3 * width, 3 * width), min_size=2, max_size=6))
    effect = Effect(np.array(values), scale=allowed.scale)
    first, last = effect.interval()
    assume(min(abs(end - border) for end in (first, last) for border in borders(allowed)) > 1e-9)
    inside, outside = low < first and last < high, last < low or first > high
    assert judge(effect, word).word == ("confirmed" if inside else "refuted" if outside else "inconclusive")


@given(st.lists(st.tuples(st.sampled_from(sorted(THRESHOLDS)), st.floats(-0.2, 0.2), st.floats(1e-4, 0.1)), min_size=1))
def test_in_a_family_the_printed_p_decides(tests):
    """A verdict among others is the mean's side of the printed range, and holds where the printed p is below 5 %."""
    family = adjust([judge(sharp(mean, spread), word) for word, mean, spread in tests])
    alone = [judge(sharp(mean, spread), word) for word, mean, spread in tests]
    for judged, before in zip(family, alone, strict=True):
        assert judged.adjusted is not None and judged.adjusted >= before.p * (1 - 1e-9)
        side = "confirmed" if judged.inside else "refuted"
        assert judged.word == (side if judged.adjusted < ERROR else "inconclusive")
        assert ("p < 0.001" if judged.adjusted < 0.001 else f"p = {judged.adjusted:.3f}") in judged.sentence


def test_dropout_that_may_be_negligible_is_not_confirmed():
    """An interval of -0.026 to -0.005 does not show a gain of more than 0.01."""
    effect = sharp(-0.0155, 0.0065)
    assert effect.interval()[0] < -0.01 < effect.interval()[1] < 0
    assert judge(effect, "helps").word == "inconclusive"


@pytest.mark.parametrize("word", THRESHOLDS)
def test_each_side_of_each_border(word):
    allowed = THRESHOLDS[word]
    for border in borders(allowed):
        step = 0.002 * max(1, abs(border))
        for at in (border - step, border + step):
            verdict = "confirmed" if allowed.low < at < allowed.high else "refuted"
            assert judge(sharp(at, step / 10), word).word == verdict
        assert judge(sharp(border, spread=0.02), word).word == "inconclusive"


@pytest.mark.parametrize("word", THRESHOLDS)
def test_one_seed_is_inconclusive(word):
    effect = Effect(np.array([0.5]))
    assert judge(effect, word).word == "inconclusive"
    assert "one seed" in describe(effect)


def test_no_effect_is_never_a_large_p():
    noisy = Effect(np.array([-0.2, 0.2, -0.15, 0.15, 0.01]))  # far from significant, far from shown to be nothing
    assert judge(noisy, "changes nothing").word == "inconclusive"


def test_a_count_is_its_own_interval():
    for value, verdict in ((-1.0, "confirmed"), (0.0, "refuted"), (3.0, "refuted")):
        assert judge(Effect(np.array([value]), exact=True, scale="count"), "has fewer").word == verdict


@pytest.mark.parametrize(
    ("mean", "published", "word"),
    [
        (-0.12, -0.12, "confirmed"),
        (-0.125, -0.12, "confirmed"),
        (-0.2, -0.12, "understated"),
        (-0.05, -0.12, "overstated"),
        (0.05, -0.12, "overstated"),
        (0.2, 0.08, "understated"),
        (0.001, -0.04, "overstated"),
        (-0.03, 0.0, "understated"),
    ],
)
def test_a_printed_size_is_held_against_the_interval(mean, published, word):
    found = size(sharp(mean, published=published))
    assert found is not None and size_word(found, Range()) == word


def test_a_printed_size_of_the_other_sign_is_too_small_for_the_claim():
    """That the recipe helps was printed as +0.01: a gain of 0.04 is more than that."""
    found = size(sharp(-0.04, published=0.01))
    assert found is not None and size_word(found, THRESHOLDS["helps"]) == "understated"


def test_verdicts_err_as_often_as_they_say():
    """On a border the claim is false just so: 2,000 experiments confirm it in 2.5 %, and refute it as often."""
    rng = np.random.default_rng(0)
    words = [judge(Effect(rng.normal(-0.01, 0.01, 5)), "helps").word for _ in range(2000)]
    assert 0.015 < words.count("confirmed") / 2000 < 0.035
    assert 0.015 < words.count("refuted") / 2000 < 0.035


def test_a_family_errs_as_a_whole():
    """Ten claims, each false just so: one or more is wrongly decided in at most 5 % of 2,000 experiments."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(2000):
        family = adjust([judge(Effect(rng.normal(-0.01, 0.01, 5)), "helps") for _ in range(10)])
        wrong += any(j.word != "inconclusive" for j in family)
    assert wrong / 2000 < 0.065


def test_words_widen_an_interval_over_seeds():
    tokens = np.full(20, 5.0)
    per_word = np.where(np.arange(20) % 2, -0.5, 0.45) * tokens  # words disagree, seeds do not
    nats = per_word + 0.001 * np.arange(5)[:, None]
    values = nats.sum(axis=1) / tokens.sum()
    assert judge(Effect(values), "is lower").word == "confirmed"
    assert judge(Effect(values, (nats, tokens)), "is lower").word == "inconclusive"


def test_the_extreme_of_many_is_judged_more_strictly():
    low, high = sharp(-0.1).interval()
    low_of_six, high_of_six = Effect(sharp(-0.1).values, tests=6).interval()
    assert low_of_six < low < high < high_of_six


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
    assert all(part.word in THRESHOLDS for claim in CLAIMS for part in claim.parts)
    assert not any(part.word for claim in CONFOUNDS for part in claim.parts)


def test_a_step_that_changes_more_than_what_is_named_has_an_attribution():
    """Where two rungs differ in several fields, the claim asks with one of them alone, too."""
    for claim in CLAIMS:
        first, *_ = claim.parts
        if len(first.question.rungs) == 2:
            after, before = (RUNGS[name] for name in first.question.rungs)
            changed = sum(
                a != b
                for of in ("model", "train")
                for a, b in zip(
                    getattr(after, of).to_dict().values(), getattr(before, of).to_dict().values(), strict=True
                )
            )
            asks = {part.asks for part in claim.parts}
            assert changed <= 1 or claim.id in ("width", "meaning") or "attribution" in asks, claim.id


def world(tmp_path, losses=None, gaps=None, makemore=None, **settings) -> Evidence:
    """Evidence in which every claim but the last holds, less what is changed."""
    losses, gaps = made_up.LOSSES | (losses or {}), made_up.GAPS | (gaps or {})
    article = made_up.write_climb(tmp_path / "article", "article", losses, gaps=gaps, **settings)
    (tmp_path / "peers.json").write_text(json.dumps({"makemore": made_up.peer(makemore or -0.08)}))
    return read([article])


def verdicts(evidence: Evidence) -> dict[str, str]:
    return {finding.claim.id: finding.verdict for finding in findings(evidence)}


def test_claims_that_hold_are_confirmed(tmp_path):
    found = verdicts(world(tmp_path))
    assert found.pop("meaning") == "refuted"  # its arithmetic mean is made up, and above exp(-loss), as real ones are
    sized = {"rope": "understated", "scale": "understated", "recipe": "understated", "gelu": "overstated"}
    assert {claim: word for claim, word in found.items() if word != "confirmed"} == sized


REFUTED = [
    ("width", {"double-embd": 2.34}, {}),
    ("heads", {"2-heads": 2.33}, {}),
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
    ("heads", {"1-head-32-projection": 2.25}, {}),
    ("depth", {"2-heads-residual": 2.055}, {}),
    ("scale", {"scaled-1e-3": 1.955}, {}),
    ("recipe", {"dropout-20k-1e-3": 1.815}, {}),
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
    finding = next(f for f in findings(evidence) if f.claim.id == claim)
    assert finding.verdict == "refuted"


def test_a_model_that_reads_order_without_rope_refutes_its_only_sense(tmp_path):
    folder = made_up.write_climb(tmp_path / "article")
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line["detail"]["shuffled_loss"] += 0.2
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    finding = next(f for f in findings(read([folder])) if f.claim.id == "rope")
    assert (finding.verdict, finding.answers["direction"]) == ("refuted", "confirmed")
    assert finding.answers["attribution"] == "refuted"
    assert "+0.200" in finding.parts[-1].sentence


def at(folder: Path, setting: str, value: float, losses: dict[str, float]) -> None:
    """More results in a climb's directory: rungs at another value of a setting."""
    with (folder / "results.jsonl").open("a") as file:
        for name, loss in losses.items():
            rung = variant(RUNGS[name], setting, value)
            for seed in range(5):
                here = loss + made_up.noise(rung.name, seed, 0.001)
                file.write(json.dumps(made_up.result(rung, seed, "article", here, 0.02)) + "\n")


def test_a_verdict_that_another_rate_turns_hangs_on_it(tmp_path):
    folder = made_up.write_climb(tmp_path / "article")
    at(folder, "learning_rate", 3e-4, {"baseline": 2.4, "double-embd": 2.3})
    at(folder, "learning_rate", 5e-4, {"baseline": 2.4, "double-embd": 2.38})
    evidence = read([folder])
    finding = next(f for f in findings(evidence) if f.claim.id == "width")
    assert (finding.verdict, finding.hangs) == ("hangs on an inferred setting", (("learning_rate", 3e-4),))
    assert finding.answers["direction"] == "confirmed"  # as the ladder has it
    assert sensitivity(evidence)["width"]["learning_rate", 5e-4] == "inconclusive"
    assert "gelu" not in sensitivity(evidence)  # its rungs were not measured there


def test_how_well_each_rate_fits_the_reported_losses_is_told(tmp_path):
    reported = {name: rung.published.test for name, rung in RUNGS.items() if rung.group == "article" and rung.published}
    folder = made_up.write_climb(tmp_path / "article")
    assert "Which learning rate" not in findings_markdown([folder])
    at(folder, "learning_rate", 5e-4, {name: loss + 0.1 for name, loss in reported.items()})
    text = findings_markdown([folder])
    row = next(line for line in text.splitlines() if line.startswith("| 0.0005 | 0."))
    assert row.endswith(" 16 |") and 0.08 < float(row.split(" | ")[1]) < 0.13


def test_a_verdict_of_the_stream_is_asked_at_other_windows(tmp_path):
    folder = made_up.write_climb(tmp_path / "article")
    at(folder, "window", 8, {"stream": 1.9, "stream-equal-tokens": 1.9})
    found = {f.claim.id: f for f in findings(read([folder]))}
    assert found["stream"].verdict == "hangs on an inferred setting" and not found["width"].hangs


def test_makemore_decides_on_its_own_words(tmp_path):
    assert verdicts(world(tmp_path, makemore=0.2))["scale"] == "refuted"
    assert verdicts(world(tmp_path, makemore=0.0001))["scale"] == "inconclusive"


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


def test_runs_cut_short_are_no_evidence(tmp_path):
    evidence = read([made_up.write_climb(tmp_path / "short", steps=40)])
    assert set(verdicts(evidence).values()) == {"not measured"}
    assert "trained for 40 steps" in sentences(evidence)


def test_without_makemores_own_figure_its_claim_is_not_measured(tmp_path):
    evidence = world(tmp_path)
    evidence = Evidence(evidence.groups)
    assert verdicts(evidence)["scale"] == "not measured"
    assert "dropout-20k and makemore on the same words" in sentences(evidence)


def test_confounds_are_told_with_numbers(tmp_path):
    article = made_up.write_climb(tmp_path / "article")
    strict = made_up.write_climb(tmp_path / "strict", "strict")
    told = {f.claim.id: " ".join(j.sentence for j in f.parts) for f in confounds(read([article, strict]))}
    assert "needs" not in " ".join(told.values())
    assert "−0.09" in told["projection"] and "+0.25" in told["residual"]
    assert "14.8 %" in told["duplicates"] and "+0.100" in told["first-character"]

"""Fields that have to do with each other: contradictions are refused, defaults that do not fit are fitted and told."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import ROOT, TINY, WORDS, command, flags
from rungwise.config import ModelConfig, RunConfig, TrainConfig
from rungwise.config.settings import Settings
from rungwise.engine.loop import learning_rate
from rungwise.errors import UserError
from rungwise.experiment import tune
from rungwise.experiment.results import matches, read
from rungwise.ladder import RUNGS, get_rung, variant
from rungwise.util.files import read_lines

SMALL = {"n_embd": 8, "n_head": 2, "n_layer": 1, "engine": "torch", "batch_size": 4}


def trained(rung: str = "final", **fields) -> TrainConfig:
    """The training that a command line with these flags gets."""
    of = RUNGS[rung]
    return Settings.of(fields, "command line").model_and_train(of.model, of.train, 28, 16)[1]


def assert_makes_sense(config: TrainConfig) -> None:
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert max(rates) == pytest.approx(config.learning_rate, rel=1e-12)
    after = rates[config.warmup_steps if config.schedule == "cosine" else 0 :]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(after))
    assert all(rate >= 0 and math.isfinite(rate) for rate in rates)


rates = st.floats(1e-9, 9, exclude_max=True) | st.sampled_from([5e-5, 1e-4, 2e-4, 1e-3])
fields = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 600),
        "warmup_steps": st.integers(0, 700),
        "learning_rate": rates,
        "min_learning_rate": rates | st.just(0.0),
        "schedule": st.sampled_from(["constant", "cosine"]),
    },
)


@settings(max_examples=300)
@given(fields, st.sampled_from(["final", "baseline", "final-peak-3e-4"]))
def test_the_rate_reaches_its_peak_and_never_rises_after_warm_up(asked, rung):
    try:
        config = trained(rung, **{"steps": 400, **asked})
    except UserError as error:
        assert {"warmup_steps", "min_learning_rate"} & asked.keys(), error  # a default is fitted, never refused
        return
    assert_makes_sense(config)
    for name, value in asked.items():
        assert getattr(config, name) == value  # what was given is taken as it is


@given(st.sampled_from(sorted(RUNGS)), st.none() | st.integers(1, 500), st.sampled_from([1e-5, *tune.GRID]))
def test_a_rung_cut_short_or_at_another_rate_makes_sense(name, steps, rate):
    for rung in (RUNGS[name], variant(RUNGS[name], "learning_rate", rate)):
        config = rung.trained(steps)
        if steps:
            assert_makes_sense(config)
        assert config.learning_rate == rung.train.learning_rate


def test_the_ladder_and_its_tuned_rates_are_as_they_were():
    """Committed results go on matching."""
    for rung in [*RUNGS.values(), *tune.variants(list(RUNGS.values()))]:
        assert rung.trained(None) == rung.train, rung.name


def test_committed_results_load_and_match_what_they_matched():
    found = [(path, read(path)) for path in sorted((ROOT / "results").glob("*/results.jsonl"))]
    assert len(found) >= 3
    for path, results in found:
        assert all(matches(r, get_rung(r.rung), None) for r in results), path
        for r in results:
            TrainConfig.from_dict(r.train)
            ModelConfig.from_dict(r.model)


def test_a_configuration_of_before_is_read_as_it_is():
    """An older run may have been trained with a warm-up that its steps never left."""
    before = {**TrainConfig().to_dict(), "steps": 10, "warmup_steps": 200, "min_learning_rate": 1.0}
    assert TrainConfig.from_dict(before).warmup_steps == 200


# --------------------------------------------------------------------------------------------------- what is told


def train(folder: Path, **given_fields):
    (folder / "l").write_text("\n".join(WORDS))
    done = command("train", "--data", folder / "l", "--out", folder / "r", *flags(**{**SMALL, **given_fields}))
    return done, folder / "r"


def test_forty_steps_reach_the_peak_and_say_how(tmp_path):
    done, out = train(tmp_path, steps=40)
    assert done.status == 0, done.err
    assert "warmup_steps 20 instead of 200: at most half of the 40 steps." in done.out.splitlines()
    assert json.loads((out / "config.json").read_text())["train"]["warmup_steps"] == 20
    shown = [line["learning_rate"] for line in read_lines(out / "metrics.jsonl") if "learning_rate" in line]
    assert max(shown) == pytest.approx(1e-3)


def test_a_low_peak_falls(tmp_path):
    done, out = train(tmp_path, steps=60, learning_rate=5e-5, warmup_steps=6)
    assert done.status == 0, done.err
    assert "min_learning_rate 2.5e-05 instead of 0.0001: at most half of learning_rate." in done.out.splitlines()
    shown = [line["learning_rate"] for line in read_lines(out / "metrics.jsonl") if "learning_rate" in line]
    assert shown[-1] < shown[3] <= 5e-5


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"eval_every": 50}, "eval_every=50 is more than the 20 steps: there is one evaluation, at the end."),
        ({"patience": 19}, "patience=19 cannot stop this run: it has 20 evaluations."),
        ({"eval_every": 10, "patience": 1}, "patience=1 cannot stop this run: it has 2 evaluations."),
        ({"batch_size": 64}, "batch_size=64 is more than the 32 training words: a step meets some of them twice."),
        ({"dropout": 1e-6}, "dropout=1e-06 drops nothing: it is less than half of 1/65536, the step of masks."),
        ({"schedule": "constant", "warmup_steps": 4}, "warmup_steps=4 has no effect: it needs schedule=cosine."),
        ({"teacher_weight": 0.3}, "teacher_weight=0.3 has no effect: it needs targets=smoothed."),
        ({"window": 5}, "window=5 has no effect: it needs batching=stream."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_has_no_effect_is_told_in_a_line(tmp_path, asked, line):
    done, _ = train(tmp_path, **{"steps": 20, "warmup_steps": 3, **asked})
    assert done.status == 0, done.err
    assert line in done.out.splitlines()


def test_what_fits_is_not_told(tmp_path):
    done, _ = train(tmp_path, steps=20, warmup_steps=3, eval_every=5, patience=2)
    assert len(done.out.splitlines()) <= 10 and "instead" not in done.out


@pytest.mark.parametrize("steps", [1, 9])
def test_a_climb_of_few_steps_tells_of_its_warm_up(tmp_path, steps):
    (tmp_path / "l").write_text("\n".join(WORDS))
    arguments = ["--rungs", "baseline,final", "--seeds", 1, "--steps", steps, "--engine", "torch", "--processes", 1]
    done = command("climb", "--data", tmp_path / "l", "--out", tmp_path / "c", *arguments)
    assert done.status == 0, done.err
    assert f"final: warmup_steps {steps // 2} instead of 200: at most half of the {steps} steps." in done.out
    results = {r.rung: r.train for r in read(tmp_path / "c" / "results.jsonl")}
    assert results["final"]["warmup_steps"] == steps // 2
    assert results["baseline"]["warmup_steps"] == 200  # its rate is constant: nothing to fit
    before = (tmp_path / "c" / "results.jsonl").read_text()
    assert command("climb", "--data", tmp_path / "l", "--out", tmp_path / "c", *arguments).status == 0
    assert (tmp_path / "c" / "results.jsonl").read_text() == before  # the results match, and nothing is done again


def test_a_list_too_short_for_a_window_is_refused_before_any_rung_is_trained(tmp_path):
    (tmp_path / "l").write_text("a\nb\nc\nd\n")
    arguments = ["--rungs", "baseline,stream", "--steps", 2, "--out", tmp_path / "c"]
    done = command("climb", "--data", tmp_path / "l", *arguments)
    assert done.status == 2
    assert "a window of 16 needs more" in done.err.splitlines()[-1]
    assert not (tmp_path / "c").exists()


def test_evaluations_are_counted_as_they_come():
    for steps, every, n in ((40, 0, 20), (41, 0, 21), (7, 0, 7), (40, 15, 3), (40, 99, 1)):
        assert RunConfig(eval_every=every).evaluations(steps) == n


def test_tiny_has_fitting_fields():
    """What most tests train with is told of in no line."""
    assert trained(**TINY).warmup_steps == TINY["warmup_steps"]

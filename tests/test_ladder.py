import dataclasses

import pytest

from rungwise.config import ModelConfig, TrainConfig
from rungwise.errors import UserError
from rungwise.ladder import FULL, INFERRED, LEAVE_ONE_OUT, RUNGS, SELECTIONS, get_rung, inferred, select, variant
from rungwise.model.transformer import Transformer, count_parameters

every_rung = pytest.mark.parametrize("rung", RUNGS.values(), ids=lambda rung: rung.name)


@every_rung
def test_a_rung_differs_from_the_one_below_in_exactly_what_it_declares(rung):
    below = (get_rung(rung.on).model, get_rung(rung.on).train) if rung.on else (ModelConfig(), TrainConfig())
    differs = {}
    for mine, other in zip((rung.model, rung.train), below, strict=True):
        for field in dataclasses.fields(mine):
            if getattr(mine, field.name) != getattr(other, field.name):
                differs[field.name] = getattr(mine, field.name)
    if rung.on:
        assert differs == dict(rung.changes)
    else:  # the ground may say what the defaults happen to say too
        assert differs.items() <= rung.changes.items()


@every_rung
def test_published_parameter_counts_are_met_to_the_unit(rung):
    if rung.published is None:
        pytest.skip("the article does not have this rung")
    assert count_parameters(Transformer(rung.model)) == rung.published.n_params


def test_the_articles_counts():
    counts = [r.published.n_params for r in select("article,scaling") if r.published]
    assert counts == [2_908, 8_860, 5_948, 18_332, 51_740, 52_252, 52_252, 52_252, *[202_780] * 4]


@every_rung
def test_a_rung_says_why_and_whence(rung):
    assert rung.why.endswith(".")
    assert rung.source
    if rung.published and rung.name != "final":
        assert "not published" in rung.inferred or "not mentioned" in rung.inferred


@every_rung
def test_a_rung_stands_on_an_earlier_one(rung):
    names = list(RUNGS)
    assert rung.on is None or names.index(rung.on) < names.index(rung.name)
    assert RUNGS[rung.name] is rung


def test_ablations_are_the_full_model_less_one_part():
    full = get_rung(FULL)
    for name in LEAVE_ONE_OUT.values():
        rung = get_rung(name)
        names = ModelConfig.fields()
        changed = [name for name in names if getattr(rung.model, name) != getattr(full.model, name)]
        assert len(changed) == 1 or changed == ["n_head", "head_size"]  # one head as wide as two
        assert rung.train == full.train


def test_selections():
    assert [r.name for r in select("article")] == SELECTIONS["article"]
    assert len(SELECTIONS["article"]) == 8
    assert [r.name for r in select("gelu, baseline,gelu")] == ["baseline", "gelu"]
    assert {r.name for r in select("beyond")} == {r.name for r in RUNGS.values() if r.group == "beyond"}
    assert {r.name for r in select("everything")} == set(RUNGS)
    with pytest.raises(UserError, match="did you mean 'baseline'"):
        select("basline")
    with pytest.raises(UserError, match="choose from"):
        select("")


def test_a_rung_at_another_setting_is_named_after_it():
    names = [rung.name for rung in select("gelu@5e-4,gelu,stream@window=8,baseline@1e-3")]
    assert names == ["baseline", "gelu@0.0005", "gelu", "stream@window=8"]  # at its own rate, the rung itself
    assert get_rung("stream@window=8").train.window == 8 and get_rung("gelu@5e-4").on == "gelu"
    assert len(select("article@5e-4")) == 8


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gelu@fast", "say RUNG@RATE"),
        ("gelu@", "say RUNG@RATE"),
        ("gelu@steps=3", "say RUNG@RATE"),
        ("stream@window=inf", "say RUNG@RATE"),
        ("gelo@1e-3", "did you mean 'gelu'?"),
        ("gelu@0", "learning_rate must be"),
    ],
)
def test_a_variant_that_cannot_be_is_one_line(name, says):
    with pytest.raises(UserError) as error:
        get_rung(name)
    assert says in str(error.value)


def test_what_the_article_does_not_publish_is_known_of_each_rung():
    assert inferred("gelu") == {"learning_rate"} and inferred("final") == {"attention_dropout"}
    assert inferred("stream") == {"learning_rate", "window"}
    assert inferred("dropout-5k") == {"learning_rate", "attention_dropout"}
    for name, values in INFERRED.items():
        for value in values:
            found = variant(RUNGS["stream"], name, value)
            assert (found.train.to_dict() | found.model.to_dict())[name] == value

"""What is trained where nobody says how: recipes that are sound, and fit into the time that there is."""

from __future__ import annotations

import json

import pytest

from conftest import make_words
from helpers import TINY, command, flags, listed
from rungwise.config import get_protocol
from rungwise.config.settings import Settings
from rungwise.data.dataset import ListDataset
from rungwise.ladder import get_rung
from rungwise.model.cost import n_parameters
from rungwise.training import budget, distil

FINAL = get_rung("final")
SIZES = (100, 20_000, 100_000, 10**7)
SMALL = budget.Recipe(
    {
        "n_embd": 8,
        "n_head": 2,
        "n_layer": 1,
        "teachers": 2,
        "teacher_embd": 12,
        "teacher_share": 0.5,
        "optimizer": "muon",
    },
    5,
    40,
    6,
)


@pytest.mark.parametrize("n_words", SIZES)
def test_recipes_are_sound(n_words):
    found = budget.recipes(n_words)
    assert [recipe.default is not None for recipe in found].count(True) == 1
    assert [recipe.least > 1 for recipe in found] == [True] * (len(found) - 1) + [False]
    for recipe in found:
        assert recipe.least <= (recipe.default or recipe.least) <= recipe.most
        settings = Settings.of({**recipe.changes, "steps": recipe.most}, "recipes.toml")
        model, train = settings.model_and_train(FINAL.model, FINAL.train, 28, 16)
        distil.teacher_of(model, train)
        if n_words == 20_000:  # a record of its class is within reach of everybody
            assert n_parameters(model) <= n_parameters(FINAL.model.replace(vocab_size=28))


def pace(model, config, at_once):
    return 1e-7 * n_parameters(model) * config.batch_size / 32 / (1 if at_once > 1 else 2)


@pytest.mark.parametrize("n_words", SIZES)
def test_more_time_is_more_training(n_words, monkeypatch):
    dataset = ListDataset(make_words(), get_protocol("strict"))
    dataset.n_train = n_words
    plans = []
    for seconds in (1, 60, 600, 3_600, 36_000):
        asked = Settings.of({"budget": str(seconds)}, "test")
        plan = budget.choose(asked, FINAL, dataset, pace, 2)
        steps = plan.changes["steps"]
        assert steps >= 1
        assert plan.seconds <= seconds or steps == 1
        plans.append((plan.changes.get("teachers", 0), plan.changes["n_embd"], steps))
    assert plans[-1][0] == max(teachers for teachers, *_ in plans)
    assert len(set(plans)) >= 3


def test_a_run_takes_about_its_time_and_tells_all_that_it_chose(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "recipes", lambda n: [SMALL])
    monkeypatch.setattr(distil, "DRAWN_WORDS", 200)
    (tmp_path / "l").write_text("\n".join(listed()))
    one, other = tmp_path / "one", tmp_path / "other"
    done = command("train", "--data", tmp_path / "l", "--out", one, "--budget", "30s")
    assert done.status == 0, done.err
    assert "In 30s: 2 teachers, 12 wide, and then a model 8 wide, 40 steps. It will take about " in done.out
    config = json.loads((one / "config.json").read_text())
    assert (config["train"]["steps"], config["train"]["teachers"], config["model"]["n_embd"]) == (40, 2, 8)
    assert not list(one.glob("teachers*")) and not (one / distil.LESSON).exists()
    assert "95 % interval" in done.out
    assert "Training 2 teachers, 20 steps each." in done.out
    done = command("train", "--config", one / "config.json", "--out", other)
    assert done.status == 0, done.err
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_recipe_is_for_those_who_say_nothing(tmp_path, monkeypatch):
    """Whoever gives fields of the model or the training goes on from the article's recipe, as ever; --rung is it."""
    monkeypatch.setattr(budget, "recipes", lambda n: [SMALL])
    dataset = ListDataset(make_words(), get_protocol("strict"))

    def suited(engine="native", **fields):
        return dict(budget.suited(Settings.of(fields, "test"), FINAL, dataset, engine, print).changes)

    assert suited() == suited(seed=3, protocol="strict") == {**SMALL.changes, "steps": 6}
    article = dict(Settings.of({}, "test").suited_to(dataset.n_train).changes)
    assert suited(steps=7) == {**article, "steps": 7}
    assert suited("torch") == article  # minutes for a teacher
    (tmp_path / "l").write_text("\n".join(listed()))
    done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**TINY), "--rung", "final")
    assert json.loads((tmp_path / "r/config.json").read_text())["train"]["optimizer"] == "adamw", done.err


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"budget": "soon"}, "budget must be a time such as 90s, 10m or 1h, but is 'soon'."),
        ({"budget": "0m"}, "budget must be a time such as 90s, 10m or 1h, but is '0m'."),
        ({"budget": "1m", "steps": 5}, "A budget chooses the recipe: leave out steps, or the budget."),
        ({"budget": "1m", "rung": "gelu"}, "A budget chooses the recipe: leave out rung, or the budget."),
        ({"budget": "1m", "engine": "distributed"}, "A budget is for one process and a list in memory: give --steps"),
        ({"teachers": 2, "teacher_embd": 9, "steps": 4}, "n_embd must be a multiple of n_head=2, but is 9."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_go_together_is_told_in_a_line(tmp_path, fields, line):
    (tmp_path / "l").write_text("\n".join(listed()))
    done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**fields))
    assert done.status == 2
    assert line in done.err.splitlines()[-1]
    assert not (tmp_path / "r/config.json").exists()

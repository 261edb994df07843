"""What maintains the project runs, is written once, and reads back what users' directories hold."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import ttest_ind
from scripts import attention, bench_scale, common, keep_results, recipes, records, scale_model

from conftest import make_words
from rungwise.config import ModelConfig
from rungwise.experiment.collect import CURVES, WORDS
from rungwise.experiment.results import RESULTS
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.util.files import read_json

SCRIPTS = sorted(path.stem for path in (common.ROOT / "scripts").glob("[a-z]*.py"))
CLIMB = common.ROOT / "tests/version_0_1_0/climb"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_a_module_that_says_what_it_does(name: str) -> None:
    module = importlib.import_module(f"scripts.{name}")
    assert module.__doc__
    if hasattr(module, "main"):
        assert f"python -m scripts.{name}" in module.__doc__


def test_nothing_changes_the_import_path() -> None:
    """Scripts are a package, and pytest's pythonpath holds the tests' helpers."""
    files = [*(common.ROOT / "scripts").rglob("*.py"), *(common.ROOT / "tests").rglob("*.py")]
    changing = re.compile(r"^\s*sys\.path\.(insert|append|extend)", re.MULTILINE)
    assert [path.name for path in files if changing.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("layers, width", [(1, 28), (4, 140)])
def test_the_parameters_of_the_cost_model_are_the_models(layers: int, width: int) -> None:
    assert scale_model.parameters(layers, width) == count_parameters(
        Transformer(ModelConfig(28, 16, layers, n_head=1, n_embd=width))
    )


def test_the_cost_model_finds_the_constants_that_made_its_measurements(capsys) -> None:
    constants = np.array([1e-4, 2e-5, 1e-9, 3e-12, 4e-9])
    places = {str(batch): {"native": 5.0 * batch} for batch in (32, 128)}
    steps = {
        f"native {point}": float(scale_model.terms(*point[:2], places[str(point[2])]["native"]) @ constants)
        for point in bench_scale.FIT
    }
    assert scale_model.fit({"places": places, "steps": steps}, "native") == pytest.approx(constants, rel=1e-6)
    scale_model.main()  # over what is committed
    assert "one of two processes" in capsys.readouterr().out


def test_a_measurement_runs_in_a_process_of_its_own() -> None:
    """Most of a process with PyTorch is PyTorch: more than 100 MB, less than 2 GB."""
    assert 1e8 < bench_scale.peak_bytes("torch", 1, 16, 32) < 2e9


def test_a_climb_that_is_taken_in_twice_changes_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    climb, kept = Path(shutil.copytree(CLIMB, tmp_path / "climb")), tmp_path / "new" / "kept"
    n = len((climb / RESULTS).read_text().splitlines())
    monkeypatch.setattr(sys, "argv", ["keep_results", str(climb), str(kept)])
    for _ in range(2):
        keep_results.main()
        assert f'"taken": {n}' in capsys.readouterr().out
        assert sorted((kept / RESULTS).read_text().splitlines()) == sorted((climb / RESULTS).read_text().splitlines())
        for name in (WORDS, CURVES):
            assert_frame_equal(pl.read_parquet(kept / name), pl.read_parquet(climb / name), check_column_order=False)


def test_the_page_on_attention_shows_what_is_measured_and_says_what_is_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(attention, "PEERS", tmp_path)
    monkeypatch.setattr(attention, "FOLDER", tmp_path)
    assert attention.page().count("Not measured yet.") > 10 and not attention.pictures()
    (tmp_path / "strict").symlink_to(common.RESULTS / "names-strict")
    shown = attention.page()
    assert "| + GELU (attention) | 52,252 |" in shown and "(attention.svg)" in shown
    assert set(attention.pictures()) == {"attention"}  # no rival, so nothing to hold against attention by place
    assert "Not measured yet." in shown


def test_two_sets_of_seeds_are_apart_as_welch_has_it() -> None:
    a, b = [2.0, 2.1, 2.3, 2.2], [1.9, 2.0, 1.8]
    found = ttest_ind(b, a, equal_var=False)
    gap = attention.apart(a, b)
    assert gap.p(0.0) == pytest.approx(found[1])


def test_records_and_recipes_go_on_where_they_were_stopped(tmp_path, monkeypatch) -> None:
    """Each seed once; a recipe that is to reach a loss takes the fewest steps that do; the pages show what is there."""
    tiny = {"n_embd": 8, "n_head": 2, "n_layer": 1, "batch_size": 4, "warmup_steps": 1}
    monkeypatch.setattr(records.words, "load", lambda name: make_words())
    monkeypatch.setattr(records, "RECIPES", {"one": {**tiny, "reach": 9.0, "steps": [2, 3]}})
    monkeypatch.setattr(records, "FILE", tmp_path / "records.json")
    records.measure("one", records.FILE, False, 2)
    before = read_json(records.FILE)["one"]
    assert (list(before["seeds"]), before["fields"]["steps"]) == (["0", "1"], 2)
    records.measure("one", records.FILE, False, 5)
    after = read_json(records.FILE)["one"]
    assert len(after["seeds"]) == 5
    assert {seed: after["seeds"][seed] for seed in ("0", "1")} == before["seeds"]
    monkeypatch.setattr(records, "LOSSES", (9.0,))
    assert "| one |" in records.of_time(9.0)
    assert "python -m scripts.records one" in records.page()

    lists = {"names": (None, [{**tiny, "batch_size": 8}, tiny], [2, 4])}
    monkeypatch.setattr(recipes, "LISTS", lists)
    monkeypatch.setattr(recipes, "COMMON", {"learning_rate": 1e-2})
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.json")
    monkeypatch.setattr(recipes.budget, "TABLE", tmp_path / "recipes.toml")
    for _ in range(2):
        recipes.measure("names", recipes.FILE, None, 1)
    assert len(read_json(recipes.FILE)) == 4
    recipes.write()
    (of,) = tomllib.loads((tmp_path / "recipes.toml").read_text())["list"]
    assert of["recipes"][-1]["most"] == 4
    assert [row["default"] for row in of["recipes"] if "default" in row]
    assert recipes.page().count("| names | ") == 4

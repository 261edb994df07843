import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

from conftest import make_words
from helpers import a_result, command
from rungwise.analysis import evidence
from rungwise.analysis.tables import rows
from rungwise.config import EngineConfig, get_protocol
from rungwise.data.words import split
from rungwise.errors import UserError
from rungwise.experiment import baselines, tune
from rungwise.experiment import plan as plans
from rungwise.experiment.climb import make_pool, open_directory, run
from rungwise.experiment.collect import CURVES, WORDS, read_frame
from rungwise.experiment.plan import Experiment, cost, plan
from rungwise.experiment.results import RESULTS, Result, append, by_rung, matches, paired_losses, read
from rungwise.experiment.task import block_means, measure
from rungwise.inference.sample import generate
from rungwise.ladder import RUNGS, get_rung, select, variant
from rungwise.training.run_dir import SNAPSHOTS, load
from rungwise.util.files import read_lines
from rungwise.util.machine import cores


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A real climb of two rungs and two seeds in worker processes."""
    out, seen = tmp_path_factory.mktemp("climb") / "out", []
    climb(out, setting(), seen.append)
    return out, seen


def setting(**changes) -> Experiment:
    rungs = select(["baseline", "2-heads"])
    return Experiment(**{
        "words": make_words(), "protocol": get_protocol("strict"), "rungs": rungs, "seeds": [0, 1], "steps": 7,
        **changes,
    })  # fmt: skip


def climb(out, experiment, report=lambda progress: None, processes=2) -> list[Result]:
    return run(experiment, out, make_pool(experiment.how, processes), report)


def test_a_climb_leaves_every_result_and_run(climbed):
    out, seen = climbed
    results, words = read(out / RESULTS), make_words()
    assert {(r.rung, r.seed) for r in results} == {(n, s) for n in ("baseline", "2-heads") for s in (0, 1)}
    for r in results:
        assert r.steps == 7
        assert r.data_sha256 == words.sha256
        assert r.protocol == "strict"
        assert all(math.isfinite(x) for x in (r.train_loss, r.val_loss, r.test_loss, r.tokens_per_s, r.ms_per_step))
        assert len(r.detail["samples"]) == 10
        assert (judged := r.detail["words"])["n"] == 1000 and 0 < judged["distance"] < 1
        kept = load(out / r.rung / f"seed-{r.seed}")
        assert kept.info["seed"] == r.seed
        assert kept.vocabulary == words.vocabulary
        drawn = [w.text for w in generate(kept.model, words.vocabulary, 1000, None, seed=r.seed)]
        assert judged["distinct"] == len(set(drawn)) / 1000
        assert judged["new"] == pytest.approx(np.mean([w not in set(words) for w in drawn]))
    assert seen[-1].share == pytest.approx(1)
    assert baselines.read(out).keys() == set(range(1, 8))


def test_a_climb_from_python_leaves_what_reports_are_made_from(climbed):
    out, _ = climbed
    assert {"word", "tokens", "baseline/0", "2-heads/1"} <= set(read_frame(out / WORDS).columns)
    assert set(read_frame(out / CURVES)["rung"]) == {"baseline", "2-heads"}


class Here:
    """A pool of this one process. Where tasks run is no part of an experiment, so any pool may be handed to a climb."""

    width = 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, experiment, out, tasks):
        for number, task in enumerate(tasks):
            yield measure(experiment, task, out, lambda share: None), {number: 1.0}


def test_a_climb_takes_any_pool(climbed, tmp_path):
    one = setting(rungs=select(["baseline"]), seeds=[1])
    (result,) = run(one, tmp_path / "here", Here())
    (same,) = (r for r in read(climbed[0] / RESULTS) if (r.rung, r.seed) == ("baseline", 1))
    assert (result.test_loss, result.detail) == (same.test_loss, same.detail)


def test_the_split_is_made_once_and_travels(monkeypatch):
    experiment = setting(split_seed=3)
    monkeypatch.setattr(plans, "split", None)  # whoever splits again fails
    there = pickle.loads(pickle.dumps(experiment))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(there.parts, part), getattr(experiment.parts, part))


def test_an_experiment_with_another_seed_has_another_split():
    one, other = setting(), dataclasses.replace(setting(), split_seed=1)
    assert one.parts.test.tolist() != other.parts.test.tolist()
    assert other.parts.test.tolist() == split(other.words, other.protocol, 1).test.tolist()


def test_a_climb_goes_on_with_what_is_missing(climbed):
    out, _ = climbed
    before = (out / RESULTS).read_text()
    climb(out, setting())
    assert (out / RESULTS).read_text() == before
    with (out / RESULTS).open("a") as file:
        file.write('{"rung": "baseline", "se')  # a line whose writing was cut short
    climb(out, setting(seeds=[0, 1, 2]))
    assert len(read(out / RESULTS)) == 6


def test_replicas_under_pytorch_and_native_agree(climbed, tmp_path):
    """Which engine, and how the work is divided, changes nothing but rounding."""
    out, _ = climbed
    other = setting(how=EngineConfig("torch"), rungs=select(["2-heads"]))
    theirs = {(r.rung, r.seed): r for r in climb(tmp_path / "torch", other, processes=1)}
    for r in read(out / RESULTS):
        if (r.rung, r.seed) in theirs:
            assert r.test_loss == pytest.approx(theirs[r.rung, r.seed].test_loss, abs=2e-4)


@pytest.mark.parametrize("change", [{"steps": 8}, {"protocol": get_protocol("article")}, {"words": make_words(seed=9)}])
def test_another_climbs_directory_is_refused(climbed, change):
    with pytest.raises(UserError, match="holds another climb"):
        open_directory(setting(**change), climbed[0])


def test_a_directory_with_anything_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        open_directory(setting(), tmp_path)


@pytest.mark.parametrize("together", [1, 2, 64])
@pytest.mark.parametrize("n_done", [0, 1, 5])
def test_the_plan_holds_each_missing_run_once(together, n_done):
    experiment = setting(rungs=select("article"), seeds=range(5))
    done = [a_result("baseline", seed) for seed in range(n_done)]
    tasks = plan(experiment, done, 2, lambda rung: together)
    planned = [(task.rung.name, seed) for task in tasks for seed in task.seeds]
    assert len(planned) == len(set(planned)) == 40 - n_done
    assert not {("baseline", seed) for seed in range(n_done)} & set(planned)
    assert max(len(task.seeds) for task in tasks) == min(together, 5)


def test_the_plan_leaves_no_process_without_work():
    experiment = setting(rungs=[get_rung("gelu")], seeds=range(7))
    assert [len(task.seeds) for task in plan(experiment, [], 3, lambda rung: 64)] == [3, 2, 2]
    assert [len(task.seeds) for task in plan(experiment, [], 16, lambda rung: 64)] == [1] * 7
    assert [len(task.seeds) for task in plan(experiment, [], 1, lambda rung: 64)] == [7]


def test_cost_follows_size_and_steps():
    assert cost(get_rung("baseline"), None) < cost(get_rung("gelu"), None) < cost(get_rung("scaled"), None)
    assert cost(get_rung("gelu"), 10) == pytest.approx(2 * cost(get_rung("gelu"), 5))
    assert cores() >= 1


def test_results_of_a_changed_rung_do_not_count():
    assert matches(a_result("gelu", 0), RUNGS["gelu"], None)
    assert not matches(a_result("gelu", 0, model=RUNGS["rope"].model.to_dict()), RUNGS["gelu"], None)
    assert not matches(a_result("gelu", 0), RUNGS["gelu"], 17)


def test_steps_are_paired_by_seed():
    results = [a_result("baseline", s, 2.3 + 0.1 * s) for s in range(4)]
    results += [a_result("2-heads", s, 2.2 + 0.1 * s) for s in (3, 1, 2)]
    row = rows(select(["2-heads"]), results)[0]
    assert (row.step.n, row.step.mean) == (3, pytest.approx(-0.1))
    assert row.step.sd == pytest.approx(0, abs=1e-12)
    groups = by_rung(results)
    assert paired_losses(groups["baseline"], groups["2-heads"])[0] == pytest.approx([2.4, 2.5, 2.6])


def test_published_figures_stand_beside_the_articles_list_and_protocol_only():
    def cells(**change):
        return rows(select("baseline"), [a_result("baseline", 0, **change)])[0].cells()

    assert "2.35 / 2.35" in cells()
    for change in ({"data_sha256": "0" * 64}, {"protocol": "strict"}):
        assert "2.35 / 2.35" not in cells(**change)


def tried(rung: str, losses: dict[float, float], seeds, **changes) -> list[Result]:
    """Made-up results of a rung at several rates: validation loss by rate; the test loss says the contrary."""
    found = []
    for rate, loss in losses.items():
        own = rate == RUNGS[rung].train.learning_rate
        at = RUNGS[rung] if own else variant(RUNGS[rung], "learning_rate", rate)
        fields = {"rung": at.name, "train": at.train.to_dict(), "protocol": "strict", **changes}
        found += [a_result(rung, s, 9 - loss, **{"val_loss": loss + s / 100, **fields}) for s in seeds]
    return found


def test_tuning_looks_at_validation_alone():
    assert [v.train.learning_rate for v in tune.variants(select(["baseline"]))] == [3e-4, 3e-3, 1e-2]
    results = tried("baseline", {1e-3: 2.0, 3e-4: 2.5, 3e-3: 1.5, 1e-2: 2.5}, (0, 1))
    found = tune.tuned(results)["baseline"]
    assert found.best == 3e-3
    assert [r.test_loss for r in found.tried[3e-3]] == [7.5, 7.5]


def test_tuned_rates_are_compared_on_the_seeds_that_all_have():
    """A seed that only one rate has may be an easy one."""
    results = tried("baseline", {1e-3: 2.0, 3e-3: 1.9}, (1, 2))
    results += tried("baseline", {1e-3: 0.1}, (0, 3, 4))
    found = tune.tuned(results)["baseline"]
    assert found.best == 3e-3
    assert {rate: [r.seed for r in mine] for rate, mine in found.tried.items()} == {1e-3: [1, 2], 3e-3: [1, 2]}
    assert tune.tuned(tried("gelu", {1e-3: 2.0}, (0,)) + tried("gelu", {3e-3: 2.0}, (1,))) == {}
    assert tune.tuned(tried("gelu", {1e-3: 2.0, 3e-3: 2.0}, (0,), val_loss=None)) == {}


def test_a_second_tuned_climb_keeps_the_rates_of_the_first(tmp_path, words):
    (tmp_path / "l").write_text("\n".join(words))
    for rung in ("baseline", "2-heads"):
        arguments = ["--tune", "--rungs", rung, "--steps", 2, "--seeds", 1, "--engine", "torch", "--processes", 1]
        done = command("climb", "--data", tmp_path / "l", "--out", tmp_path / "c", *arguments)
        assert done.status == 0, done.err
    measured = evidence.read([tmp_path / "c"]).main
    assert list(measured.tuned) == ["baseline", "2-heads"]
    assert all(list(found.tried) == list(tune.GRID) for found in measured.tuned.values())
    assert sorted(path.name for path in (tmp_path / "c").glob("*.json")) == ["baselines.json", "climb.json"]
    assert command("report", tmp_path / "c").status == 0
    text = (tmp_path / "c" / "report.md").read_text().split("chosen on validation words")[1]
    assert text.count(" ←") == 3  # of two rungs, and of the caption


def test_rates_of_another_protocol_list_or_training_are_not_among_the_tuned(tmp_path):
    results = tried("baseline", {1e-3: 2.0, 3e-3: 1.5}, (0, 1))
    others = tried("baseline", {1e-2: 1.0}, (0, 1), data_sha256="0" * 64)
    others += tried("baseline", {3e-4: 1.0}, (0, 1), split_seed=7)
    others += tried("baseline", {3e-2: 1.0}, (0, 1), train=RUNGS["final"].train.to_dict())
    others += [dataclasses.replace(r, rung="baseline@fast") for r in tried("baseline", {1e-1: 1.0}, (0, 1))]
    for result in [*results, *others]:
        append(tmp_path / RESULTS, result)
    found = evidence.read([tmp_path]).main
    assert list(found.tuned["baseline"].tried) == [1e-3, 3e-3]
    assert "left out: baseline@0.03, baseline@fast" in " ".join(found.notes)


def test_a_result_from_another_version_is_named(tmp_path):
    (tmp_path / RESULTS).write_text(json.dumps({"rung": "baseline"}) + "\n")
    with pytest.raises(UserError, match="line 1 has no 'seed'"):
        read(tmp_path / RESULTS)


def test_snapshots_change_nothing_but_what_is_kept(climbed, tmp_path):
    """Words drawn on the way, at log-spaced steps; the training is the same to the bit."""
    out, _ = climbed
    kept = tmp_path / "kept"
    result = climb(kept, setting(rungs=select(["baseline"]), seeds=[0], snapshots=True))[0]
    plain = next(r for r in read(out / RESULTS) if (r.rung, r.seed) == ("baseline", 0))
    assert (result.train_loss, result.test_loss) == (plain.train_loss, plain.test_loss)
    lines = read_lines(kept / "baseline/seed-0" / SNAPSHOTS)
    assert [line["step"] for line in lines] == [0, 1, 2, 5, 7]
    assert all(len(line["samples"]) == 10 for line in lines)
    assert lines[-1]["samples"] == [text for text, _ in result.detail["samples"]]


def test_curves_are_means_of_whole_blocks():
    losses = np.arange(600.0)[:, None] * [1, 2]
    (first, a), (second, b), (third, c) = block_means(losses)
    assert (first, second, third) == (256, 512, 600)
    assert a.tolist() == [127.5, 255.0]
    assert b.tolist() == [383.5, 767.0]
    assert c.tolist() == [555.5, 1111.0]


def test_results_from_before_a_field_was_there_are_of_its_default(tmp_path):
    """So that a component which comes later does not make what was measured without it worthless."""
    line = dataclasses.asdict(a_result("gelu", 0))
    del line["model"]["final_norm"], line["train"]["window"]
    (tmp_path / RESULTS).write_text(json.dumps(line) + "\n")
    assert [matches(result, RUNGS["gelu"], None) for result in read(tmp_path / RESULTS)] == [True]
    line["model"]["final_norm"] = True
    (tmp_path / RESULTS).write_text(json.dumps(line) + "\n")
    assert [matches(result, RUNGS["gelu"], None) for result in read(tmp_path / RESULTS)] == [False]

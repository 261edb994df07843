"""A replicate is its own split and its own seed: what is planned, kept, paired and counted."""

import dataclasses

import numpy as np
import pytest

import made_up
from conftest import make_words
from helpers import a_result, command
from rungwise.analysis.evidence import read
from rungwise.analysis.questions import change
from rungwise.analysis.stats import summary
from rungwise.analysis.tables import rows
from rungwise.analysis.verdicts import describe
from rungwise.config import get_protocol
from rungwise.data.words import split
from rungwise.experiment import results
from rungwise.experiment.collect import WORDS, read_frame
from rungwise.experiment.plan import STRIDE, Experiment, plan
from rungwise.experiment.results import RESULTS, append, independent, paired_losses
from rungwise.ladder import RUNGS, select
from rungwise.training.run_dir import load

SMALL = ["--rungs", "baseline,2-heads", "--steps", 3, "--seeds", 2, "--engine", "torch", "--processes", 1]


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A real climb of two rungs, two seeds and one split, and then of three splits; the words on standard output."""
    folder = tmp_path_factory.mktemp("splits")
    (folder / "list").write_text("\n".join(make_words()))
    for splits in (1, 3):
        done = command("climb", "--data", folder / "list", "--out", folder / "out", *SMALL, "--splits", splits)
        assert done.status == 0, done
    return folder, done


def test_a_climb_of_more_splits_keeps_what_is_there(climbed):
    folder, done = climbed
    found = results.read(folder / "out" / RESULTS)
    runs = {(s, seed) for s in range(3) for seed in (STRIDE * s, STRIDE * s + 1)}
    assert sorted((r.rung, r.split_seed, r.seed) for r in found) == sorted(
        (rung, *run) for rung in ("baseline", "2-heads") for run in runs
    )
    assert "mean of 3 splits (2 seeds each)" in done.out
    assert (folder / "out/report.md").read_text().count("over 3 splits (2 seeds each)") >= 1


def test_every_split_is_another_and_its_runs_know_which(climbed):
    folder, _ = climbed
    listed = make_words()
    frame = read_frame(folder / "out" / WORDS)
    assert [name for name in frame.columns if "/" in name] == ["2-heads/0", "2-heads/1", "baseline/0", "baseline/1"]
    for number in range(3):
        seed = number * STRIDE
        assert load(folder / f"out/baseline/seed-{seed}").info["split_seed"] == number
        scored = read_frame(folder / f"out/baseline/seed-{seed}/scores.parquet")["word"].to_list()
        assert scored == split(listed, get_protocol("article"), number).test.tolist()


def test_the_command_of_a_report_gives_these_splits(climbed):
    folder, _ = climbed
    done = command("report", folder / "out")
    assert done.status == 0
    assert "--seeds 2 --steps 3 --splits 3" in (folder / "out/report.md").read_text()


def test_bad_numbers_are_refused(tmp_path):
    for flags in (["--splits", 0], ["--split-seed", -1], ["--splits", 2, "--seeds", STRIDE + 1]):
        done = command("climb", "--data", "given-names", "--out", tmp_path / "c", *flags)
        assert done.status == 2 and done.err.startswith("rungwise: error: s"), done
        assert not (tmp_path / "c").exists()


def test_the_plan_holds_each_missing_replicate_once():
    experiment = Experiment(make_words(), get_protocol("article"), select("baseline,mlp"), range(2), 7, splits=3)
    done = [a_result("baseline", 0, 1.0), a_result("mlp", STRIDE + 1, 1.0, split_seed=1)]
    tasks = plan(experiment, done, 2, lambda rung: 64)
    planned = [(t.rung.name, experiment.each[t.split].split_seed, seed) for t in tasks for seed in t.seeds]
    have = {(r.rung, *results.replicate(r)) for r in done}
    wanted = {(rung, *run) for rung in ("baseline", "mlp") for run in experiment.replicates} - have
    assert len(planned) == len(set(planned)) and set(planned) == wanted


def test_steps_are_paired_by_split_and_seed():
    of = {
        name: [a_result(name, 0, loss), a_result(name, 0, loss + 1, split_seed=1)]
        for name, loss in (("baseline", 2.0), ("mlp", 1.5))
    }
    assert paired_losses(of["baseline"], of["mlp"]) == ([2.0, 3.0], [1.5, 2.5])
    assert paired_losses(of["baseline"][:1], of["mlp"][1:]) == ([], [])
    row = rows([RUNGS["baseline"]], of["baseline"])[0]
    assert row.test is not None and row.test.n == 2


def test_seeds_of_one_split_count_once_where_there_are_several():
    assert independent({(0, 0): 1.0, (0, 1): 2.0}) == [1.0, 2.0]
    assert independent({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0}) == [1.5, 5.0]
    assert independent({}) == []


@pytest.mark.parametrize(("splits", "seeds"), [(5, 2), (10, 1), (3, 1)])
@pytest.mark.parametrize("split_sd", [0.0, 0.005, 0.02])
def test_intervals_over_splits_cover(splits, seeds, split_sd):
    """Levels and differences vary by split and by seed; 2,000 experiments, whatever is the larger source."""
    rng, truth, hits = np.random.default_rng(0), -0.03, 0
    for of_split, of_seed in zip(
        rng.normal(truth, split_sd, (2000, splits, 1)), rng.normal(0, 0.005, (2000, splits, seeds)), strict=True
    ):
        values = {(i, i * STRIDE + j): float(v) for (i, j), v in np.ndenumerate(of_split + of_seed)}
        found = summary(independent(values))
        hits += found.low < truth < found.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_seeds_alone_would_not_cover_another_split():
    """The reason for splits: an interval over the seeds of one split misses what the split does to all of them."""
    rng = np.random.default_rng(0)
    found = [summary(rng.normal(0, 0.005) + rng.normal(0, 0.003, 10)) for _ in range(500)]
    assert np.mean([s.low < 0 < s.high for s in found]) < 0.7


@pytest.fixture
def of_two_splits(tmp_path):
    """Results of version 0.1.0's kind, and the same rungs on two more splits in a directory of their own."""
    old = made_up.write_climb(tmp_path / "old", losses={"baseline": 2.3, "2-heads": 2.2})
    (tmp_path / "new").mkdir()
    for number, moved in ((1, 0.02), (2, -0.03)):
        for rung in ("baseline", "2-heads"):
            gain = {1: 0.09, 2: 0.12}[number] if rung == "2-heads" else 0
            line = made_up.result(RUNGS[rung], number * STRIDE, "article", 2.3 + moved - gain, 0.02)
            append(tmp_path / "new" / RESULTS, results.Result(**(line | {"split_seed": number})))
    return [old, tmp_path / "new"]


def test_old_results_are_split_0_and_new_ones_join_them(of_two_splits, tmp_path):
    alone, joined = read(of_two_splits[:1]).main, read(of_two_splits).main
    assert (alone.splits, alone.counted) == ([0], "seeds")
    assert (joined.splits, joined.counted) == ([0, 1, 2], "splits")
    old = alone.combine({"2-heads": 1, "baseline": -1})
    assert joined.combine({"2-heads": 1, "baseline": -1}) == pytest.approx([old.mean(), -0.09, -0.12])
    assert alone.combine_words({"baseline": 1}) is not None and joined.combine_words({"baseline": 1}) is None
    effect = change("2-heads", "baseline").ask(read(of_two_splits))
    assert "over 3 splits" in describe(effect) and "words" not in describe(effect)


def test_a_fixed_split_has_intervals_over_words_as_before(of_two_splits):
    effect = change("2-heads", "baseline").ask(read(of_two_splits[:1]))
    assert "over 5 seeds and 400 test words" in describe(effect)


def test_an_experiment_of_several_splits_holds_each(tmp_path):
    experiment = Experiment(make_words(), get_protocol("strict"), select("baseline"), [3], split_seed=4, splits=2)
    assert experiment.replicates == [(4, 3), (5, 3 + STRIDE)]
    alone = dataclasses.replace(experiment, split_seed=5, splits=1)
    assert experiment.each[1].parts.test.tolist() == alone.parts.test.tolist()

"""A command takes a run or a climb; a climb leaves its report and its page, and words drawn as its rungs trained."""

import json

import pytest

from helpers import WORDS, command, tiny_run

HOW = ["--steps", 30, "--rungs", "baseline,2-heads", "--engine", "torch", "--processes", 1]


@pytest.fixture(scope="module")
def climb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    (folder / "l").write_text("\n".join(WORDS))
    done = command("climb", "--data", folder / "l", "--out", folder / "c", "--seeds", 2, *HOW)
    assert done.status == 0, done.err
    return folder, done.out


def test_a_climb_leaves_report_and_page_and_says_so_last(climb):
    folder, out = climb
    assert out.splitlines()[-2:] == [f"Report: {folder / 'c/report.html'}", f"Look inside: {folder / 'c/play.html'}"]
    assert (folder / "c/report.html").exists() and (folder / "c/play.html").exists()
    assert "The list is short: with 4 test words and 2 seeds, a step is known to " in out


def test_the_first_seed_of_each_rung_keeps_words_of_its_training(climb):
    folder, _ = climb
    for rung in ("baseline", "2-heads"):
        lines = [json.loads(line) for line in (folder / f"c/{rung}/seed-0/snapshots.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [0, 1, 2, 5, 10, 20, 30]
        assert not (folder / f"c/{rung}/seed-1/snapshots.jsonl").exists()


def test_results_without_them_are_told_how_to_get_them(tmp_path):
    (tmp_path / "l").write_text("\n".join(WORDS))
    arguments = ["climb", "--data", tmp_path / "l", "--out", tmp_path / "c", "--seeds", 1, *HOW]
    assert "words of their training" not in command(*arguments, "--no-snapshots").out
    again = command(*arguments).out
    assert "2 of 2 rungs have no words of their training" in again and "with another --out" in again


@pytest.mark.parametrize(("verb", "more"), [("sample", ["-n", 2]), ("eval", ["l"]), ("export", ["--format", "onnx"])])
def test_a_climb_stands_for_the_first_seed_of_its_highest_rung(climb, monkeypatch, verb, more):
    folder, _ = climb
    monkeypatch.chdir(folder)
    whole, one = command(verb, "c", *more), command(verb, "c/2-heads/seed-0", *more)
    assert "c is a climb: taking its highest rung, c/2-heads/seed-0." in whole.err
    assert whole.status == 0 or "is not empty" in whole.err
    if verb != "export":
        assert whole.out.replace(" c ", " c/2-heads/seed-0 ") == one.out.replace(" c ", " c/2-heads/seed-0 ")


def test_a_run_of_a_climb_stands_for_the_climb_in_a_report(climb, tmp_path):
    folder, _ = climb
    assert command("report", folder / "c/baseline/seed-1", "--out", tmp_path).status == 0


def test_a_run_of_train_has_a_report_too(climb, tmp_path):
    alone = tiny_run(tmp_path)
    done = command("report", alone)
    assert done.status == 0, done.err
    text, last = (alone / "report.md").read_text(), json.loads((alone / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{last['final_test_loss']:.3f} nats" in text and f"has {last['ngram_test_loss']:.3f}" in text
    assert (alone / "samples.txt").read_text().splitlines()[0] in text
    assert "Loss by step" in (alone / "report.html").read_text()
    both = command("report", alone, climb[0] / "c")
    assert both.status == 2 and "give it alone" in both.err


def test_a_run_of_train_keeps_words_of_its_training_too(tmp_path):
    steps = [json.loads(line)["step"] for line in (tiny_run(tmp_path) / "snapshots.jsonl").read_text().splitlines()]
    assert steps == [*range(21)]  # an evaluation every step, here
    page = command("play", tiny_run(tmp_path / "again"))
    assert page.status == 0, page.err

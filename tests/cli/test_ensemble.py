"""Several runs as one: trained side by side, scored and sampled as a mixture, and never taken for a single model."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from helpers import TINY, WORDS, command, flags
from rungwise.training.run_dir import load


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    (folder / "words.txt").write_text("\n".join(WORDS))
    done = command("train", "--data", folder / "words.txt", "--out", folder / "two", "--ensemble", 2, *flags(**TINY))
    assert done.status == 0, done.err
    return folder


def told(*arguments):
    done = command("eval", *arguments, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_an_ensemble_is_runs_of_other_seeds(made):
    runs = [load(made / "two" / f"seed-{seed}") for seed in (0, 1)]
    assert [run.info["seed"] for run in runs] == [0, 1]
    weights = [run.model.state_dict()["head.weight"].numpy() for run in runs]
    assert (weights[0] != weights[1]).any()


def test_the_mean_is_scored_however_it_is_named(made):
    words, two = made / "words.txt", made / "two"
    whole = told(two, words)
    assert whole == told(two / "seed-0", words, "--mix", two / "seed-1")
    hint = command("eval", two / "seed-0", words, "--mix", two / "seed-1").out.splitlines()[-1]
    assert f"--mix {two / 'seed-1'}" in hint and command(*shlex.split(hint.partition("rungwise ")[2])).status == 0
    each = [told(two / f"seed-{seed}", words)["nats_per_character"] for seed in (0, 1)]
    assert whole["nats_per_character"] < np.mean(each)  # the mean of probabilities, not of nats
    assert told(two, words, "--ngram")["nats_per_character"] < whole["nats_per_character"]  # it was counted there


def test_the_mean_is_sampled(made):
    one, mean, more = (
        command("sample", *arguments, "-n", 30, "--seed", 1)
        for arguments in ([made / "two" / "seed-0"], [made / "two"], [made / "two", "--ngram"])
    )
    assert mean.status == more.status == 0, more.err
    assert len({one.out, mean.out, more.out}) == 3
    assert len(mean.out.splitlines()) == 30
    assert "A mixture of 2 models, and a" in more.err


@pytest.mark.parametrize(
    "command_line",
    [["export", "--format", "onnx"], ["export", "--format", "hf", "--ngram"], ["play"]],
    ids=lambda line: "".join(line),
)
def test_a_mixture_is_no_single_model(made, command_line):
    done = command(command_line[0], made / "two", *command_line[1:])
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    if command_line[0] == "export":
        assert "--distill" in done.err


def test_runs_of_other_alphabets_are_not_mixed(made):
    (made / "other.txt").write_text("\n".join(word + "q" for word in WORDS))
    done = command("train", "--data", made / "other.txt", "--out", made / "other", *flags(**TINY))
    assert done.status == 0, done.err
    done = command("eval", made / "two", made / "words.txt", "--mix", made / "other")
    assert done.status == 2
    assert "cannot be mixed" in done.err


def test_distil_is_a_run_with_teachers(made, monkeypatch):
    monkeypatch.setattr("rungwise.training.distil.DRAWN_WORDS", 100)
    asked = ["--data", made / "words.txt", "--out", made / "student", "--ensemble", 2, "--distill", *flags(**TINY)]
    done = command("train", *asked)
    assert done.status == 0, done.err
    assert load(made / "student").train_config.teachers == 2
    assert "Training 2 teachers" in done.out

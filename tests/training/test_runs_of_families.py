"""A model of any family is trained, kept, scored and drawn from like a transformer."""

import dataclasses

import numpy as np
import pytest

import rungwise
from conftest import make_words
from helpers import command
from rungwise.config import EngineConfig, get_protocol
from rungwise.data.batches import Tape
from rungwise.engine.select import choose_engine
from rungwise.inference.score import score
from rungwise.ladder import RUNGS
from rungwise.model.families import FAMILIES

every_family = pytest.mark.parametrize("family", ["bigram", *FAMILIES])
SMALL = {"steps": 7, "n_layer": 2, "n_embd": 8, "n_head": 2, "batch_size": 5, "dropout": 0.0}


@every_family
def test_a_run_is_kept_scored_and_drawn_from(family, tmp_path):
    listed = make_words(97)
    run = rungwise.train(list(listed), tmp_path / "run", protocol="strict", family=family, **SMALL)
    assert run.info["engine"] == choose_engine(EngineConfig())
    again = rungwise.load(tmp_path / "run")
    assert again.model.config.family == family
    tape = Tape.of(listed, np.arange(13), get_protocol("strict"))
    np.testing.assert_array_equal(score(again.model, tape).nats, score(run.model, tape).nats)
    words = [word.text for word in rungwise.generate(again, 11, seed=3)]
    assert len(words) == 11
    assert words == [word.text for word in rungwise.generate(run, 11, seed=3)]


@pytest.mark.parametrize("rung", ["bigram", "bow", "window", "rnn", "gru", "lstm", "conv", "mingru"])
def test_every_command_takes_a_run_of_any_family(rung, tmp_path):
    """In its rung's own shape: train, eval, sample, export, report and play."""
    (tmp_path / "list.txt").write_text("\n".join(make_words(97)))
    run = tmp_path / "run"
    asked = ("--rung", rung, "--steps", 3, "--n-embd", 8, "--batch-size", 5, "--protocol", "strict")
    commands = (
        ("train", "--data", tmp_path / "list.txt", *asked, "--out", run),
        ("eval", run, tmp_path / "list.txt"),
        ("sample", run, "-n", 3),
        ("export", run, "--format", "onnx"),
        ("report", run),
        ("play", run),
    )
    for arguments in commands:
        done = command(*arguments)
        assert done.status == 0, (arguments[0], done.err)
    assert (run / "onnx/model.onnx").exists()
    assert f'"family":"{RUNGS[rung].model.family}"' in (run / "play.html").read_text(encoding="utf-8")
    refused = command("export", run, "--format", "hf")
    assert (refused.status, refused.err.count("\n")) == (2, 1)


def test_the_page_of_a_climb_shows_every_family(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(make_words(97)))
    asked = ("climb", "--data", tmp_path / "list.txt", "--rungs", "baseline,gru", "--seeds", 1, "--steps", 3)
    done = command(*asked, "--out", tmp_path / "climb")
    assert done.status == 0, done.err
    page = (tmp_path / "climb/play.html").read_text(encoding="utf-8")
    assert '"name":"gru"' in page.replace(" ", "")


def test_the_climbs_line_of_a_family_has_its_configuration(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(make_words(97)))
    asked = ("climb", "--data", tmp_path / "list.txt", "--rungs", "mingru", "--seeds", 1, "--steps", 3, "--json")
    done = command(*asked, "--out", tmp_path / "climb")
    assert '"family": "mingru"' in done.out
    assert dataclasses.is_dataclass(rungwise.load(tmp_path / "climb/mingru/seed-0").model.config)

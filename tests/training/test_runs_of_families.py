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


def test_a_climb_takes_every_family_and_its_page_says_what_it_leaves_out(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(make_words(97)))
    asked = ("climb", "--data", tmp_path / "list.txt", "--rungs", "baseline,gru", "--seeds", 1, "--steps", 3)
    done = command(*asked, "--out", tmp_path / "climb")
    assert done.status == 0, done.err
    assert "other families: gru" in done.out + done.err
    page = (tmp_path / "climb/play.html").read_text(encoding="utf-8")
    assert '"name":"gru"' not in page.replace(" ", "")
    alone = command("play", tmp_path / "climb/gru/seed-0")
    assert alone.status == 2
    assert "other families: gru" in alone.err


def test_the_climbs_line_of_a_family_has_its_configuration(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(make_words(97)))
    asked = ("climb", "--data", tmp_path / "list.txt", "--rungs", "mingru", "--seeds", 1, "--steps", 3, "--json")
    done = command(*asked, "--out", tmp_path / "climb")
    assert '"family": "mingru"' in done.out
    assert dataclasses.is_dataclass(rungwise.load(tmp_path / "climb/mingru/seed-0").model.config)

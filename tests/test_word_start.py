"""How a word begins for a model is one rule: what climbs, trains, scores, draws and exports a model agrees on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import WORDS, command, flags
from rungwise.config import PROTOCOLS, TrainConfig, WordStart
from rungwise.data.batches import Tape
from rungwise.data.words import from_words, split
from rungwise.errors import UserError
from rungwise.experiment.collect import SCORES, read_frame
from rungwise.experiment.results import RESULTS, read
from rungwise.inference.score import score
from rungwise.ladder import RUNGS
from rungwise.training.run_dir import CONFIG, METRICS, load

STEPS = 30


@pytest.fixture(scope="module", params=[("stream", "article"), ("stream", "strict"), ("2-heads", "article")])
def climbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder, (rung, protocol) = tmp_path_factory.mktemp("climb"), request.param
    (folder / "list.txt").write_text("\n".join(WORDS))
    asked = flags(data=folder / "list.txt", rungs=rung, seeds=1, steps=STEPS, processes=1, engine="torch")
    done = command("climb", *asked, "--protocol", protocol, "--out", folder / "climb")
    assert done.status == 0, done.err
    return folder, rung, protocol


def test_eval_scores_a_climbs_run_as_the_climb_did(climbed: Any) -> None:
    folder, rung, protocol = climbed
    run, result = folder / "climb" / rung / "seed-0", read(folder / "climb" / RESULTS)[0]
    listed = from_words(WORDS)
    test = split(listed, PROTOCOLS[protocol]).test
    (folder / "test.txt").write_text("\n".join(listed[i] for i in test))
    told = json.loads(command("eval", run, folder / "test.txt", "--json").out)
    assert told["nats_per_character"] == pytest.approx(result.test_loss, abs=1e-6)
    assert told["scored"] == load(run).word_start.scored
    each = command("eval", run, folder / "test.txt", "--words").out.splitlines()[1:]
    nats = read_frame(run / SCORES)["nats"]
    assert [float(line.split("\t")[0]) for line in each] == pytest.approx(nats.to_list(), abs=1e-4)


def test_train_scores_the_same_run_as_a_climb_does(climbed: Any) -> None:
    folder, rung, protocol = climbed
    result = read(folder / "climb" / RESULTS)[0]
    asked = flags(data=folder / "list.txt", rung=rung, steps=STEPS, engine="torch", protocol=protocol, eval_every=STEPS)
    assert command("train", *asked, "--out", folder / "trained").status == 0
    final = json.loads((folder / "trained" / METRICS).read_text().splitlines()[-1])
    assert final["final_test_loss"] == pytest.approx(result.test_loss, abs=1e-6)


def test_a_drawn_words_likelihood_is_what_eval_gives_it(climbed: Any) -> None:
    folder, rung, _ = climbed
    run_dir = folder / "climb" / rung / "seed-0"
    drawn = [json.loads(line) for line in command("sample", run_dir, "-n", 23, "--json").out.splitlines()]
    (folder / "drawn.txt").write_text("\n".join(word["word"] for word in drawn))
    each = command("eval", run_dir, folder / "drawn.txt", "--words").out.splitlines()[1:]
    assert [-float(line.split("\t")[0]) for line in each] == pytest.approx(
        [w["log_likelihood"] for w in drawn], abs=1e-3
    )


def test_a_model_of_the_stream_draws_its_own_first_character(climbed: Any) -> None:
    folder, rung, protocol = climbed
    run = load(folder / "climb" / rung / "seed-0")
    assert (run.sampled_firsts is None) == (rung == "stream" or protocol == "strict")


def test_the_rule_is_stored_and_runs_without_it_follow_it(climbed: Any) -> None:
    folder, rung, _ = climbed
    path = folder / "climb" / rung / "seed-0" / CONFIG
    values = json.loads(path.read_text())
    stored = values.pop("word_start")
    assert stored == load(path.parent).word_start.to_dict()
    path.write_text(json.dumps(values))  # as version 0.1.0 wrote it
    assert load(path.parent).word_start.to_dict() == stored
    path.write_text(json.dumps(values | {"word_start": {**stored, "end_fed": not stored["end_fed"]}}))
    with pytest.raises(UserError, match="word_start must be"):
        load(path.parent)
    path.write_text(json.dumps(values | {"word_start": stored}))


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_says_where_its_words_begin(name: str) -> None:
    for protocol in PROTOCOLS.values():
        start = WordStart.of(protocol, RUNGS[name].train)
        assert start.first_scored == protocol.start_token  # all rungs of a climb are scored on the same characters
        assert start.end_fed or not start.first_scored
        assert ("behind an END" in start.scored) == (start != protocol.word_start)


def test_what_counts_in_no_loss_is_left_out_on_both_engines(words: Any) -> None:
    """Against the same words scored whole."""
    from rungwise.model.transformer import Transformer

    start = WordStart.of(PROTOCOLS["article"], TrainConfig(batching="stream"))
    rung = RUNGS["stream"]
    model = Transformer(rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size))
    indices = np.arange(0, len(words), 7)
    for engine in ("native", "torch"):
        whole = score(model, Tape.of(words, indices, PROTOCOLS["strict"]), engine)
        left = score(model, Tape.of(words, indices, start), engine)
        assert left.nats == pytest.approx(whole.nats[whole.position > 0])
        assert (left.lengths == words.lengths[indices]).all()

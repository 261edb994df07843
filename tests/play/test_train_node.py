"""The page's training, without a page: the same lists, splits, losses, words and baselines as the command line's."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scripts.page_losses import TOLERANCE, allowed

from play_runs import made_up
from rungwise.config import Family, WordStart, get_protocol
from rungwise.data.batches import Tape
from rungwise.data.words import WordList, load, split
from rungwise.engine import native
from rungwise.engine.loop import models, train
from rungwise.engine.native_engine import NativeEngine
from rungwise.experiment.baselines import count
from rungwise.inference.sample import generate
from rungwise.inference.score import score
from rungwise.ladder import Rung
from rungwise.model.transformer import Transformer
from rungwise.play.trainable import TRAINED

NODE = shutil.which("node")
HERE = Path(__file__).parent
WASM = Path(native.__file__).parent / "engine.wasm"
STEPS = 60
PARTING = {name for name in TRAINED if allowed(name) > TOLERANCE}
"""Rungs whose runs part where a sum rounds otherwise, natively, too: page-losses.json has how far."""

pytestmark = [
    pytest.mark.skipif(not NODE, reason="needs node"),
    pytest.mark.skipif(native.why_not() is not None, reason="needs the native engine"),
]


def in_node(words: list[str], protocol: str = "article", name: str = "words.txt", **asked: Any) -> dict[str, Any]:
    data = base64.b64encode("\n".join(words).encode()).decode()
    given = {"wasm": str(WASM), "words": data, "name": name, "protocol": protocol, "jobs": [], **asked}
    done = subprocess.run(
        [str(NODE), str(HERE / "train_in_node.js")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def job(rung: Rung, steps: int, seed: int) -> dict[str, Any]:
    return {"model": rung.model.to_dict(), "train": rung.trained(steps).to_dict(), "seed": seed, "steps": steps}


def on_the_command_line(listed: WordList, protocol: str, rung: Rung, steps: int, seed: int) -> dict[str, Any]:
    rules = get_protocol(protocol)
    parts, config = split(listed, rules), rung.trained(steps)
    model_config = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    start = WordStart.of(rules, config)
    firsts = None if start.end_fed else listed.first_counts(parts.train)
    engine = NativeEngine(model_config, config, Tape.of(listed, parts.train, rules), (seed,))
    losses: list[np.ndarray] = []
    begun = dict(Transformer(model_config, seed).named_parameters())

    def words() -> list[str]:
        return [w.text for w in generate(models(engine, model_config, 1)[0], listed.vocabulary, 10, firsts, seed=seed)]

    first = words()
    train(engine, config, lambda _, block: losses.append(block[:, 0]))
    test = score(models(engine, model_config, 1)[0], Tape.of(listed, parts.test, start)).loss
    return {"losses": np.concatenate(losses), "first": first, "words": words(), "test": test, "begun": begun}


def compare(listed: WordList, protocol: str, rungs: list[Rung], steps: int, seed: int) -> float:
    found = in_node(list(listed), protocol, jobs=[job(rung, steps, seed) for rung in rungs])
    worst = 0.0
    for rung, ours in zip(rungs, found["runs"], strict=True):
        expected = on_the_command_line(listed, protocol, rung, steps, seed)
        off = float(np.abs(np.array(ours["losses"]) - expected["losses"]).max())
        most, begun = allowed(rung.name), expected["begun"]
        assert ours["layout"] == [[name, list(p.shape)] for name, p in begun.items()], rung.name
        weights = np.frombuffer(base64.b64decode(ours["weights"]), np.float32)
        given = np.concatenate([p.detach().numpy().ravel() for p in begun.values()])
        np.testing.assert_allclose(weights, given, rtol=0, atol=2e-6, err_msg=rung.name)
        assert off < most, rung.name
        assert abs(ours["test"] - expected["test"]) < most, rung.name
        assert ours["first"] == expected["first"], rung.name
        assert ours["words"] == expected["words"] or rung.name in PARTING, rung.name
        worst = max(worst, off)
    return worst


@pytest.mark.parametrize("protocol", ["article", "strict"])
@pytest.mark.parametrize("family", get_args(Family))
def test_every_rung_trains_as_on_the_command_line(family: str, protocol: str) -> None:
    rungs = [rung for rung in TRAINED.values() if rung.model.family == family]
    assert rungs
    compare(made_up(), protocol, rungs, STEPS, seed=3)


@pytest.mark.parametrize("family", get_args(Family))
def test_a_family_trains_with_every_other_part(family: str) -> None:
    """Parts that few rungs have: dropout, Muon, tied embeddings, heads narrower than the stream, a reach of its own."""
    parts = dict(n_layer=2, position="learned", norm="rmsnorm", mlp="swiglu", final_norm=True, tie_embeddings=True)
    narrow = {} if family in ("bow", "bigram") else dict(n_head=3, head_size=5)
    changes = parts | narrow | dict(family=family, reach=3, dropout=0.1, optimizer="muon")
    compare(made_up(), "strict", [Rung("own", "own", "own", "gelu", changes, "", "")], STEPS, seed=1)


@pytest.mark.parametrize("protocol", ["article", "makemore", "strict"])
def test_lists_are_split_and_counted_alike(protocol: str) -> None:
    listed = load("given-names")
    found = in_node(list(listed), protocol, parts=True, shown=True)
    parts = split(listed, get_protocol(protocol))
    assert found["characters"] == listed.vocabulary.characters
    for part in ("train", "validation", "test"):
        assert found["parts"][part] == getattr(parts, part).tolist()
    expected = [losses["test_loss"] for losses in count(listed, parts, get_protocol(protocol)).values()]
    assert found["kneserNey"] == pytest.approx(expected, abs=1e-9)

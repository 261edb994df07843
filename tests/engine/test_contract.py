"""Every engine meets one contract, and nobody asks which engine it has."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import rungwise
from conftest import make_words
from helpers import needs_compiler
from rungwise.config import EngineConfig, RunConfig, TrainConfig, get_protocol
from rungwise.data.batches import STEPS_A_BLOCK, Drawn, Tape, draw
from rungwise.data.words import split
from rungwise.engine.ddp import DistributedEngine
from rungwise.engine.loop import Engine
from rungwise.engine.select import choose_engine, make_engine
from rungwise.errors import UserError
from rungwise.ladder import RUNGS

ENGINES = ["torch", "distributed", pytest.param("native", marks=needs_compiler)]
SOURCE = Path(rungwise.__file__).parent


def engine(name: str, model, config: TrainConfig, tape: Tape, seeds: list[int]) -> Engine:
    if name == DistributedEngine.name:
        return DistributedEngine(model, config, Drawn(tape, config, seeds[0]), RunConfig(seed=seeds[0]), None)
    return make_engine(model, config, tape, seeds, EngineConfig(name, compile="off"))


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rung=st.sampled_from(sorted(RUNGS)),
    batch_size=st.integers(1, 6),
    stop=st.integers(1, 4),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_the_contract_of_an_engine(name, rung, batch_size, stop, seeds):
    """Names, shapes and types are as promised; from its state another engine of its kind goes on bit for bit; and it
    can be closed."""
    of = RUNGS[rung].train
    assume(name != DistributedEngine.name or (of.targets == "words" and not of.teachers))  # it learns from words alone
    words, protocol = make_words(), get_protocol("strict")
    model = RUNGS[rung].model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size)
    config = RUNGS[rung].train.replace(steps=6, batch_size=batch_size)
    tape = Tape.of(words, split(words, protocol).train, protocol)
    seeds = seeds[:1] if name == DistributedEngine.name else seeds
    first, other = (engine(name, model, config, tape, seeds) for _ in range(2))
    assert first.name.split()[0] == name
    assert first.compiled is False
    rates = [1e-3] * config.steps
    losses = [first.run(0, rates[:stop]), first.run(stop, rates[stop:])]
    assert [part.shape for part in losses] == [(stop, len(seeds)), (config.steps - stop, len(seeds))]
    assert all(np.isfinite(part).all() for part in losses)
    other.run(0, rates[:stop])
    state = {key: value.copy() for key, value in other.state().items()}
    assert {key.split("/")[0] for key in state} == {"param", "exp_avg", "exp_avg_sq"}
    assert all(value.dtype == np.float32 and len(value) == len(seeds) for value in state.values())
    third = engine(name, model, config, tape, seeds)
    third.load_state(state, stop)
    np.testing.assert_array_equal(third.run(stop, rates[stop:]), losses[1])
    drawn = np.mean([draw(tape, config, seed, 0)[1].sum() / STEPS_A_BLOCK for seed in range(20)])
    assert first.tokens_per_step == pytest.approx(drawn, rel=0.05)
    for one in (first, other, third):
        one.close()
        one.close()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nobody_asks_which_engine_it_has(path):
    """No isinstance of an engine, and no fact parsed from its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            assert "Engine" not in ast.unparse(node.args[1]), f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr in ("startswith", "endswith", "split", "partition"):
            assert not ast.unparse(node.value).endswith((".engine", "engine.name")), f"{path}:{node.lineno}"


def test_one_place_chooses_an_engine():
    chosen = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and "choose_engine" in node.name
    ]
    assert chosen == ["engine/select.py"]


def test_what_one_process_cannot_do_is_the_distributed_engine_s():
    assert choose_engine(EngineConfig("torch", "cpu"), ()) == "torch"
    assert choose_engine(EngineConfig(device="cpu"), ["a list in shards"]) == "distributed"
    assert choose_engine(EngineConfig("distributed", "cpu"), ()) == "distributed"
    for how, needs, line in (
        (EngineConfig("native"), ["accumulate=2"], "^Engine native cannot do accumulate=2; leave out --engine"),
        (EngineConfig(compile="on"), ["a list in shards"], "^Engine distributed does not compile its steps"),
        (EngineConfig("nativ"), ["a list in shards"], "did you mean 'native'"),
        (EngineConfig("distributed"), None, "^Unknown engine 'distributed'"),
    ):
        with pytest.raises(UserError, match=line):
            choose_engine(how, needs)

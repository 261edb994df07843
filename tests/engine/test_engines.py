import copy
import math
import re
from functools import partial
from typing import get_args
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_words
from helpers import ENGINES, every_engine_and_rung, needs_compiler
from rungwise.config import PROTOCOLS, EngineConfig, Family, TrainConfig, get_protocol
from rungwise.data.batches import Tape, draw
from rungwise.data.teacher import leave_one_out
from rungwise.data.words import split
from rungwise.engine import native
from rungwise.engine.device import choose_device
from rungwise.engine.loop import learning_rate, models, train
from rungwise.engine.select import choose_engine, describe_engine, make_engine, replicas_together
from rungwise.engine.torch_engine import TorchEngine
from rungwise.errors import UserError
from rungwise.ladder import RUNGS, get_rung
from rungwise.model.dropout import set_masks
from rungwise.model.transformer import Transformer


def setting(rung, protocol_name="strict", **changes):
    """The rung's configurations on a small list, and the list's training tape."""
    words, protocol = make_words(), get_protocol(protocol_name)
    model = rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size)
    return model, rung.train.replace(**changes), Tape.of(words, split(words, protocol).train, protocol)


class PlainMuon:
    """torch.optim.Muon for the matrices of the blocks, queries, keys and values, or gates, apart; torch's AdamW for
    the rest."""

    def __init__(self, model, config):
        found = [(name, p) for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2]
        self.matrices = [p for _, p in found]
        in_parts = re.compile(r"attention\.f\.(qkv|input|hidden)")
        self.n_parts = [len(p) // model.config.attention_width if in_parts.search(name) else 1 for name, p in found]
        split = zip(self.matrices, self.n_parts, strict=True)
        self.parts = [torch.nn.Parameter(part) for p, n in split for part in p.detach().chunk(n)]
        decay, betas = config.weight_decay, (config.beta1, config.beta2)
        muon = partial(torch.optim.Muon, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        others = [p for p in model.parameters() if not any(p is matrix for matrix in self.matrices)]
        adamw = torch.optim.AdamW(others, betas=betas, weight_decay=decay)
        self.optimisers = [adamw, muon(self.parts)] if self.parts else [adamw]

    def step(self, rate):
        split = zip(self.matrices, self.n_parts, strict=True)
        grads = [part for p, n in split for part in p.grad.chunk(n)]
        for part, grad in zip(self.parts, grads, strict=True):
            part.grad = grad.contiguous()
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate
            with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):  # in float32, as ours
                optimiser.step()


class PlainAdamW:
    def __init__(self, model, config):
        betas = config.beta1, config.beta2
        self.adamw = torch.optim.AdamW(model.parameters(), betas=betas, weight_decay=config.weight_decay)

    def step(self, rate):
        self.adamw.param_groups[0]["lr"] = rate
        self.adamw.step()


def plain_loop(model_config, config, tape, seed):
    """One replica as anybody would write it: torch.optim, clip_grad_norm_, a word at a time, no padding."""
    model = Transformer(model_config, seed).train()
    optimiser = {"adamw": PlainAdamW, "muon": PlainMuon}[config.optimizer](model, config)
    weight = config.teacher_weight if config.targets == "smoothed" else 0
    teacher = leave_one_out(tape, model_config.vocab_size) if weight else None
    drawn, losses = draw(tape, config, seed, 0), []
    for step in range(config.steps):
        total, n = torch.zeros(()), 0
        for b in range(config.batch_size):
            start, length = (int(x[step, b]) for x in drawn)
            ids = torch.from_numpy(tape.tokens[start : start + length + 1].astype(np.int64))
            set_masks(model, seed, step, ids[None, :-1])
            mix = (1 - weight) * F.one_hot(ids[1:], model_config.vocab_size)
            if teacher:
                mix = mix + weight * torch.from_numpy(teacher.rows[teacher.at[start + 1 : start + length + 1]])
            total = total + F.cross_entropy(model(ids[None, :-1])[0], mix.float(), reduction="sum")
            n += length
        loss = total / n
        model.zero_grad()
        loss.backward()
        if config.grad_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimiser.step(learning_rate(config, step))
        losses.append(loss.item())
    return model, losses


@every_engine_and_rung
def test_an_engine_takes_the_steps_of_a_plain_loop(rung, engine):
    """Masked loss over padded batches, stacked replicas, native arithmetic: all as a loop over unpadded words."""
    assert_as_a_plain_loop(*setting(rung, steps=3, batch_size=5, warmup_steps=2), engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["2-heads-no-projection", "final", "swiglu"])
@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "muon"},
        {"targets": "smoothed", "teacher_weight": 0.3},
        {"optimizer": "muon", "targets": "smoothed"},
    ],
    ids=["muon", "smoothed", "both"],
)
def test_so_does_each_part_of_the_recipe(engine, protocol, name, recipe):
    """Muon, and targets mixed with a teacher, whatever the matrices and however words begin."""
    changes = {"steps": 4, "batch_size": 5, "warmup_steps": 2, "grad_clip": 0.5, "weight_decay": 0.1}
    assert_as_a_plain_loop(*setting(get_rung(name), protocol, **changes, **recipe), engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", get_args(Family))
def test_so_does_each_family(engine, family):
    """Muon takes each gate for a matrix of its own."""
    rung = next(rung for rung in RUNGS.values() if rung.model.family == family)
    changes = {"steps": 4, "batch_size": 5, "warmup_steps": 2, "optimizer": "muon", "targets": "smoothed"}
    assert_as_a_plain_loop(*setting(rung, **changes), engine)


def assert_as_a_plain_loop(model_config, config, tape, engine):
    expected, expected_losses = plain_loop(model_config, config, tape, seed=7)
    runner, losses = make_engine(model_config, config, tape, [7], EngineConfig(engine)), []
    train(runner, config, lambda step, block: losses.extend(block[:, 0]))
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-5)
    for name, value in models(runner, model_config, 1)[0].state_dict().items():
        # Adam divides by the gradient's own size: where that is next to nothing, a rounding error moves a weight.
        difference = (value - expected.state_dict()[name]).abs()
        assert difference.mean() < 2e-5, name
        assert difference.max() < 3.1 * config.learning_rate, name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("recipe", [{}, {"optimizer": "muon"}], ids=["adamw", "muon"])
@pytest.mark.parametrize("name", ["baseline", "4-layers", "final", "stream"])
def test_four_replicas_are_four_single_runs(name, engine, recipe):
    model_config, config, tape = setting(get_rung(name), steps=4, batch_size=5, **recipe)
    together = make_engine(model_config, config, tape, [3, 1, 4, 5], EngineConfig(engine))
    train(together, config)
    for r, seed in enumerate([3, 1, 4, 5]):
        alone = make_engine(model_config, config, tape, [seed], EngineConfig(engine))
        train(alone, config)
        for key, value in alone.state().items():
            if key.startswith("param/"):
                assert np.abs(value[0] - together.state()[key][r]).mean() < 1e-5, key


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["gelu", "final"])
def test_same_seed_same_bits_and_another_seed_others(name, engine):
    model_config, config, tape = setting(get_rung(name), steps=3, batch_size=5)
    states = []
    for seed in (2, 2, 3):
        runner = make_engine(model_config, config, tape, [seed], EngineConfig(engine))
        train(runner, config)
        states.append(runner.state())
    assert all((states[0][key] == states[1][key]).all() for key in states[0])
    assert any((states[0][key] != states[2][key]).any() for key in states[0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stop", [1, 255, 256, 257])
@pytest.mark.parametrize("recipe", [{}, {"optimizer": "muon", "targets": "smoothed"}], ids=["article", "recipe"])
def test_going_on_from_a_state_changes_nothing(engine, stop, recipe):
    """Bit for bit, wherever in a block it stopped, dropout and all."""
    model_config, config, tape = setting(get_rung("final"), steps=259, batch_size=2, **recipe)
    model_config = model_config.replace(n_layer=1, n_embd=8, n_head=2)
    whole = make_engine(model_config, config, tape, [0], EngineConfig(engine))
    train(whole, config)
    begun = make_engine(model_config, config, tape, [0], EngineConfig(engine))
    for first in range(0, stop, 256):
        begun.run(first, [learning_rate(config, s) for s in range(first, min(first + 256, stop))])
    state = copy.deepcopy(begun.state())
    resumed = make_engine(model_config, config, tape, [0], EngineConfig(engine))
    resumed.load_state(state, stop)
    train(resumed, config, first_step=stop)
    expected = whole.state()
    assert all((value == expected[key]).all() for key, value in resumed.state().items())


@needs_compiler
@pytest.mark.parametrize("name", ["baseline", "final", "recipe-smoothed"])
def test_a_run_in_threads_is_the_same_run(name):
    """In a given number, in one, and where the engine finds out by itself what is faster."""
    model_config, config, tape = setting(get_rung(name), steps=40, batch_size=9)
    states = []
    for threads in (1, 3, 0):
        runner = make_engine(model_config, config, tape, [2, 5], EngineConfig("native"), threads=threads)
        for first in range(0, 40, 8):
            runner.run(first, [1e-3] * 8)
        states.append(runner.state())
    for state in states[1:]:
        assert all((state[key] == value).all() for key, value in states[0].items())


@needs_compiler
@pytest.mark.parametrize("rung", ["baseline", "gelu", "final"])
def test_native_bf16_trains_as_fp32_does(rung):
    """At a rate at which runs whose weights differ in the fourth digit stay together."""
    model_config, config, tape = setting(get_rung(rung), steps=60)
    if not native.load().has_bf16:
        pytest.skip("this CPU has no bf16 products")
    exact, rounded = (
        make_engine(model_config, config, tape, [3, 1], EngineConfig("native", precision=precision))
        for precision in ("fp32", "bf16")
    )
    assert (exact.name, rounded.name) == ("native", "native bf16")
    found = [engine.run(0, [3e-3] * 60) for engine in (exact, rounded)]
    np.testing.assert_allclose(found[1], found[0], rtol=2e-3)
    assert (found[0] != found[1]).any()
    assert abs(found[1][-20:].mean() - found[0][-20:].mean()) < 0.0005  # nats


def test_schedule_by_hand():
    config = TrainConfig(steps=12, warmup_steps=4, learning_rate=0.8, min_learning_rate=0.2, schedule="cosine")
    rates = [learning_rate(config, step) for step in range(12)]
    # Warm-up by quarters of the peak; then 8 steps of 0.2 + 0.6 (1 + cos(pi k / 8)) / 2.
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert rates[8] == pytest.approx(0.5)
    assert rates[6] == pytest.approx(0.2 + 0.3 * (1 + math.sqrt(0.5)))
    assert rates[11] == pytest.approx(0.2 + 0.3 * (1 + math.cos(math.pi * 7 / 8)))
    assert {learning_rate(config.replace(schedule="constant"), step) for step in range(12)} == {0.8}
    assert all(learning_rate(config.replace(warmup_steps=99), step) > 0 for step in range(12))


def test_a_diverging_run_ends_with_one_line():
    model_config, config, tape = setting(get_rung("4-layers-no-residual"), steps=300, learning_rate=9.9)
    runner = TorchEngine(model_config, config, tape, [0])
    with torch.no_grad():
        runner.params["head.bias"][0] = float("inf")
    with pytest.raises(UserError, match="diverged"):
        train(runner, config)


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_a_window_beyond_the_learned_positions(engine):
    model_config, config, tape = setting(get_rung("stream"))
    learned = model_config.replace(position="learned", block_size=config.window - 1)
    with pytest.raises(UserError, match=f"^A window of {config.window} is longer than the {config.window - 1} places"):
        make_engine(learned, config, tape, [0], EngineConfig(engine))


@pytest.mark.parametrize("fields", [{"n_embd": 10**6}, {"n_layer": 1_000, "n_embd": 10_000}])
def test_what_no_memory_holds_is_refused_before_it_is_taken(fields):
    model_config, config, tape = setting(get_rung("final"))
    with pytest.raises(UserError, match=r"^Training would take [\d,]+ GiB of memory and more; this machine has \d+\."):
        make_engine(model_config.replace(**fields), config, tape, [0])
    with pytest.raises(UserError, match=r"^Training would take"):
        make_engine(model_config, config.replace(batch_size=10**10), tape, [0])


def test_replicas_share_a_program_as_far_as_memory_goes():
    model, config, _ = setting(get_rung("final"))
    assert replicas_together(EngineConfig("native"), model, config, 2) == 1
    torch_ = EngineConfig("torch", "cpu")
    many, few = (replicas_together(torch_, model.replace(n_embd=n), config, 2) for n in (16, 64))
    assert many > 2 * few > 2
    assert replicas_together(torch_, model, config, 2 * few) == 1 < replicas_together(torch_, model, config, 1)
    assert replicas_together(torch_, model.replace(n_embd=40_000), config, 2) == 1


def test_engines_devices_and_precisions():
    assert choose_engine(EngineConfig("torch")) == "torch"
    for fields in ({"precision": "bf16"}, {"compile": "on"}):
        assert choose_engine(EngineConfig(**fields)) == "torch"
    assert choose_engine(EngineConfig(device="cpu", compile="off")) == choose_engine(EngineConfig())
    assert describe_engine(EngineConfig("torch", "cpu", "bf16")) == "torch on cpu, bf16"
    for fields, line in (
        ({"engine": "nativ"}, "did you mean 'native'"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"precision": "fp16"}, "Unknown precision 'fp16'; did you mean 'bf16'"),
        ({"compile": "yes"}, "Unknown compile 'yes'"),
        ({"engine": "native", "device": "cuda"}, "leave device cuda out"),
        ({"engine": "native", "compile": "on"}, "leave compile on out"),
    ):
        with pytest.raises(UserError, match=line):
            choose_engine(EngineConfig(**fields))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device"):
            choose_device("cuda")
        with pytest.raises(UserError, match="no CUDA device"):
            choose_engine(EngineConfig(device="cuda"))


@pytest.mark.parametrize("name", ["baseline", "gelu"])
def test_bf16_stays_near_fp32(name):
    """Products of 8 significant bits move a loss by less than a hundredth, and it falls as far."""
    model_config, config, tape = setting(get_rung(name), steps=60)
    exact, rounded = (
        make_engine(model_config, config, tape, [3, 1], EngineConfig("torch", "cpu", precision))
        for precision in ("fp32", "bf16")
    )
    assert exact.name == "torch"
    assert rounded.name == "torch bf16"
    found = [engine.run(0, [3e-3] * 60) for engine in (exact, rounded)]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-2)
    assert (found[0] != found[1]).any()  # it does round
    fall = [losses[:5].mean() - losses[-5:].mean() for losses in found]
    assert fall[0] > 0.1
    assert abs(fall[1] - fall[0]) < 0.25 * fall[0]
    assert all(value.dtype == np.float32 for value in rounded.state().values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["gelu", "final"])
def test_a_gpu_gives_the_same_losses(name):
    model_config, config, tape = setting(get_rung(name), steps=20)
    here, there = (
        make_engine(model_config, config, tape, [3, 1], EngineConfig("torch", device)) for device in ("cpu", "cuda")
    )
    rates = [1e-3] * 20
    np.testing.assert_allclose(there.run(0, rates), here.run(0, rates), rtol=1e-3)


def test_seeds_meet_the_same_batches_on_every_rung():
    _, config, tape = setting(get_rung("baseline"))
    _, other, _ = setting(get_rung("final"))
    assert (draw(tape, config, 1, 0)[0] == draw(tape, other, 1, 0)[0]).all()

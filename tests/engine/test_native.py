"""The native engine against the PyTorch model and torch.optim, over every component and their combinations."""

import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rungwise.config import EngineConfig, Family, ModelConfig, TrainConfig
from rungwise.data.words import PAD
from rungwise.engine import native
from rungwise.engine.select import choose_engine
from rungwise.errors import UserError
from rungwise.ladder import RUNGS
from rungwise.model.cost import shapes
from rungwise.model.dropout import set_masks
from rungwise.model.transformer import Transformer

pytestmark = pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))

PLAIN = {"projection": False, "residual": False, "mlp": "none", "norm": "none", "position": "none", "dropout": 0.0}
SMALL = ModelConfig(vocab_size=11, n_layer=2, n_head=2, n_embd=16, dropout=0.0)
CONFIGS = {
    # the article's ladder in small: each with one thing more
    "one head": ModelConfig(11, n_layer=1, n_head=1, n_embd=32, head_size=16, **PLAIN),
    "heads": ModelConfig(11, n_layer=1, n_head=2, n_embd=32, head_size=16, **PLAIN),
    "projection": ModelConfig(11, n_layer=1, n_head=2, n_embd=32, **PLAIN | {"projection": True}),
    "residual": ModelConfig(11, n_layer=2, n_head=2, n_embd=32, **PLAIN | {"residual": True}),
    "relu": ModelConfig(11, n_layer=2, n_head=2, n_embd=32, **PLAIN | {"projection": True, "mlp": "relu"}),
    "norm": SMALL.replace(position="none", mlp="relu"),
    "rope": SMALL,
    "dropout": SMALL.replace(dropout=0.2),
    # combinations, and widths that fill no vector
    "article": ModelConfig(),
    "dropout alone": ModelConfig(11, n_layer=1, n_head=2, n_embd=32, head_size=13, **PLAIN | {"dropout": 0.3}),
    "norm without residual": SMALL.replace(residual=False, dropout=0.1, n_layer=3),
    "norm without MLP": SMALL.replace(mlp="none", n_layer=3),
    "no norm": SMALL.replace(norm="none", dropout=0.5),
    "no projection": SMALL.replace(projection=False, dropout=0.1),
    "primes": ModelConfig(31, n_layer=3, n_head=5, n_embd=37, head_size=7, mlp_ratio=3, position="none"),
    "primes and rope": ModelConfig(29, n_layer=2, n_head=3, n_embd=41, head_size=14, mlp_ratio=5, dropout=0.1),
    "narrow": ModelConfig(3, n_layer=2, n_head=1, n_embd=4, mlp_ratio=1),
    "one wide": ModelConfig(7, n_layer=2, n_head=1, n_embd=1, position="none", mlp="relu", mlp_ratio=2),
    "wide heads": ModelConfig(13, n_layer=2, n_head=2, n_embd=24, head_size=40, dropout=0.0),
    "many characters": ModelConfig(2003, n_layer=1, n_head=2, n_embd=20, dropout=0.1),
    # beyond the article
    "final norm": SMALL.replace(final_norm=True),
    "no head bias": SMALL.replace(head_bias=False),
    "RMSNorm": SMALL.replace(norm="rmsnorm", final_norm=True, n_embd=22, head_size=10, n_layer=3),
    "SwiGLU": SMALL.replace(mlp="swiglu", n_embd=22, head_size=10, n_layer=3, dropout=0.1),
    "learned positions": SMALL.replace(position="learned", block_size=71, n_embd=19, head_size=7, dropout=0.1),
    "learned positions without residual": SMALL.replace(position="learned", block_size=71, residual=False),
    "tied": SMALL.replace(tie_embeddings=True, n_embd=18, head_size=6),
    "all of it": ModelConfig(
        *(29, 71, 3, 5, 37, 7),
        mlp="swiglu",
        mlp_ratio=3,
        norm="rmsnorm",
        final_norm=True,
        position="learned",
        head_bias=False,
        tie_embeddings=True,
        dropout=0.1,
    ),
}
for _family in get_args(Family)[1:]:
    _width = {} if _family in ("bow", "bigram") else {"head_size": 7}
    CONFIGS |= {
        f"{_family} alone": ModelConfig(11, n_layer=1, n_head=1, n_embd=19, family=_family, **_width, **PLAIN),
        f"{_family} in depth": CONFIGS["all of it"].replace(n_head=3, n_embd=21, family=_family, **_width, reach=3),
    }
RUNG_MODELS = {rung.model: f"rung {rung.name}" for rung in RUNGS.values()}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
STEP = 7


@pytest.fixture(scope="module")
def engine():
    return native.load()


def _levels():
    """Instruction levels that this machine has: sums are cut and rounded otherwise on each (WIDTH in matrix.h, FMA)."""
    with contextlib.suppress(OSError):
        flags = set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
        needs = {"v2": {"sse4_2", "popcnt"}, "v3": {"avx2", "fma", "bmi2"}, "v4": {"avx512f", "avx512bw", "avx512vl"}}
        return [level for level, flag in needs.items() if flag <= flags]
    return []


@pytest.fixture(scope="module", params=_levels())
def engine_of_level(request):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CXXFLAGS", f"-march=x86-64-{request.param}")
        if (reason := native.why_not()) and "march" in reason:
            pytest.skip(reason)  # an old compiler does not know the level by this name
        return native.load()


def model_of(config, seed=0):
    """A model whose norms, too, are not at their beginning."""
    model = Transformer(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm." in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model


def parameters_of(model):
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def fresh(model):
    """One replica's state before training, as the engine trains it in place."""
    parameters = parameters_of(model)
    return {f"{kind}/{name}": x * (kind == "param") for kind in native.KINDS for name, x in parameters.items()}


def draw_words(config, n, longest=17, seed=0):
    """Packed tokens and lengths of n words from a few letters, so that many begin alike and some are the same."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, size=n)
    letters = np.concatenate([[1], rng.integers(1, config.vocab_size, size=5)])
    words = [np.concatenate([[1], rng.choice(letters, size=length)]) for length in lengths]
    words[-1], lengths[-1] = words[0], lengths[0]
    inputs = np.concatenate([word[:-1] for word in words]).astype(np.int32)
    targets = np.concatenate([word[1:] for word in words]).astype(np.int32)
    return inputs, targets, lengths.astype(np.int32)


def pad(packed, lengths):
    """(B, T) of packed tokens, PAD behind each sequence."""
    padded = torch.full((len(lengths), int(lengths.max())), PAD)
    padded[torch.arange(padded.shape[1]) < torch.as_tensor(lengths)[:, None]] = torch.as_tensor(packed).long()
    return padded


def oracle_loss(model, inputs, targets, lengths, seed=0, step=None):
    """PyTorch's loss on the padded batch."""
    tokens, following = pad(inputs, lengths), pad(targets, lengths)
    model.train(step is not None)
    if step is not None:
        set_masks(model, seed, step, tokens)
    return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten(), ignore_index=PAD)


ROUNDING, CANCELLED = 2e-5, 1e-6


def assert_rounded(ours, true, size, name):
    """Float32 sums are off by some roundings of their terms (6e-8 each). How large these are, its norm tells, and where
    they cancel, that of all arrays of its kind (`size`); one element alone, which may be near 0, does not."""
    error = np.linalg.norm(np.asarray(ours, dtype=np.float64) - true)
    assert error <= ROUNDING * np.linalg.norm(true) + CANCELLED * size, f"{name}: {error} of {np.linalg.norm(true)}"


def norm(arrays):
    return np.sqrt(sum(np.square(array).sum() for array in arrays.values()))


def gradients_of(model):
    return {name: parameter.grad.double().numpy() for name, parameter in model.named_parameters()}


@every_config
@pytest.mark.parametrize(("training", "longest"), [(True, 17), (True, 70), (False, 17)])
def test_loss_and_every_gradient_are_those_of_pytorch(engine, config, training, longest):
    check_gradients(engine, config, training, longest)


@pytest.mark.parametrize("config", RUNG_MODELS, ids=RUNG_MODELS.values())
def test_loss_and_every_gradient_are_those_of_pytorch_on_every_rung(engine, config):
    check_gradients(engine, config, training=True, longest=15)


@every_config
def test_loss_and_every_gradient_are_those_of_pytorch_on_every_instruction_level(engine_of_level, config):
    check_gradients(engine_of_level, config, training=True, longest=17)


def check_gradients(engine, config, training, longest):
    batch = draw_words(config, 13, longest)
    step = STEP if training else None
    model = model_of(config)
    loss, gradients = engine.loss_and_gradients(config, parameters_of(model), *batch, dropout_seed=3, step=step)

    single = oracle_loss(model, *batch, seed=3, step=step)
    single.backward()
    singles = gradients_of(model)
    model.zero_grad()
    exact = oracle_loss(model.double(), *batch, seed=3, step=step)
    exact.backward()
    exacts = gradients_of(model)

    assert loss == pytest.approx(single.item(), rel=1e-5)
    assert gradients.keys() == exacts.keys()
    size = norm(exacts)
    pytorchs = max(np.abs(singles[name] - true).max() for name, true in exacts.items())
    for name, true in exacts.items():
        assert_rounded(gradients[name], true, size, name)
        assert np.abs(gradients[name] - true).max() <= 4 * pytorchs + 1e-7 * size, name


@pytest.mark.parametrize("clip", [0.0, 0.05, 100.0])
@pytest.mark.parametrize("name", ["article", "primes", "one head"])
def test_steps_are_those_of_adamw_after_clipping(engine, name, clip):
    check_steps(engine, CONFIGS[name], clip)


def test_steps_are_those_of_adamw_on_every_instruction_level(engine_of_level):
    check_steps(engine_of_level, CONFIGS["article"], 0.0)


def check_steps(engine, config, clip):
    """Against torch.optim.AdamW in float64. Adam divides by a gradient's own size, so rounding decides the step of one
    near 0: each step may be off by what the gradients of its array may be off by, over that size."""
    train = TrainConfig(grad_clip=clip, weight_decay=0.1, beta1=0.8, beta2=0.95)
    rates, batch = [1e-3, 3e-3, 2e-3, 1e-3], 5
    inputs, targets, lengths = draw_words(config, len(rates) * batch)
    lengths = lengths.reshape(-1, batch)
    model = model_of(config)
    before, state = parameters_of(model), fresh(model)
    losses = engine.train_block(config, train, state, inputs, targets, lengths, 0, 3, rates)

    model.double()
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.8, 0.95), weight_decay=0.1)
    slack = {name: np.zeros(value.shape) for name, value in before.items()}
    ends = np.cumsum(lengths.sum(1))
    for step, (start, end) in enumerate(zip(ends - np.diff(ends, prepend=0), ends, strict=True)):
        optimiser.param_groups[0]["lr"] = rates[step]
        optimiser.zero_grad()
        loss = oracle_loss(model, inputs[start:end], targets[start:end], lengths[step], seed=3, step=step)
        loss.backward()
        assert losses[step] == pytest.approx(loss.item(), rel=1e-5)
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        gradients = gradients_of(model)
        size = norm(gradients)
        optimiser.step()
        for name, parameter in model.named_parameters():
            second = optimiser.state[parameter]["exp_avg_sq"].numpy() / (1 - 0.95 ** (step + 1))
            off = ROUNDING * np.abs(gradients[name]).max() + CANCELLED * size
            slack[name] += rates[step] * 3 * off / (np.sqrt(second) + 1e-8)
    moments = {name: optimiser.state[parameter] for name, parameter in model.named_parameters()}
    for kind in ("exp_avg", "exp_avg_sq"):
        true = {name: of[kind].numpy() for name, of in moments.items()}
        for name, value in true.items():
            assert_rounded(state[f"{kind}/{name}"], value, norm(true), f"{kind} of {name}")
    for name, parameter in model.named_parameters():
        true = parameter.detach().numpy()
        error = np.abs(state[f"param/{name}"] - true)
        assert (error <= slack[name] + 4 * len(rates) * 6e-8 * np.abs(true)).all(), name
    allowed = np.concatenate([value.ravel() for value in slack.values()])
    assert np.median(allowed) < 0.03 * max(rates)  # small beside a step


def test_two_blocks_of_steps_are_one_long_block(engine):
    config, train, batch = CONFIGS["dropout"], TrainConfig(), 5
    inputs, targets, lengths = draw_words(config, 6 * batch)
    lengths = lengths.reshape(6, batch)
    rates = np.linspace(1e-3, 2e-3, 6)
    whole, halves = (fresh(model_of(config)) for _ in range(2))
    expected = engine.train_block(config, train, whole, inputs, targets, lengths, 0, 3, rates)
    cut = lengths[:2].sum()
    losses = [
        engine.train_block(config, train, halves, inputs[:cut], targets[:cut], lengths[:2], 0, 3, rates[:2]),
        engine.train_block(config, train, halves, inputs[cut:], targets[cut:], lengths[2:], 2, 3, rates[2:]),
    ]
    np.testing.assert_array_equal(np.concatenate(losses), expected)
    for key, value in whole.items():
        np.testing.assert_array_equal(halves[key], value)


@every_config
@pytest.mark.parametrize("longest", [17, 70])
def test_score_is_pytorchs_log_likelihood_of_every_token(engine, config, longest):
    inputs, targets, lengths = draw_words(config, 300 if longest == 17 else 20, longest)
    model = model_of(config).eval()
    nats, _ = engine.score(config, parameters_of(model), inputs, targets, lengths)
    with torch.no_grad():
        logits = model.double()(pad(inputs, lengths))
    inside = torch.arange(logits.shape[1]) < torch.as_tensor(lengths)[:, None]
    expected = F.cross_entropy(logits[inside], torch.as_tensor(targets).long(), reduction="none")
    np.testing.assert_allclose(nats, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_score_does_not_depend_on_the_company_but_for_rounding(engine):
    config = CONFIGS["primes"]
    inputs, targets, lengths = draw_words(config, 50)
    parameters = parameters_of(model_of(config))
    together, _ = engine.score(config, parameters, inputs, targets, lengths)
    ends = np.cumsum(lengths)
    alone = [
        engine.score(config, parameters, inputs[end - n : end], targets[end - n : end], lengths[i : i + 1])[0]
        for i, (n, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=1e-6, atol=1e-6)


def test_threads_and_repetition_give_the_same_bits(engine):
    config, train, batch, steps = CONFIGS["article"], TrainConfig(), 8, 12
    inputs, targets, lengths = draw_words(config, steps * batch)

    def train_seed(seed):
        state = fresh(model_of(config, seed))
        rates = np.full(steps, 1e-3)
        losses = engine.train_block(
            config, train, state, inputs, targets, lengths.reshape(steps, batch), 0, seed, rates
        )
        return losses, state

    alone = [train_seed(seed) for seed in (1, 2, 1)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(train_seed, (1, 2, 1)))
    assert (alone[0][0] != alone[1][0]).any()
    for (losses, state), (other_losses, other_state) in zip([*alone, alone[0]], [*at_once, alone[2]], strict=True):
        np.testing.assert_array_equal(losses, other_losses)
        for key, value in state.items():
            np.testing.assert_array_equal(value, other_state[key])


def train_and_score(engine, config, threads, bf16=False, taught=False):
    """Losses, state and likelihoods after some steps in so many threads; taught: by Muon, on smoothed targets."""
    train, batch, steps = TrainConfig(grad_clip=0.5, weight_decay=0.1, optimizer="muon" if taught else "adamw"), 9, 4
    inputs, targets, lengths = draw_words(config, steps * batch, 15)
    state, rates = fresh(model_of(config)), np.linspace(1e-3, 3e-3, steps)
    rng, teacher = np.random.default_rng(5), None
    if taught:
        rows = rng.dirichlet(np.full(config.vocab_size, 0.3), size=5).astype(np.float32)
        teacher = rows, rng.integers(5, size=len(targets)), 0.3
    losses = engine.train_block(
        config, train, state, inputs, targets, lengths.reshape(steps, batch), 0, 3, rates, threads, bf16, teacher
    )
    parameters = {name: state[f"param/{name}"] for name in shapes(config)}
    nats, correct = engine.score(config, parameters, *draw_words(config, 400, 15, seed=1), threads)
    return {"losses": losses, "nats": nats, "correct": correct, **state}


@pytest.mark.parametrize("config", [*RUNG_MODELS, *CONFIGS.values()], ids=[*RUNG_MODELS.values(), *CONFIGS])
@pytest.mark.parametrize("taught", [False, True], ids=["adamw", "muon-smoothed"])
def test_any_number_of_threads_gives_the_same_bits(engine, config, taught):
    """More than cores, more than rows, heads or columns, too."""
    alone = train_and_score(engine, config, 1, taught=taught)
    for threads in (2, 3, 8):
        for name, value in train_and_score(engine, config, threads, taught=taught).items():
            np.testing.assert_array_equal(value, alone[name], err_msg=f"{name} in {threads} threads")


@every_config
def test_gradients_in_threads_are_those_of_one(engine, config):
    batch, parameters = draw_words(config, 13, 70), parameters_of(model_of(config))
    alone, together = (engine.loss_and_gradients(config, parameters, *batch, 3, STEP, threads) for threads in (1, 5))
    assert alone[0] == together[0]
    for name, value in alone[1].items():
        np.testing.assert_array_equal(together[1][name], value, err_msg=name)


@pytest.mark.parametrize("config", RUNG_MODELS, ids=RUNG_MODELS.values())
def test_bf16_gradients_are_near_and_the_same_in_threads(engine, config):
    """A product's operands lose at most 2^-9 of each number: the whole gradient moves by about as much, its norm
    relative; no more than a tenth where the model is deep and has no residual connections."""
    if not engine.has_bf16:
        pytest.skip("this CPU has no bf16 products")
    batch, parameters = draw_words(config, 64, 15), parameters_of(model_of(config))
    true_loss, true = engine.loss_and_gradients(config, parameters, *batch)
    loss, gradients = engine.loss_and_gradients(config, parameters, *batch, bf16=True)
    assert 0 < abs(loss - true_loss) < 2e-3
    off = norm({name: gradients[name] - value for name, value in true.items()}) / norm(true)
    assert 1e-5 < off < 0.1
    rounded = train_and_score(engine, config, 1, bf16=True)
    for name, value in train_and_score(engine, config, 3, bf16=True).items():
        np.testing.assert_array_equal(value, rounded[name], err_msg=name)


def test_without_bf16_it_is_refused(engine, monkeypatch):
    monkeypatch.setattr(engine, "has_bf16", False)
    with pytest.raises(ValueError, match="no bf16"):
        engine.loss_and_gradients(SMALL, parameters_of(model_of(SMALL)), *draw_words(SMALL, 5), bf16=True)
    with pytest.raises(UserError, match=r"^This CPU has no bf16 products .*: leave precision bf16 out"):
        choose_engine(EngineConfig("native", precision="bf16"))


def test_a_diverged_run_shows_as_nan(engine):
    parameters = parameters_of(model_of(SMALL))
    parameters["blocks.0.mlp.f.up.weight"][0, 0] = np.nan
    batch = draw_words(SMALL, 5)
    assert np.isnan(engine.loss_and_gradients(SMALL, parameters, *batch)[0])
    assert np.isnan(engine.score(SMALL, parameters, *batch)[0]).all()


@every_config
def test_shapes_are_the_models(config):
    expected = {name: tuple(parameter.shape) for name, parameter in Transformer(config).named_parameters()}
    assert list(shapes(config).items()) == list(expected.items())


@pytest.mark.parametrize("spoil", ["name", "shape", "dtype", "order", "token", "length", "target"])
def test_what_does_not_fit_is_refused(engine, spoil):
    config = SMALL
    parameters = parameters_of(model_of(config))
    inputs, targets, lengths = draw_words(config, 5)
    name = "blocks.0.attention.f.qkv.weight"
    if spoil == "name":
        parameters["other"] = parameters.pop(name)
    elif spoil == "shape":
        parameters[name] = parameters[name][:-1]
    elif spoil == "dtype":
        parameters[name] = parameters[name].astype(np.float64)
    elif spoil == "order":
        parameters[name] = np.asfortranarray(parameters[name])
    elif spoil == "token":
        inputs[3] = config.vocab_size
    elif spoil == "target":
        targets[3] = -1
    else:
        lengths[0] += 1
    with pytest.raises(ValueError):
        engine.score(config, parameters, inputs, targets, lengths)


def test_it_is_built_in_an_empty_cache_and_by_several_at_once(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "RUNGWISE_NATIVE": "build"}
    command = [sys.executable, "-c", "from rungwise.engine import native; print(native.why_not())"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == ["None", "None"]
    made = [path.name for path in (tmp_path / "rungwise").iterdir()]
    assert len(made) == 1
    assert made[0].endswith(".so")


def test_why_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in (native.why_not() or "")
    with pytest.raises(native.NoEngine, match="no-such-compiler"):
        native.load()
    monkeypatch.setenv("CXX", shutil.which("false") or "false")
    assert "failed" in (native.why_not() or "")
    monkeypatch.setenv("RUNGWISE_NATIVE", "0")
    assert "RUNGWISE_NATIVE=0" in (native.why_not() or "")
    assert "\n" not in (native.why_not() or "")

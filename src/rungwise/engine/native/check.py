"""Does a library compute what the PyTorch model does? Asked once on a machine, before it is used (build.py).

The user's flags, a compiler or a processor may change what comes out. So small models that hold every component of
ModelConfig are run by both: loss and gradients, with dropout and without, each token's likelihood, two steps of AdamW,
one of Muon with smoothed targets, and the logits of a tree of prefixes. The library runs in a process of its own, so
that one which crashes, hangs or changes the processor's rounding harms nobody. PyTorch is imported when a library is
checked, not before.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rungwise.config import Family, ModelConfig, TrainConfig
from rungwise.engine.native.library import KINDS, Library
from rungwise.model.cost import hidden_matrices, shapes

CASES = (  # sizes are mostly primes, some of them wider than a vector or a tile
    ModelConfig(29, 17, 2, 3, 37, 14, mlp_ratio=3, dropout=0.3),
    ModelConfig(
        31,
        17,
        2,
        2,
        23,
        16,
        mlp="swiglu",
        norm="rmsnorm",
        final_norm=True,
        tie_embeddings=True,
        dropout=0.2,
        attention_dropout=0.0,
    ),
    ModelConfig(71, 23, 2, 1, 19, 17, mlp="relu", norm="none", position="learned", head_bias=False, dropout=0.1),
    ModelConfig(19, 17, 2, 2, 13, 5, residual=False, position="learned", tie_embeddings=True, head_bias=False),
    ModelConfig(
        13, 17, 2, 3, 21, projection=False, final_norm=True, position="none", dropout=0.0, attention_dropout=0.3
    ),
    ModelConfig(11, 17, 2, 2, 20, projection=False, residual=False, mlp="none", norm="rmsnorm", dropout=0.4),
    ModelConfig(
        7, 17, 1, 1, 11, 5, projection=False, residual=False, mlp="none", norm="none", position="none", dropout=0.0
    ),
    *(  # of the other families, one that is little more than its cell, and one with everything around it
        ModelConfig(
            *(13, 17, 2, 1, 19),
            family=family,
            dropout=0.2 if rich else 0.0,
            norm="layernorm" if rich else "none",
            mlp="gelu" if rich else "none",
            reach=4,
            final_norm=rich,
            projection=rich,
            residual=rich,
            position="learned" if rich else "none",
        )
        for family in get_args(Family)[1:]
        for rich in (False, True)
    ),
)
TRAIN = TrainConfig(grad_clip=0.5, weight_decay=0.1, beta1=0.8, beta2=0.95)
MUON = TRAIN.replace(optimizer="muon")
STEP, RATES, SEED = 7, (1e-2, 3e-2), 3
LONGEST, WORDS = 17, 11

TOLERANCE, FLOOR = 2e-5, 1e-6
"""Of the norm of an array, and of all arrays of its kind together. Right libraries come within a tenth of that."""
PATIENCE = 60.0
"""Seconds; the library takes less than one."""

Answers = dict[str, np.ndarray]
"""By KIND/NAME, such as gradient/embedding.weight."""


def what_is_wrong(library: Path) -> str | None:
    """None: nothing; else what, as a clause. ChildProcessError: the library does not get so far."""
    answers = _answers_of(library)
    if not answers["subnormals"]:
        return "it makes the processor round small numbers to zero"
    if not answers["diverged"]:
        return "it hides that a model has diverged"
    for number, config in enumerate(CASES):
        ours = {name.partition("/")[2]: answers[name] for name in answers if name.startswith(f"{number}/")}
        if wrong := _difference(ours, reference(config)):
            parts = f"mlp {config.mlp}, norm {config.norm}, position {config.position}, family {config.family}"
            return f"its {wrong} differs from PyTorch's in a model with {parts}"
    return None


def _answers_of(library: Path) -> Answers:
    """From a process of its own."""
    # Our own path of modules, so that it is this package that answers, however it was found.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import answer; answer(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "answers.npz"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, str(library.absolute()), str(found)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ChildProcessError(f"it does not answer within {PATIENCE:.0f} s") from None
        if done.returncode:
            signalled = signal.strsignal(-done.returncode) if done.returncode < 0 else None
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise ChildProcessError(f"it cannot be run ({signalled or said[-1]})")
        with np.load(found) as answers:
            return dict(answers)


def _difference(ours: Answers, true: Answers) -> str | None:
    """The first array that differs by more than rounding explains."""
    for kind in dict.fromkeys(name.partition("/")[0] for name in true):
        names = [name for name in true if name.partition("/")[0] == kind]
        size = np.sqrt(sum(np.square(true[name]).sum() for name in names))
        for name in names:
            error = np.linalg.norm(ours[name].astype(np.float64) - true[name])
            if not error <= TOLERANCE * np.linalg.norm(true[name]) + FLOOR * size:  # a NaN is wrong, too
                return name.replace("/", " of ", 1)
    return None


# --------------------------------------------------------------------------------------------- what both are asked


def _tensors(config: ModelConfig, kind: int) -> Answers:
    """Parameters (0) and moments (1, 2) of a model in the middle of its training."""
    rng = np.random.default_rng([SEED, kind])
    drawn = {name: rng.normal(size=shape) for name, shape in shapes(config).items()}
    scale = {0: lambda x: 0.3 * x, 1: lambda x: 0.01 * x, 2: lambda x: 1e-4 * (1 + x * x)}[kind]
    return {name: scale(x).astype(np.float32) for name, x in drawn.items()}


def _batch(config: ModelConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs and targets (WORDS, LONGEST) of words that begin alike, lengths (WORDS,), and which tokens they leave."""
    rng = np.random.default_rng(SEED)
    words = rng.choice(rng.integers(1, config.vocab_size, size=4), size=(WORDS, LONGEST + 1))
    words[:, 0], words[1] = 1, words[0]
    lengths = rng.integers(1, LONGEST, size=WORDS)
    lengths[:2] = LONGEST, LONGEST - 2
    return words[:, :-1], words[:, 1:], lengths, np.arange(LONGEST) < lengths[:, None]


def _taught(config: ModelConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """A teacher's rows, which of them each token of the batch has, and its share."""
    rng = np.random.default_rng(SEED)
    rows = rng.dirichlet(np.full(config.vocab_size, 0.3), size=5).astype(np.float32)
    return rows, rng.integers(5, size=int(_batch(config)[2].sum())), 0.3


# ------------------------------------------------------------------------------------------------ what the library says


def answer(library: str, to: str) -> None:
    """In a process of its own: write what the library computes of every case."""
    engine = Library(Path(library))
    smallest = np.float32(1e-38)
    found: Answers = {"subnormals": np.array(smallest * np.float32(0.1) > 0), "diverged": _diverged(engine)}
    for number, config in enumerate(CASES):
        found |= {f"{number}/{name}": value for name, value in _answers(engine, config)}
    np.savez(to, allow_pickle=False, **found)


def _diverged(engine: Library) -> np.ndarray:
    """Does a NaN show as one? Where numbers are taken to be finite, a maximum with 0, which ReLU is, may drop it."""
    config = next(config for config in CASES if config.mlp == "relu")
    (inputs, targets, *_), parameters = _batch(config), _tensors(config, 0)
    parameters["blocks.0.mlp.f.up.weight"][:] = np.nan
    nats, _ = engine.score(config, parameters, inputs[:, 0], targets[:, 0], np.ones(WORDS))
    return np.array(np.isnan(nats).all())


def _answers(engine: Library, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    inputs, targets, lengths, inside = _batch(config)
    batch = inputs[inside], targets[inside], lengths
    parameters = _tensors(config, 0)
    for step, how in ((None, ""), (STEP, " with dropout")):
        loss, gradients = engine.loss_and_gradients(config, parameters, *batch, SEED, step, threads=2 if how else 1)
        yield f"loss{how}/a batch", np.array(loss)
        yield from ((f"gradient{how}/{name}", gradient) for name, gradient in gradients.items())
    nats, correct = engine.score(config, parameters, *batch)
    yield "likelihood/each token", nats
    yield "likeliest/each token", correct
    state = {f"{kind}/{name}": x for i, kind in enumerate(KINDS) for name, x in _tensors(config, i).items()}
    twice = np.tile(batch[0], 2), np.tile(batch[1], 2), np.stack([lengths] * 2)
    losses = engine.train_block(config, TRAIN, state, *twice, STEP, SEED, RATES)
    yield "loss in training/two batches", losses
    for name in parameters:
        yield f"change by AdamW/{name}", state[f"param/{name}"] - parameters[name]
        yield f"first moment/{name}", state[f"exp_avg/{name}"]
        yield f"second moment/{name}", state[f"exp_avg_sq/{name}"]
    state = {f"{kind}/{name}": x for i, kind in enumerate(KINDS) for name, x in _tensors(config, i).items()}
    how = STEP, SEED, RATES[:1], 2, False, _taught(config)
    losses = engine.train_block(config, MUON, state, *batch[:2], lengths[None], *how)
    yield "loss in training/smoothed targets", losses
    for name in parameters:
        yield f"first moment with Muon/{name}", state[f"exp_avg/{name}"]
    for name in hidden_matrices(config):
        yield f"change by Muon/{name}", state[f"param/{name}"] - parameters[name]
    tree, nodes = engine.tree(config, parameters, WORDS, LONGEST), np.arange(WORDS * LONGEST).reshape(LONGEST, WORDS)
    grown = [tree.grow(inputs[:, t], nodes[: t + 1].T) for t in range(LONGEST)]
    yield "logits/a tree", np.stack(grown, axis=1)


# ------------------------------------------------------------------------------------------------ what PyTorch says


def reference(config: ModelConfig) -> Answers:
    """What the library should say, from the model in float64."""
    import torch

    with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return _reference(config)


def _reference(config: ModelConfig) -> Answers:
    import torch
    import torch.nn.functional as F
    from torch.optim.adamw import adamw  # the class would load torch's compiler

    from rungwise.model.dropout import set_masks
    from rungwise.model.transformer import Transformer

    inputs, targets, _, inside = _batch(config)
    tokens, following = torch.from_numpy(inputs), torch.from_numpy(targets[inside])
    model = Transformer(config).double()
    model.load_state_dict({name: torch.from_numpy(x) for name, x in _tensors(config, 0).items()})
    names, parameters = zip(*model.named_parameters(), strict=True)
    before = [p.detach().clone() for p in parameters]
    first, second = ([torch.from_numpy(x).double() for x in _tensors(config, i).values()] for i in (1, 2))

    def ask(step: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Logits and each token's nats; the parameters keep the gradients of the mean."""
        model.train(step is not None).zero_grad()
        if step is not None:
            set_masks(model, SEED, step, tokens)
        logits = model(tokens)
        nats = F.cross_entropy(logits[torch.from_numpy(inside)], following, reduction="none")
        nats.mean().backward()
        return logits.detach().numpy(), nats.detach().numpy()

    def gradients(kind: str) -> Answers:
        return {f"{kind}/{name}": p.grad.numpy().copy() for name, p in zip(names, parameters, strict=True)}

    logits, nats = ask(None)
    found: Answers = {"loss/a batch": nats.mean(), "likelihood/each token": nats, "logits/a tree": logits}
    found |= {"likeliest/each token": (logits.argmax(-1) == targets)[inside], **gradients("gradient")}
    losses, steps = [], [torch.tensor(float(STEP)) for _ in parameters]
    for t, rate in enumerate(RATES, STEP):
        _, nats = ask(t)
        losses.append(nats.mean())
        if t == STEP:
            found |= {"loss with dropout/a batch": nats.mean(), **gradients("gradient with dropout")}
        torch.nn.utils.clip_grad_norm_(parameters, TRAIN.grad_clip)
        with torch.no_grad():
            adamw(
                list(parameters), [p.grad for p in parameters], first, second, [], steps,
                foreach=False, amsgrad=False, maximize=False, eps=1e-8, lr=rate,
                beta1=TRAIN.beta1, beta2=TRAIN.beta2, weight_decay=TRAIN.weight_decay,
            )  # fmt: skip
    found["loss in training/two batches"] = np.array(losses)
    for name, p, p_before, m, v in zip(names, parameters, before, first, second, strict=True):
        found[f"change by AdamW/{name}"] = (p - p_before).detach().numpy()
        found[f"first moment/{name}"], found[f"second moment/{name}"] = m.numpy(), v.numpy()
    return found | _reference_of_muon(config, model, tokens, following, torch.from_numpy(inside))


def _reference_of_muon(config: ModelConfig, model: Any, tokens: Any, following: Any, inside: Any) -> Answers:
    """One step of Muon, on targets of which a teacher has a share, from where the steps of AdamW began."""
    import torch

    from rungwise.engine.optimiser import MOMENTUM, RMS, orthogonal
    from rungwise.model.dropout import set_masks

    model.load_state_dict({name: torch.from_numpy(x) for name, x in _tensors(config, 0).items()})
    model.train().zero_grad()
    set_masks(model, SEED, STEP, tokens)
    rows, at, share = _taught(config)
    log_p = model(tokens)[inside].log_softmax(-1)
    mix = share * torch.from_numpy(rows[at]).double()
    mix[torch.arange(len(mix)), following] += 1 - share
    loss = -(mix * log_p).sum(-1).mean()
    loss.backward()
    parameters, parts = dict(model.named_parameters()), hidden_matrices(config)
    torch.nn.utils.clip_grad_norm_(parameters.values(), MUON.grad_clip)
    found: Answers = {"loss in training/smoothed targets": np.array([loss.item()])}
    for name, moment in _tensors(config, 1).items():
        p, m = parameters[name].detach(), torch.from_numpy(moment).double()
        gradient = parameters[name].grad
        m.lerp_(gradient, 1 - (MOMENTUM if name in parts else MUON.beta1))
        found[f"first moment with Muon/{name}"] = m.numpy()
        if name in parts:
            step = orthogonal(gradient.lerp(m, MOMENTUM).unflatten(0, (parts[name], -1)))
            size = RMS * max(step.shape[1:]) ** 0.5
            found[f"change by Muon/{name}"] = -RATES[0] * (MUON.weight_decay * p + size * step.flatten(0, 1)).numpy()
    return found

"""Each family against an oracle: torch's own layers with the same weights, a sum written as a loop, the closed form."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import make_words
from rungwise.config import ModelConfig, get_protocol
from rungwise.data.batches import Tape
from rungwise.inference.prefix_tree import TorchTree, grown
from rungwise.ladder import RUNGS, select
from rungwise.model.cost import n_parameters
from rungwise.model.families import FAMILIES
from rungwise.model.layers import NoMemory
from rungwise.model.transformer import Transformer

FULL = {"": 52_252, "-large": 202_780}
"""Parameters of the rungs gelu and scaled-1e-3."""
LARGE = [rung for rung in select("families") if rung.name.endswith("-large")]
every_family = pytest.mark.parametrize("family", [*FAMILIES, "bigram"])


def layer(family, block=0, **changes):
    """A mixer of width 7 on a stream of width 5, and what it reads: (B, T, D) = (3, 11, 5)."""
    config = ModelConfig(family=family, n_embd=5, n_head=1, projection=False, residual=False, mlp="none", n_layer=1)
    torch.manual_seed(0)
    width = {} if family == "bow" else {"head_size": 7}
    return FAMILIES[family](config.replace(**width, **changes), block), torch.randn(3, 11, 5)


@pytest.mark.parametrize(("family", "oracle"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_networks_are_torchs(family, oracle):
    ours, x = layer(family)
    theirs = oracle(5, 7, batch_first=True)
    theirs.weight_ih_l0, theirs.bias_ih_l0 = ours.input.weight, ours.input.bias
    theirs.weight_hh_l0, theirs.bias_hh_l0 = ours.hidden.weight, ours.hidden.bias
    torch.testing.assert_close(ours(x, NoMemory(), 0), theirs(x)[0])


@pytest.mark.parametrize("block", [0, 1, 2, 5])
def test_a_convolution_is_torchs(block):
    ours, x = layer("conv", block)
    now, before = ours.input.weight.chunk(2, dim=1)
    padded = F.pad(x.transpose(1, 2), (2**block, 0))
    value, gate = F.conv1d(padded, torch.stack([before, now], -1), ours.input.bias, dilation=2**block).chunk(2, dim=1)
    torch.testing.assert_close(ours(x, NoMemory(), 0), (value.tanh() * gate.sigmoid()).transpose(1, 2))


def test_a_linear_recurrence_is_its_loop():
    ours, x = layer("mingru")
    gate, candidate = ours.input(x).chunk(2, -1)
    h, expected = torch.zeros(3, 7), []
    for t in range(x.shape[1]):
        z = gate[:, t].sigmoid()
        h = (1 - z) * h + z * candidate[:, t]
        expected.append(h)
    torch.testing.assert_close(ours(x, NoMemory(), 0), torch.stack(expected, 1))


@pytest.mark.parametrize("sign", [-1, 1])
def test_gates_that_are_shut_or_open_overflow_nothing(sign):
    ours, x = layer("mingru")
    with torch.no_grad():
        ours.input.bias.fill_(sign * 200.0)
    found = ours(x, NoMemory(), 0)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(ours.input.weight.grad).all()


@pytest.mark.parametrize("reach", [1, 3, 20])
def test_a_window_reads_so_many_characters(reach):
    ours, x = layer("mlp", reach=reach)
    padded = torch.cat([torch.zeros(3, 20, 5), x], dim=1)
    for t in range(x.shape[1]):
        seen = torch.cat([padded[:, 20 + t - back] for back in range(reach)], -1)
        torch.testing.assert_close(ours(x, NoMemory(), 0)[:, t], ours.input(seen).tanh())


def test_a_bag_is_the_mean():
    ours, x = layer("bow")
    for t in range(x.shape[1]):
        torch.testing.assert_close(ours(x, NoMemory(), 0)[:, t], x[:, : t + 1].mean(1))


def test_a_bigram_ends_at_the_closed_form():
    """Counts of which token follows which: the least loss that a model without memory can have."""
    listed = make_words(97)
    tape = Tape.of(listed, np.arange(len(listed)), get_protocol("strict"))
    config = RUNGS["bigram"].model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    model = Transformer(config)
    inputs, targets = (torch.from_numpy(x) for x in tape.padded(tape.starts, tape.lengths, int(tape.lengths.max())))
    real = targets != 0
    counts = torch.zeros(config.vocab_size, config.vocab_size, dtype=torch.float64)
    counts.index_put_((inputs[real], targets[real]), torch.ones(int(real.sum()), dtype=torch.float64), accumulate=True)
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    expected = -(counts * share.clamp(min=1e-300).log()).sum().item() / int(real.sum())
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        found = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=0)
        found.backward()
        return found

    optimiser.step(loss)
    assert loss().item() == pytest.approx(expected, abs=2e-3)
    assert loss().item() > expected


@every_family
def test_nobody_sees_what_comes_later_and_a_memory_changes_nothing(family):
    """Words read character by character, along a tree of prefixes, give the logits of the whole word."""
    position = "rope" if family == "transformer" else "learned"
    config = ModelConfig(
        *(13, 11, 3, 2, 12), family=family, position=position, dropout=0.0, norm="rmsnorm", mlp="swiglu", reach=3
    )
    model, tokens = Transformer(config, 3).eval(), torch.randint(1, 13, (5, 7), generator=torch.manual_seed(1))
    whole = model(tokens).detach()
    changed = tokens.clone()
    changed[:, 4] = 1 + changed[:, 4] % 12
    torch.testing.assert_close(model(changed)[:, :4], whole[:, :4])
    tree = TorchTree(model, 5, 7)
    paths = np.arange(5, dtype=np.int32)[:, None]
    for t in range(7):
        paths = grown(paths, np.arange(5)) if t else paths
        np.testing.assert_allclose(tree.grow(tokens[:, t].numpy(), paths), whole[:, t], atol=1e-5)


@pytest.mark.parametrize("rung", [r for r in select("families") if r.group == "family" and r.name != "bigram"])
def test_a_familys_width_gives_the_parameters_of_the_full_model(rung):
    """No other width comes nearer to 52,252, or to 202,780."""
    target = FULL["-large" if rung in LARGE else ""]
    near = {d: abs(n_parameters(rung.model.replace(n_embd=d)) - target) for d in range(8, 400)}
    assert min(near, key=near.__getitem__) == rung.model.n_embd
    assert near[rung.model.n_embd] < 0.02 * target


@every_family
def test_training_is_as_of_the_full_model_but_for_the_family(family):
    for rung in select("families"):
        if rung.model.family == family:
            assert rung.train.replace(learning_rate=1e-3) == RUNGS["gelu"].train

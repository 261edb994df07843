"""Properties that every rung of the ladder has, whatever it is made of."""

import math

import pytest
import torch
import torch.nn.functional as F

from rungwise.config import ModelConfig
from rungwise.ladder import RUNGS, get_rung
from rungwise.model.layers import Residual
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.util.hashing import derive_seed

B, T, V = 3, 7, 23
every_rung = pytest.mark.parametrize("rung", RUNGS.values(), ids=lambda rung: rung.name)


def tokens(batch=B, time=T):
    return torch.randint(2, V, (batch, time), generator=torch.Generator().manual_seed(0))


@every_rung
def test_shape_and_first_loss_near_that_of_guessing(rung):
    model = Transformer(rung.model.replace(vocab_size=V)).eval()
    logits = model(tokens(31))
    assert logits.shape == (31, T, V)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens(31)[:, 1:].flatten())
    # without a norm, what makemore's models add to the stream is as wide as it comes
    assert abs(loss.item() - math.log(V)) < (1.0 if rung.group == "makemore" else 0.5)


@every_rung
def test_causality(rung):
    """A later character changes nothing before it, and something at it."""
    model, before = Transformer(rung.model.replace(vocab_size=V)).eval(), tokens()
    after = before.clone()
    after[:, 4] = (after[:, 4] - 1) % (V - 2) + 2
    a, b = model(before), model(after)
    assert torch.equal(a[:, :4], b[:, :4])
    assert (a[:, 4:] != b[:, 4:]).flatten(1).any(1).all()


@every_rung
def test_gradient_reaches_every_parameter(rung):
    model = Transformer(rung.model.replace(vocab_size=V, dropout=0.0))
    F.cross_entropy(model(tokens()).flatten(0, 1), tokens().flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@every_rung
def test_evaluation_is_deterministic_and_knows_no_dropout(rung):
    model = Transformer(rung.model.replace(vocab_size=V)).eval()
    assert torch.equal(model(tokens()), model(tokens()))


@pytest.mark.parametrize("name", ["4-layers", "gelu", "final"])
def test_overfits_one_batch(name):
    """Given the first character, 5 words that differ in it can be learnt by heart."""
    model = Transformer(get_rung(name).model.replace(vocab_size=V, dropout=0.0))
    words = tokens(5)
    words[:, 0] = torch.arange(2, 7)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = F.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


def test_attention_without_position_and_mask_is_blind_to_order_beyond_the_mask():
    """No position: the prediction at the last place does not change when those before are exchanged (one layer)."""
    config = get_rung("2-heads").model.replace(vocab_size=V)
    x = tokens()
    y = x[:, [2, 0, 3, 1, 4, 5, 6]]
    model = Transformer(config).eval()
    torch.testing.assert_close(model(x)[:, -1], model(y)[:, -1])
    with_rope = Transformer(config.replace(position="rope")).eval()
    assert not torch.allclose(with_rope(x)[:, -1], with_rope(y)[:, -1])


def test_initialisation_is_pytorchs_and_its_own_for_every_parameter():
    model = Transformer(ModelConfig(vocab_size=1009), seed=3)
    up = model.blocks[0].mlp.f.up.weight
    assert up.abs().max() <= 1 / 8
    assert up.std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.02)
    assert model.embedding.weight.std().item() == pytest.approx(1, rel=0.02)
    assert not torch.equal(up, model.blocks[1].mlp.f.up.weight)
    assert torch.equal(up, Transformer(ModelConfig(vocab_size=1009), seed=3).blocks[0].mlp.f.up.weight)
    assert not torch.equal(up, Transformer(ModelConfig(vocab_size=1009), seed=4).blocks[0].mlp.f.up.weight)


def test_rungs_share_what_they_have_in_common_under_one_seed():
    a, b = Transformer(get_rung("layernorm").model, 5).state_dict(), Transformer(get_rung("mlp").model, 5).state_dict()
    assert b.keys() < a.keys()
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert derive_seed(5, "init/a") != derive_seed(5, "init/b")


def test_block_forward_stays_two_lines():
    import ast
    import inspect
    import textwrap

    from rungwise.model.transformer import Block

    tree = ast.parse(textwrap.dedent(inspect.getsource(Block.forward)))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert len(function.body) == 2


def test_residual_adds_to_its_input():
    model = Transformer(get_rung("gelu").model)
    assert all(isinstance(block.attention, Residual) for block in model.blocks)
    assert count_parameters(model) == 52_252

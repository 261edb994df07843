"""Every part against an oracle: PyTorch's own, or the definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rungwise.config import ModelConfig
from rungwise.model.layers import MLP, ROPE_BASE, Attention, Dropout, LearnedPosition, NoMemory, RoPE, SwiGLU, make_norm
from rungwise.model.transformer import Block, Transformer, initialise

B, T, H, K = 2, 5, 3, 14
PLAIN = ModelConfig(n_embd=11, n_head=H, head_size=K, position="none", dropout=0.0)


def split_heads(x, parts):
    return [part.unflatten(-1, (H, K)).transpose(1, 2) for part in x.chunk(parts, dim=-1)]


@pytest.mark.parametrize("position", ["none", "rope"])
def test_attention_is_scaled_dot_product_attention(position):
    config = PLAIN.replace(position=position)
    attention, x = Attention(config), torch.randn(B, T, 11)
    q, k, v = split_heads(attention.qkv(x), 3)
    q, k = attention.position(q, 0), attention.position(k, 0)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = attention.projection(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, NoMemory(), 0), expected)


def test_attention_weights_are_a_causal_distribution():
    weights, _ = Attention(PLAIN).weights(torch.randn(B, T, 11), NoMemory(), 0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, T))
    assert (weights.triu(1) == 0).all()


def test_rope_is_multiplication_by_complex_numbers():
    """Su et al. 2021, eq. 13 and 14: pair j of position m turns by m * base^(-2j/K)."""
    x, start = torch.randn(B, H, T, K), 3
    turned = RoPE(K)(x, start)
    for t in range(T):
        for j in range(K // 2):
            angle = (start + t) * ROPE_BASE ** (-2 * j / K)
            z = torch.complex(x[..., t, j], x[..., t, j + K // 2]) * complex(np.cos(angle), np.sin(angle))
            torch.testing.assert_close(turned[..., t, j], z.real)
            torch.testing.assert_close(turned[..., t, j + K // 2], z.imag)


def test_rope_keeps_norms_and_scores_depend_on_distance_alone():
    q, k, rope = torch.randn(1, 1, 1, K), torch.randn(1, 1, 1, K), RoPE(K)
    torch.testing.assert_close(rope(q, 17).norm(), q.norm())
    score = {m: (rope(q, m + 4) * rope(k, m)).sum() for m in (0, 1, 9)}
    torch.testing.assert_close(score[1], score[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(score[9], score[0], atol=1e-5, rtol=1e-5)
    assert not torch.isclose((rope(q, 5) * rope(k, 0)).sum(), score[0])


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_block_is_a_pre_norm_encoder_layer(activation):
    """nn.TransformerEncoderLayer(norm_first=True) with the same weights and a causal mask."""
    config = ModelConfig(n_embd=12, n_head=3, mlp=activation, mlp_ratio=5, position="none", dropout=0.0)
    block = Block(config)
    initialise(block, 0)
    oracle = nn.TransformerEncoderLayer(12, 3, 60, 0.0, activation, norm_first=True, batch_first=True)
    with torch.no_grad():
        oracle.self_attn.in_proj_weight.copy_(block.attention.f.qkv.weight)
        oracle.self_attn.in_proj_bias.zero_()
        oracle.self_attn.out_proj.load_state_dict(block.attention.f.projection.state_dict())
        oracle.linear1.load_state_dict(block.mlp.f.up.state_dict())
        oracle.linear2.load_state_dict(block.mlp.f.down.state_dict())
        for mine, theirs in ((block.attention.norm, oracle.norm1), (block.mlp.norm, oracle.norm2)):
            mine.weight.uniform_(0.5, 2)
            mine.bias.normal_()
            theirs.load_state_dict(mine.state_dict())
    x = torch.randn(B, T, 12)
    mask = nn.Transformer.generate_square_subsequent_mask(T)
    torch.testing.assert_close(block(x, NoMemory(), 0), oracle(x, src_mask=mask, is_causal=True))


def test_mlp_works_at_each_position_alone():
    mlp, x = MLP(PLAIN.replace(mlp="relu")), torch.randn(B, T, 11)
    together = mlp(x, NoMemory(), 0)
    for t in range(T):
        torch.testing.assert_close(mlp(x[:, t : t + 1], NoMemory(), 0), together[:, t : t + 1])


def test_swiglu_is_the_product_of_a_gate_and_a_linear_layer():
    """Shazeer 2020, eq. 6, number by number: (swish(x W) * (x V)) W2, with swish(z) = z / (1 + e^-z)."""
    config = PLAIN.replace(mlp="swiglu", mlp_ratio=5)
    mlp, x = SwiGLU(config), torch.randn(B, T, 11)
    assert mlp.gate.out_features == mlp.up.out_features == 2 * 55 // 3
    z, up = (x.double() @ layer.weight.double().T + layer.bias.double() for layer in (mlp.gate, mlp.up))
    hidden = z / (1 + torch.exp(-z)) * up
    expected = hidden @ mlp.down.weight.double().T + mlp.down.bias.double()
    torch.testing.assert_close(mlp(x, NoMemory(), 0), expected.float())


def test_rmsnorm_is_division_by_the_root_of_the_mean_square():
    norm, x = make_norm(PLAIN.replace(norm="rmsnorm")), torch.randn(B, T, 11)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_learned_positions_add_a_vector_a_place():
    config = PLAIN.replace(position="learned", block_size=7)
    positions, x = LearnedPosition(config), torch.randn(B, 3, 11)
    initialise(positions, 0)
    for t in range(3):
        torch.testing.assert_close(positions(x, 4)[:, t], x[:, t] + positions.weight[4 + t])


def test_a_tied_head_is_the_embedding_itself():
    config = PLAIN.replace(vocab_size=13, tie_embeddings=True, head_bias=False)
    model, loose = Transformer(config).eval(), Transformer(config.replace(tie_embeddings=False)).eval()
    assert [name for name, _ in model.named_parameters() if "head" in name] == []
    loose.load_state_dict(model.state_dict() | {"head.weight": model.embedding.weight})
    tokens = torch.randint(1, 13, (B, T))
    torch.testing.assert_close(model(tokens), loose(tokens))
    for each in (model, loose):
        each(tokens).square().sum().backward()
    both = loose.embedding.weight.grad + loose.head.weight.grad
    torch.testing.assert_close(model.embedding.weight.grad, both)


def test_dropout_is_inert_in_evaluation_and_takes_a_mask_in_training():
    x, dropout = torch.randn(B, T, 7), Dropout(0.4)
    dropout.keep = torch.randint(0, 2, x.shape).float()
    torch.testing.assert_close(dropout.train()(x), x * dropout.keep)
    torch.testing.assert_close(dropout.eval()(x), x)
    dropout.keep = torch.empty(0)
    assert (dropout.train()(torch.ones(31, 37, 7)) == 0).float().mean() == pytest.approx(0.4, abs=0.03)

"""What a model costs is reckoned in one place, and agrees with the model itself."""

import pytest

from rungwise.config import TrainConfig
from rungwise.ladder import RUNGS, get_rung
from rungwise.model.cost import STATE_BYTES, flop, least_bytes, n_parameters, peak_bytes, products, shapes
from rungwise.model.transformer import Transformer, count_parameters

every_rung = pytest.mark.parametrize("rung", RUNGS.values(), ids=lambda rung: rung.name)


@every_rung
def test_parameters_are_the_model_s(rung):
    model = Transformer(rung.model)
    assert list(shapes(rung.model).items()) == [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    assert n_parameters(rung.model) == count_parameters(model)


@every_rung
def test_each_matrix_is_one_product(rung):
    """Inner times columns of the products are the weights of the linear layers."""
    matrices = [n for name, n in shapes(rung.model).items() if name.endswith("weight") and len(n) == 2]
    weights = sum(rows * columns for rows, columns in matrices) - rung.model.vocab_size * rung.model.n_embd
    if rung.model.tie_embeddings:
        weights += rung.model.vocab_size * rung.model.n_embd  # read as the last layer, too
    if rung.model.position == "learned":
        weights -= rung.model.block_size * rung.model.n_embd
    assert sum(times * inner * columns for times, _, inner, columns in products(rung.model, 9)) == weights
    assert flop(rung.model, 20, 60) > flop(rung.model, 10, 60) > 0


@every_rung
def test_the_least_memory_is_below_the_peak(rung):
    least = least_bytes(rung.model, rung.train, 7.0, 256)
    assert STATE_BYTES * n_parameters(rung.model) < least < peak_bytes(rung.model, rung.train, 256)


def test_bytes_by_hand():
    model = get_rung("baseline").model.replace(vocab_size=28, block_size=16)
    config = TrainConfig(batch_size=10)
    state, drawn = 16 * n_parameters(model), 24 * 256 * 10
    assert least_bytes(model, config, 6.5, 256) == state + drawn + 8 * 65 * model.n_embd * model.n_layer
    assert config.replace(batching="stream", window=4).tokens_per_step(6.5) == 40

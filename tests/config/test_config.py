import dataclasses

import pytest

from rungwise.config import PROTOCOLS, ModelConfig, Protocol, TrainConfig, get_protocol
from rungwise.errors import UserError
from rungwise.util.hashing import derive_seed

CONFIGS = (ModelConfig(), TrainConfig(), *PROTOCOLS.values())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: getattr(c, "name", type(c).__name__))
def test_round_trip(config):
    assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((ModelConfig, change) for change in (
            {"vocab_size": 2}, {"block_size": 0}, {"n_layer": 0}, {"n_head": 0}, {"n_embd": -3}, {"n_embd": 63},
            {"head_size": 0}, {"head_size": 7}, {"mlp": "selu"}, {"norm": "batchnorm"}, {"position": "sine"},
            {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": float("nan")},
            {"projection": False, "head_size": 8},
        )),
        *((TrainConfig, change) for change in (
            {"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
            {"schedule": "linear"}, {"warmup_steps": -1}, {"weight_decay": -0.1}, {"grad_clip": -1.0},
            {"beta1": 1.0}, {"batching": "lines"}, {"window": 0}, {"min_learning_rate": -1e-9},
        )),
        (Protocol, {"test_fraction": 0.0}),
        (Protocol, {"val_fraction": 0.5, "test_fraction": 0.5}),
    ],
)  # fmt: skip
def test_out_of_range(kind, change):
    base = get_protocol("strict") if kind is Protocol else kind()
    with pytest.raises(UserError) as error:
        base.replace(**change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n_embed": 32}, "did you mean 'n_embd'"),
        ({"n_embd": "32"}, "n_embd"),
        ({"n_embd": 32.5}, "n_embd"),
        ({"residual": 1}, "residual"),
        ({"mlp": "gelo"}, "mlp"),
        ({"n_embd": 0}, "at least 1"),
    ],
)
def test_from_dict_refuses(values, said):
    with pytest.raises(UserError, match=said):
        ModelConfig.from_dict(values, "somewhere")


def test_projection_may_go_only_where_nothing_needs_its_width():
    ModelConfig(n_layer=1, n_head=1, head_size=16, projection=False, residual=False, mlp="none")
    with pytest.raises(UserError, match="projection"):
        ModelConfig(n_layer=2, n_head=1, head_size=16, projection=False, residual=False, mlp="none")


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'strict'"):
        get_protocol("strickt")


def test_seeds_of_purposes_differ_and_stay():
    drawn = {derive_seed(seed, purpose) for seed in range(100) for purpose in ("split", "batches", "dropout")}
    assert len(drawn) == 300


def test_every_field_is_explained():
    """Each field has a docstring under it, for readers and for the command's help."""
    import ast
    import inspect

    from rungwise import config

    for node in ast.parse(inspect.getsource(config)).body:
        if isinstance(node, ast.ClassDef) and any(getattr(d, "func", None) for d in node.decorator_list):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and getattr(field.target, "id", "") != "name":
                    assert isinstance(after, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no docstring"


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().n_embd = 3  # type: ignore[misc]

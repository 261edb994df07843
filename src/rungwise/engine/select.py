"""Which engine trains, where and how: native where it can, torch where more is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rungwise.config import Device, EngineConfig, ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, check_windows
from rungwise.engine import native
from rungwise.engine.compile import Say
from rungwise.engine.loop import Engine
from rungwise.engine.native_engine import NativeEngine
from rungwise.engine.torch_engine import TorchEngine
from rungwise.errors import UserError, closest
from rungwise.util.machine import memory


def choose_engine(how: EngineConfig) -> str:
    """`native` or `torch`: auto takes native where there is a compiler, and nothing that is torch's is asked for."""
    name = _known(how)
    if name == "torch":
        choose_device(how.device)  # refuses one that is not there
    return name


def _known(how: EngineConfig) -> str:
    asked = (("device", how.device, "cuda"), ("precision", how.precision, "bf16"), ("compile", how.compile, "on"))
    beyond = next((f"{field} {value}" for field, value, torchs in asked if value == torchs), None)
    if how.engine == "auto":
        return "torch" if beyond or native.why_not() else "native"
    if how.engine not in ("native", "torch"):
        raise UserError(f"Unknown engine {how.engine!r}; {closest(how.engine, ('auto', 'native', 'torch'))}")
    if how.engine == "native" and beyond:
        raise UserError(f"The native engine runs on the CPU in fp32: leave {beyond} out, or use engine torch.")
    if how.engine == "native":
        try:
            native.load()
        except native.NoEngine as error:
            raise UserError(f"{error} Engine torch needs none.") from None
    return how.engine


def choose_device(name: Device) -> str:
    """Where PyTorch trains: auto takes a GPU where it has one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device that this torch can use; leave device cuda out.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def on_a_gpu(how: EngineConfig) -> bool:
    return choose_engine(how) == "torch" and choose_device(how.device) == "cuda"


def describe_engine(how: EngineConfig) -> str:
    """What will train: "native", or "torch on cpu, fp32"."""
    engine = choose_engine(how)
    return engine if engine == "native" else f"{engine} on {choose_device(how.device)}, {how.precision}"


def replicas_together(how: EngineConfig, model: ModelConfig, config: TrainConfig, processes: int) -> int:
    """How many replicas one of so many processes had best train as one program.

    In the native engine replicas share nothing, so one. Under PyTorch they share the dispatch of every operation, so as
    many as half of this process's memory holds.
    """
    if choose_engine(how) == "native":
        return 1
    return max(1, int(_memory(choose_device(how.device)) / 2 / processes / replica_bytes(model, config)))


def replica_bytes(model: ModelConfig, config: TrainConfig) -> int:
    """What a replica takes in engine torch at the peak of a step: a model of it (docs/performance.md says how near)."""
    time = model.block_size if config.batching == "words" else config.window
    a_block = 12 * model.n_embd + 6 * model.mlp_hidden + 3 * model.n_head * time
    step = 4 * config.batch_size * time * (model.n_layer * a_block + 4 * model.vocab_size)
    drawn = STEPS_A_BLOCK * config.batch_size * (24 + 8 * time * bool(model.dropout))
    return 16 * _parameters(model) + step + drawn


def _parameters(model: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in native.shapes(model).values())


def _memory(device: str) -> float:
    """Bytes that the device has; that we may have of this machine's where it is the CPU."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    return memory()


def _refuse_too_large(model: ModelConfig, config: TrainConfig, tape: Tape, n_seeds: int, device: str) -> None:
    """A system that hands out more memory than it has kills whoever uses it: better one line before that."""
    tokens = config.batch_size * (float(tape.lengths.mean()) if config.batching == "words" else config.window)
    # Weights, gradients and two moments; starts and lengths of a block of steps; one step's stream and its gradient.
    batches, stream = 24 * STEPS_A_BLOCK * config.batch_size, 8 * tokens * model.n_embd * model.n_layer
    need = n_seeds * (16 * _parameters(model) + batches + stream)
    have, where = _memory(device), "this machine" if device == "cpu" else "the GPU"
    if need > have:
        raise UserError(
            f"Training would take {need / 2**30:,.0f} GiB of memory and more; {where} has {have / 2**30:,.0f}. "
            "Try a smaller batch_size, n_embd or n_layer."
        )


def make_engine(
    model_config: ModelConfig,
    train_config: TrainConfig,
    tape: Tape,
    seeds: Sequence[int],
    how: EngineConfig | None = None,
    say: Say = lambda line: None,
) -> Engine:
    """What trains `seeds` on a tape; what it cannot train is a UserError. `say` hears whether steps are compiled."""
    how = how or EngineConfig()
    check_windows(tape, train_config)
    windows = train_config.batching == "stream" and train_config.window
    if model_config.position == "learned" and windows > model_config.block_size:
        raise UserError(
            f"A window of {windows} is longer than the {model_config.block_size} places that learned positions have "
            f"here: use a window of at most {model_config.block_size}, or position rope."
        )
    native_ = choose_engine(how) == "native"
    device = "cpu" if native_ else choose_device(how.device)
    _refuse_too_large(model_config, train_config, tape, len(seeds), device)
    if native_:
        return NativeEngine(model_config, train_config, tape, seeds)
    return TorchEngine(model_config, train_config, tape, seeds, device, how.precision, how.compile, say)

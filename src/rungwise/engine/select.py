"""Which engine trains, where and how: native where it can, torch or distributed where more is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rungwise.config import EngineConfig, ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, check_windows
from rungwise.data.teacher import Teacher, leave_one_out
from rungwise.engine import native
from rungwise.engine.compile import Log
from rungwise.engine.ddp import DistributedEngine
from rungwise.engine.device import choose_device, device_memory
from rungwise.engine.loop import Engine
from rungwise.engine.native_engine import NativeEngine
from rungwise.engine.torch_engine import TorchEngine
from rungwise.errors import UserError, closest
from rungwise.model.cost import least_bytes, peak_bytes


def choose_engine(how: EngineConfig, needs: Sequence[str] | None = None) -> str:
    """The name of the engine that is asked for; what it cannot do is a UserError.

    auto takes native where there is one and nothing that is torch's is asked for. needs: what is asked for and the
    distributed engine alone does; None where replicas are trained together, which it does not.
    """
    if needs or (needs is not None and how.engine == DistributedEngine.name):
        if how.engine == NativeEngine.name:
            raise UserError(f"Engine native cannot do {needs[0]}; leave out --engine.")
        if how.engine != DistributedEngine.name:
            _choose_stacked(how)  # refuses what is not known
        if how.compile == "on":
            raise UserError("Engine distributed does not compile its steps; leave out --compile.")
        name = DistributedEngine.name
    else:
        name = _choose_stacked(how)
    if name != NativeEngine.name:
        choose_device(how.device)  # refuses one that is not there
    return name


def _choose_stacked(how: EngineConfig) -> str:
    """native or torch, of which each trains any number of replicas."""
    asked = (("device", how.device, "cuda"), ("compile", how.compile, "on"))
    beyond = next((f"{field} {value}" for field, value, torchs in asked if value == torchs), None)
    if how.engine == "auto":
        return "torch" if beyond or how.precision == "bf16" or native.why_not() else "native"
    if how.engine not in ("native", "torch"):
        raise UserError(f"Unknown engine {how.engine!r}; {closest(how.engine, ('auto', 'native', 'torch'))}")
    if how.engine == "native" and beyond:
        raise UserError(f"The native engine runs on the CPU: leave {beyond} out, or use engine torch.")
    if how.engine == "native" and (reason := native.why_not()):
        raise UserError(f"{reason} Engine torch does not need it.")
    if how.engine == "native" and how.precision == "bf16" and not native.load().has_bf16:
        raise UserError("This CPU has no bf16 products (avx512_bf16): leave precision bf16 out, or use engine torch.")
    return how.engine


def on_a_gpu(how: EngineConfig) -> bool:
    return choose_engine(how) == "torch" and choose_device(how.device) == "cuda"


def describe_engine(how: EngineConfig) -> str:
    """What will train: "native, AVX-512, prebuilt", or "torch on cpu, fp32"."""
    engine = choose_engine(how)
    if engine == "native":
        return native.describe() + (f", {how.precision}" if how.precision != "fp32" else "")
    return f"{engine} on {choose_device(how.device)}, {how.precision}"


def replicas_together(how: EngineConfig, model: ModelConfig, config: TrainConfig, processes: int) -> int:
    """How many replicas one of so many processes had best train as one program.

    In the native engine replicas share nothing, so one; nor do students, of which each has teachers of its own. Under
    PyTorch they share the dispatch of every operation, so as many as half of this process's memory holds.
    """
    if choose_engine(how) == "native" or config.teachers:
        return 1
    memory = device_memory(choose_device(how.device))
    return max(1, int(memory / 2 / processes / peak_bytes(model, config, STEPS_A_BLOCK)))


def _refuse_too_large(model: ModelConfig, config: TrainConfig, tape: Tape, n_seeds: int, device: str) -> None:
    """A system that hands out more memory than it has kills whoever uses it: better one line before that."""
    need = n_seeds * least_bytes(model, config, tape.mean_length, STEPS_A_BLOCK)
    have, where = device_memory(device), "this machine" if device == "cpu" else "the GPU"
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
    log: Log = lambda line: None,
    threads: int = 0,
    teacher: Teacher | None = None,
) -> Engine:
    """What trains `seeds` on a tape; what it cannot train is a UserError. `log`: whether steps are compiled. `threads`:
    of engine native (NativeEngine). `teacher`: of smoothed targets, if not the tape's own words."""
    how = how or EngineConfig()
    check_windows(tape, train_config)
    windows = train_config.batching == "stream" and train_config.window
    if model_config.position == "learned" and windows > model_config.block_size:
        raise UserError(
            f"A window of {windows} is longer than the {model_config.block_size} places that learned positions have "
            f"here: use a window of at most {model_config.block_size}, or position rope."
        )
    name = choose_engine(how)
    device = "cpu" if name == "native" else choose_device(how.device)
    _refuse_too_large(model_config, train_config, tape, len(seeds), device)
    if train_config.targets == "smoothed":
        teacher = teacher or replace(leave_one_out(tape, model_config.vocab_size), weight=train_config.teacher_weight)
    if name == "native":
        return NativeEngine(model_config, train_config, tape, seeds, how.precision, threads, teacher)
    return TorchEngine(model_config, train_config, tape, seeds, device, how.precision, how.compile, log, teacher)

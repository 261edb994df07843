"""One model trained by several processes at once: data-parallel, each with its share of every batch.

    torchrun --standalone --nproc-per-node=2 -m rungwise train --data towns.txt --out runs/towns

torchrun starts the processes and tells each its rank. Rank 0 is a run like any other (training/run.py), whose
engine happens to have helpers: before each piece of steps it tells the other ranks what comes (`run`, `load_state`,
`close`), and they take part (`follow`). They write nothing and print nothing.

Every step is that of the whole batch: a rank's loss is its sum of nats over the real tokens of *all* ranks, and
dropout masks are a function of the step and of what was read. So N processes, or one with gradient accumulation, give
the losses of one process, to the last bits in which sums differ. Dimensions: B batch, T time.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from rungwise.config import ModelConfig, RunConfig, TrainConfig
from rungwise.data.batches import Source
from rungwise.data.words import PAD
from rungwise.engine.device import choose_device
from rungwise.engine.optimiser import Optimiser
from rungwise.engine.process_group import RankLost, World, missed
from rungwise.errors import UserError
from rungwise.model.dropout import set_masks
from rungwise.model.transformer import Transformer


def check(config: TrainConfig, run: RunConfig, size: int) -> None:
    """Every process needs a word for each of its parts of a batch, and a teacher is of one list in memory."""
    if config.targets != "words" or config.teachers:
        what = f"teachers={config.teachers}" if config.teachers else f"targets={config.targets}"
        raise UserError(f"Engine distributed learns from words alone: leave out {what}.")
    if config.batch_size < size * run.accumulate:
        raise UserError(
            f"batch_size must be at least {size * run.accumulate} for {size} processes and "
            f"accumulate={run.accumulate}, but is {config.batch_size}."
        )


RUN, LOAD, END = range(3)
"""What rank 0 says is next."""


class DistributedEngine:
    """The third Engine: the model as it stands, its gradients averaged over processes by DistributedDataParallel."""

    name = "distributed"
    compiled = False

    def __init__(
        self, model_config: ModelConfig, config: TrainConfig, source: Source, run: RunConfig, world: World | None
    ) -> None:
        self.config, self.source, self.run_config = config, source, run
        self.tokens_per_step = config.tokens_per_step(source.mean_length)
        self.rank, self.size = (world.rank, world.size) if world else (0, 1)
        check(config, run, self.size)
        cuda = choose_device(run.device) == "cuda"
        self.device = torch.device("cuda", world.local_rank if world else 0) if cuda else torch.device("cpu")
        self.model = Transformer(model_config, run.seed).to(self.device).train()
        self.parallel: nn.parallel.DistributedDataParallel | None = None
        """The same model, its gradients averaged over the processes."""
        self.busy = False
        """Are we in the middle of something that takes all ranks?"""
        if world and self.size > 1:
            world.connect()
            self._hear_no_signals()
            with missed(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the argument's new name is unknown before torch 2.13
                self.parallel = nn.parallel.DistributedDataParallel(
                    self.model,
                    device_ids=[self.device] if cuda else None,
                    broadcast_buffers=False,  # they are the dropout masks, which differ from rank to rank
                )
        self.params = dict(self.model.named_parameters())
        self.optimiser = Optimiser(self.params, model_config, config)

    def _hear_no_signals(self) -> None:
        """A step must not be cut on one rank alone. Ctrl-C reaches all ranks, and rank 0 alone acts on it; SIGTERM
        comes from torchrun when some rank has ended, and what is left to say must still be said."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if self.rank:
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    # ------------------------------------------------------------------------------------------------ rank 0's part

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        with self._all(RUN, first_step, len(rates)):
            return self._steps(first_step, self._shared(torch.tensor(rates, dtype=torch.float64)))

    def state(self) -> dict[str, np.ndarray]:
        return {key: value[None] for key, value in self.optimiser.state().items()}

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        with self._all(LOAD, step):
            self._load(state, step)

    def close(self) -> None:
        """Let the other ranks go. Where they were left in the middle of something, their connections end instead."""
        if self.size > 1 and not self.busy:
            with contextlib.suppress(RankLost), self._all(END):
                self._disconnect()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self.before)

    @contextlib.contextmanager
    def _all(self, *order: int) -> Iterator[None]:
        """Tell the other ranks what comes, and do it."""
        self.busy = True
        with missed():
            if self.size > 1:
                dist.broadcast(torch.tensor([*order, 0, 0][:3]), 0)
            yield
        self.busy = False

    # ---------------------------------------------------------------------------------------------- the others' part

    def follow(self) -> None:
        """Take part in whatever rank 0 does, until it ends."""
        with missed():
            while True:
                order = torch.zeros(3, dtype=torch.int64)
                dist.broadcast(order, 0)
                kind, step, n = order.tolist()
                if kind == END:
                    return self._disconnect()
                if kind == LOAD:
                    self._load(self.state(), step)
                else:
                    self._steps(step, self._shared(torch.zeros(n, dtype=torch.float64)))

    # ---------------------------------------------------------------------------------------------------- all ranks'

    def _disconnect(self) -> None:
        """End the process group and its threads. They end with the last reference to it, and DDP holds one. A thread
        that outlived this would abort the process at its exit: it frees a tensor, and there is no interpreter left."""
        self.parallel = None
        dist.destroy_process_group()
        gc.collect()

    def _shared(self, tensor: Tensor) -> Tensor:
        """Rank 0's, on all."""
        if self.size > 1:
            dist.broadcast(tensor, 0)
        return tensor

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def _steps(self, first_step: int, rates: Tensor) -> np.ndarray:
        """Losses before each step, (steps, 1) nats a scored token of the whole batch."""
        nats = torch.zeros(len(rates), dtype=torch.float64, device=self.device)
        counts = torch.zeros(len(rates), dtype=torch.float64)
        for i, rate in enumerate(rates.tolist()):
            parts = self._parts(first_step + i)
            own = sum(int((targets != PAD).sum()) for _, targets in parts)
            counts[i] = self._total(torch.tensor(own))
            nats[i] = self._backward(first_step + i, parts, float(counts[i]))
            if self.config.grad_clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
            self.optimiser.step(rate)
            self.model.zero_grad()
        return (self._total(nats).cpu() / counts)[:, None].numpy()

    def _parts(self, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """This rank's share of a step's batch, in so many parts as are to be accumulated: inputs and targets."""
        n, parts = self.config.batch_size, self.size * self.run_config.accumulate
        own = range(self.rank * self.run_config.accumulate, (self.rank + 1) * self.run_config.accumulate)
        bounds = [(n * part // parts, n * (part + 1) // parts) for part in own]
        return [self.source.rows(step, first, last) for first, last in bounds]

    def _backward(self, step: int, parts: list[tuple[np.ndarray, np.ndarray]], n_tokens: float) -> Tensor:
        """Leave the gradients of the whole batch; the sum of this rank's nats."""
        nats = torch.zeros((), device=self.device)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.run_config.precision == "bf16")
        model = self.model if self.parallel is None else self.parallel
        for i, (inputs, targets) in enumerate(parts):
            on_device = torch.from_numpy(inputs).to(self.device)
            set_masks(self.model, self.run_config.seed, step, on_device)
            last = i == len(parts) - 1  # gradients travel once, when all of them are there
            travel = contextlib.nullcontext() if last or self.parallel is None else self.parallel.no_sync()
            with travel:
                with autocast:
                    logits = model(on_device).float()
                target = torch.from_numpy(targets).to(self.device)
                loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum")
                (loss * (self.size / n_tokens)).backward()  # the mean over ranks divides by their number
            nats += loss.detach()
        return nats

    @torch.no_grad()
    def _load(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Rank 0's state, on all."""
        self.optimiser.load_state({key: value[0] for key, value in state.items()}, step)
        for tensor in self.optimiser.tensors().values():
            self._shared(tensor)

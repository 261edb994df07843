"""The processes of one run: who they are, what rank 0 tells the others, and when one of them is missed."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rungwise.errors import UserError
from rungwise.util.machine import STOPS, loopback

TIMEOUT = datetime.timedelta(minutes=10)
"""A rank that answers nothing for so long is given up. One that dies is missed at once: its connections close."""
PATIENCE = datetime.timedelta(days=7)
"""For what comes before training: a long list takes long to read."""


class RankLost(UserError):
    """Another process of the run ended, or cannot be reached."""


@dataclass(frozen=True)
class World:
    """The processes of a run, as torchrun's environment tells them."""

    rank: int
    size: int
    local_rank: int
    """Among the processes of this machine: which GPU is ours."""
    local_size: int
    restarts: int
    """How often torchrun has started the run again after a process ended."""

    @classmethod
    def from_environment(cls) -> World | None:
        """None where nobody started us as one of several."""
        if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            return None
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        try:
            rank, size, local_rank, local_size, restarts = (int(os.environ.get(name, 0)) for name in names)
        except ValueError:
            raise UserError(f"{', '.join(names[:4])} must be whole numbers, as torchrun sets them.") from None
        return cls(rank, size, local_rank, local_size, restarts)

    @property
    def launcher(self) -> str:
        """The same for all that one torchrun starts, restarts included."""
        return f"{os.environ.get('TORCHELASTIC_RUN_ID')}/{os.getppid()}"

    @property
    def command(self) -> str:
        """How such a run is started."""
        alone = " --standalone" if self.size == self.local_size else ""
        return f"torchrun{alone} --nproc-per-node={self.local_size} -m rungwise train"

    @cached_property
    def store(self) -> Any:
        """Where ranks leave each other messages before they are connected: torchrun's own."""
        store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        store.set_timeout(PATIENCE)
        return torch.distributed.distributed_c10d.PrefixStore(f"rungwise/{self.restarts}/{self.size}", store)

    def tell(self, job: Mapping[str, Any]) -> None:
        """Rank 0: what all are to do; nothing, where it is empty."""
        self.store.set("job", json.dumps(job))

    def hear(self) -> dict[str, Any]:
        """The other ranks: what rank 0 told."""
        return json.loads(self.store.get("job"))

    def answer(self, problem: str = "") -> None:
        """The other ranks: ready, or why not."""
        self.store.set(f"answer/{self.rank}", f"{problem}\n")

    def finish(self) -> None:
        """Rank 0, when it has written its last file."""
        with contextlib.suppress(RuntimeError):  # the store ends with torchrun
            self.store.set("finished", "")

    def await_finish(self) -> None:
        """The other ranks: until rank 0 has written its last file, or cannot be waited for. torchrun ends all ranks as
        soon as one fails, at its very exit, too. Signals end this process again, while it waits in the store's C++."""
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(RuntimeError):
            self.store.get("finished")

    def connect(self) -> None:
        """Once all are ready. On one machine, nothing listens beyond it."""
        if self.rank == 0:
            for rank in range(1, self.size):
                if problem := self.store.get(f"answer/{rank}").decode().strip():
                    raise UserError(f"Rank {rank} cannot take part: {problem}")
        if self.size == self.local_size and (interface := loopback()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        # Its functions take the process group of the moment of import as a default, and would keep it for ever.
        import torch.distributed.nn.functional

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with missed():
            dist.init_process_group(backend, store=self.store, rank=self.rank, world_size=self.size, timeout=TIMEOUT)


@contextlib.contextmanager
def missed() -> Iterator[None]:
    """A connection that broke is RankLost."""
    try:
        yield
    except RuntimeError as error:
        broken = isinstance(error, dist.DistError) or any(name in str(error) for name in ("gloo", "Gloo", "NCCL"))
        if not broken:
            raise
        what = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0].removesuffix(".")
        raise RankLost(f"A process of this run ended, or cannot be reached ({what})") from None

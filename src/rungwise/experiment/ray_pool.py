"""The tasks of a climb on an existing Ray cluster. Ray decides what runs where; we keep the results.

A task is given the experiment, with its words and their split, as a value. It works in a temporary directory, and gives
back its results and the files of its runs: the nodes share no disk with us. When a worker or a node dies, Ray does its
tasks again elsewhere. We take the answer of each task once, write its files, and then its results' lines.
"""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from rungwise.errors import UserError
from rungwise.experiment.plan import Experiment, Task, Update
from rungwise.experiment.results import Result
from rungwise.training.run_dir import CONFIG
from rungwise.util.files import atomic, make_folder
from rungwise.util.loading import need

RETRIES = 10
"""A task whose workers die more often than this ends the climb: it may be what kills them."""
ANSWERS_WITHIN = 5.0
"""Seconds in which a cluster must take a connection."""
LOST_AFTER = 5
"""Seconds without an answer after which the head is given up. Ray would wait for a minute, and then end the process."""
REPORT_EVERY = 1.0
"""Seconds between two reports of a task's progress."""

Answer = tuple[list[Result], dict[str, bytes]]
"""What a task gives back: its results, and the files of its runs by their paths under `out`."""


class RayPool:
    """See Pool in plan.py. Where this process is connected to a cluster already, that one is used, and left so."""

    def __init__(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # or Ray reports nodes that die on standard output
        os.environ.setdefault("RAY_CLIENT_RECONNECT_GRACE_PERIOD", str(LOST_AFTER))
        self.ray = need("ray", "--on ray needs", "ray")
        self.address = address
        self.left: dict[Any, int] = {}
        self.width = 0
        self.head: tuple[str, int] | None = None
        """Where it answers; None where this process was connected before, through a client."""
        self.answered = self.asked = 0.0

    def __enter__(self) -> Self:
        self.connected = not self.ray.is_initialized()
        if self.connected:
            self._connect()
        self.width = int(self.ray.cluster_resources().get("CPU", 0))
        if not self.width:
            self.__exit__()
            raise UserError(f"The Ray cluster at {self.address} has no CPUs to offer; add a node.")
        return self

    def __exit__(self, *_: object) -> None:
        if self.connected:
            self.ray.shutdown()  # which ends our tasks, too
            return
        for reference in self.left:
            with contextlib.suppress(Exception):  # it may have ended, or its cluster
                self.ray.cancel(reference, force=True)

    def _connect(self) -> None:
        """Ray itself would wait for minutes where nobody answers, so we knock first."""
        try:
            self.head = self._find()
            self._knock(self.head)
            logging.getLogger("ray.util.client.logsclient").disabled = True  # it sets a level of its own
            self.ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError) as error:
            raise UserError(
                f"No Ray cluster at {self.address} ({_line(error).rstrip('.')}). Start one: ray start --head, and on "
                "other machines ray start --address=HOST:6379; or leave out --on ray."
            ) from None
        except (RuntimeError, self.ray.exceptions.RayError) as error:  # another version of Python or Ray, say
            raise UserError(f"The Ray cluster at {self.address} cannot be used: {_line(error)}") from None

    def _find(self) -> tuple[str, int]:
        """Host and port of the head."""
        from ray._private.services import canonicalize_bootstrap_address  # it alone knows what auto means

        address = self.address
        found = address.removeprefix("ray://") if "://" in address else canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("none is running here")
        host, _, port = found.rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("an address is auto, HOST:PORT or ray://HOST:PORT")
        return host.strip("[]"), int(port)

    def _knock(self, head: tuple[str, int]) -> None:
        socket.create_connection(head, timeout=ANSWERS_WITHIN).close()
        self.answered = time.monotonic()

    def _check_head(self) -> None:
        """Once a second: does it still answer?"""
        if self.head is None or time.monotonic() < self.asked + 1:
            return
        self.asked = time.monotonic()
        try:
            self._knock(self.head)
        except OSError:
            if time.monotonic() - self.answered >= LOST_AFTER:
                raise ConnectionError from None

    def run(self, experiment: Experiment, out: Path, tasks: Sequence[Task]) -> Iterator[Update]:
        try:
            yield from self._run(experiment, out, tasks)
        except ConnectionError:  # ours, or of a client to its server
            raise UserError(
                f"The Ray cluster at {self.address} is gone: its head has not answered for {LOST_AFTER} s. "
                "What is done is kept: the same command goes on, once a cluster is there."
            ) from None

    def _run(self, experiment: Experiment, out: Path, tasks: Sequence[Task]) -> Iterator[Update]:
        if not tasks:
            return
        ray = self.ray
        shared = ray.put(experiment)  # once; a node's workers share one copy
        work = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
        board = self._board()
        self.left = {work.remote(shared, task, number, board): number for number, task in enumerate(tasks)}
        shares = dict.fromkeys(range(len(tasks)), 0.0)
        asked = board.read.remote()
        while self.left:
            self._check_head()
            new: list[Result] = []
            for reference in ray.wait(list(self.left), num_returns=len(self.left), timeout=0.2)[0]:
                number = self.left[reference]
                results, files = self._answer(reference, tasks[number])
                _place(out, files)
                del self.left[reference]
                new += results
                shares[number] = 1.0
            if ray.wait([asked], timeout=0)[0]:
                with contextlib.suppress(ray.exceptions.RayError):  # without its board, progress is whole tasks
                    reported = ray.get(asked)
                    shares |= {number: reported[number] for number in self.left.values() if number in reported}
                    asked = board.read.remote()
            yield new, shares

    def _board(self) -> Any:
        """Where tasks report their progress: an actor on this node, so that it lives as long as we do."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=True)
        return self.ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(_Board).remote()

    def _answer(self, reference: Any, task: Task) -> Answer:
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except exceptions.RayTaskError as error:  # raised by the task itself: it would be again
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from None
            if isinstance(error.cause, ImportError) or "failed to import" in str(error.cause):
                why = str(error.cause).strip().splitlines()[-1]
                raise UserError(f"Install this version of rungwise on every node of the cluster: {why}") from None
            raise error.cause from error
        except exceptions.RayError as error:
            raise UserError(
                f"Rung {task.rung.name}, seed {', '.join(map(str, task.seeds))}: its worker died {RETRIES + 1} times "
                f"({_line(error)}) What is done is kept: the same command goes on."
            ) from None


def _line(error: BaseException) -> str:
    """An error in a line: the first of its message, or the last of a traceback that it quotes."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1] if lines[0].endswith(":") else lines[0]


def _place(out: Path, files: dict[str, bytes]) -> None:
    """Write the files of runs; config.json comes last, so that a directory which has one is complete."""
    for name in sorted(files, key=lambda name: name.endswith(CONFIG)):
        make_folder((out / name).parent)
        with atomic(out / name) as temporary:
            temporary.write_bytes(files[name])


# ------------------------------------------------------------------------------------------------ on the cluster


class _Board:
    def __init__(self) -> None:
        self.shares: dict[int, float] = {}

    def write(self, number: int, share: float) -> None:
        self.shares[number] = share

    def read(self) -> dict[int, float]:
        return self.shares


def _work(experiment: Experiment, task: Task, number: int, board: Any) -> Answer:
    import torch

    from rungwise.experiment.task import measure

    torch.set_num_threads(1)
    reported = time.monotonic()

    def report(share: float) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_EVERY:
            reported = time.monotonic()
            board.write.remote(number, share)

    with tempfile.TemporaryDirectory(prefix="rungwise-") as folder:
        out = Path(folder)
        results = measure(experiment, task, out, report)
        files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return results, files

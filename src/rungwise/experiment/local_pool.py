"""The tasks of a climb in processes of this machine."""

import contextlib
import copy
import functools
import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Self

from rungwise.errors import UserError
from rungwise.experiment.plan import Experiment, Task, Update
from rungwise.experiment.results import Result
from rungwise.util.machine import MOST_WORKERS, kernel32, threads


class LocalPool:
    """See Pool in plan.py. Workers write their run directories themselves."""

    def __init__(self, processes: int) -> None:
        self.width = min(processes, MOST_WORKERS or processes)
        self.threads = threads(self.width)
        self.workers: Workers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.workers is not None:
            self.workers.end()

    def run(self, experiment: Experiment, out: Path, tasks: Sequence[Task]) -> Iterator[Update]:
        if not tasks:
            return
        context = _context()
        messages = context.Queue()
        shares = dict.fromkeys(range(len(tasks)), 0.0)
        given = (dict(os.environ), experiment, out, messages, self.threads)
        self.workers = Workers(min(self.width, len(tasks)), context, _begin, given)
        futures = self.workers.start(_work, enumerate(tasks))
        try:
            while futures:
                ended = {future for future in futures if future.done()}
                futures -= ended
                new = [result for future in ended for result in future.result()]  # raises what the task raised
                _listen(messages, shares)
                yield new, shares
        except BrokenProcessPool:
            raise UserError(
                f"A worker process was killed (out of memory?). What is done is kept: the same command goes on, "
                f"or with fewer --processes than {self.width}."
            ) from None


class Workers(ProcessPoolExecutor):
    """Processes that can be ended in the middle of a task, and that never hear Ctrl-C."""

    def __init__(self, n: int, context: Any, initializer: Callable[..., None], given: tuple[Any, ...] = ()) -> None:
        self.processes: list[Any] = []
        ours = copy.copy(context)
        ours.Process = functools.partial(self._process, context)  # by which the executor makes its processes
        super().__init__(n, ours, initializer, given)

    def _process(self, context: Any, *args: Any, **options: Any) -> Any:
        self.processes.append(context.Process(*args, **options))
        return self.processes[-1]

    def start(self, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> set[Future[Any]]:
        """Submit a call for each tuple of arguments; the processes start here."""
        with deaf_children():
            return {self.submit(work, *task) for task in tasks}

    def end(self) -> None:
        """Drop what waits, and end the processes, whatever they are doing."""
        self.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            if process.is_alive():
                process.terminate()


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C: they inherit a mask, and so do theirs. (A handler of
    their own would come too late: they import torch first.) We end them, and hear it when all of them are started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not hasattr(signal, "pthread_sigmask"):  # on Windows they inherit that we ignore it for the moment
        kernel32().SetConsoleCtrlHandler(None, True)
        try:
            yield
        finally:
            kernel32().SetConsoleCtrlHandler(None, False)
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))  # other threads have no mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def end_with_parent() -> None:
    """In a worker: a parent that is killed cannot end us, and nobody would take our results."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


LONGEST_FOLDER = 70
"""Characters of a folder for temporary files in which the server's socket, of at most 107, has its place."""


def _context() -> Any:
    """Workers are forked from a server that has imported torch once, for this climb and for later ones of this process;
    they are started afresh where a process with such libraries cannot be forked safely (macOS) or at all."""
    if sys.platform != "linux" or len(tempfile.gettempdir()) > LONGEST_FOLDER:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rungwise.experiment.task"])
    return context


def _listen(messages: Any, shares: dict[int, float]) -> None:
    """Wait a moment for word from the workers, then take all there is."""
    with contextlib.suppress(queue.Empty):
        number, share = messages.get(timeout=0.2)
        while True:
            shares[number] = share
            number, share = messages.get_nowait()


# ------------------------------------------------------------------------------------------------ in the worker

_given: tuple[Experiment, Path, Any, int]
"""Once a worker process, for all its tasks: experiment, directory, queue of messages, threads."""


def _begin(environment: dict[str, str], *given: Any) -> None:
    import torch

    global _given
    end_with_parent()
    os.environ.update(environment)  # the server that we are forked from has that of the first climb
    torch.set_num_threads(1)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # torch.compile would start processes of its own
    _given = given


def _work(number: int, task: Task) -> list[Result]:
    from rungwise.experiment.task import measure

    experiment, out, messages, threads = _given
    return measure(experiment, task, out, lambda share: messages.put((number, share)), threads)

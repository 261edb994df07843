"""Rungs x seeds -> results, over local processes with one thread each. Resumes by what is already there."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rungwise.config import Protocol, UserError
from rungwise.files import contents, lock, make_folder, read_json, write_json
from rungwise.lab import baselines
from rungwise.lab import results as results_module
from rungwise.lab.ladder import Rung
from rungwise.lab.results import RESULTS, Result
from rungwise.words import Split, WordList, split

SETTINGS = "climb.json"


@dataclass(frozen=True, eq=False)
class Climb:
    """What is to be measured, and where it is written."""

    words: WordList
    protocol: Protocol
    rungs: Sequence[Rung]
    seeds: Sequence[int]
    out: Path
    steps: int | None = None
    """Instead of each rung's own."""
    split_seed: int = 0
    engine: str = "auto"
    processes: int | None = None
    """None: one a core."""
    snapshots: bool = False
    """Keep words drawn at log-spaced steps, too."""

    def settings(self) -> dict[str, Any]:
        """What all results of one directory have in common."""
        return {
            "data": self.words.name,
            "data_sha256": self.words.sha256,
            "protocol": self.protocol.name,
            "steps": self.steps,
            "split_seed": self.split_seed,
        }


@dataclass(frozen=True)
class Task:
    """Replicas of one rung that are trained as one program, in one process."""

    rung: Rung
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """Where a climb stands."""

    done: list[Result]
    """All results so far, those of earlier climbs into the same directory too."""
    new: list[Result]
    """What has come since the last call."""
    share: float
    """Of the work, 0 to 1, by estimated cost."""
    seconds_left: float | None
    """None until enough is known."""


def open_directory(climb: Climb) -> list[Result]:
    """Begin in an empty directory, or go on; one that holds another climb, or anything else, is refused."""
    make_folder(climb.out)
    if not contents(climb.out):
        write_json(climb.out / SETTINGS, climb.settings())
        return []
    if not (climb.out / SETTINGS).exists():
        raise UserError(f"{climb.out} holds something else than a climb; give another --out.")
    there, mine = read_json(climb.out / SETTINGS), climb.settings()
    for name, value in mine.items():
        if there.get(name) != value:
            raise UserError(
                f"{climb.out} holds another climb ({name} {there.get(name)!r}, not {value!r}); give another --out."
            )
    wanted = {rung.name: rung for rung in climb.rungs}
    found = results_module.read(climb.out / RESULTS)
    return [r for r in found if r.rung not in wanted or results_module.matches(r, wanted[r.rung], climb.steps)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cost(rung: Rung, steps: int | None) -> float:
    """Relative cost of a replica, for the estimate of the time left: multiply-adds grow with the blocks' parameters."""
    m = rung.model
    a_block = m.n_embd * (4 * m.attention_width + (3 if m.mlp == "swiglu" else 2) * m.mlp_hidden)
    return (steps or rung.train.steps) * (m.n_layer * a_block + 5_000)


def plan(climb: Climb, done: Sequence[Result], processes: int, native: bool) -> list[Task]:
    """The tasks that are left, in the ladder's order.

    In the native engine replicas share nothing, so each is a task of its own and the cores stay evenly busy. Under
    PyTorch replicas share the dispatch of every operation: a rung's seeds stay together, unless that would leave
    cores without work.
    """
    have = {(r.rung, r.seed) for r in done}
    tasks = []
    for rung in climb.rungs:
        seeds = [seed for seed in climb.seeds if (rung.name, seed) not in have]
        groups = len(seeds) if native else min(len(seeds), -(-processes // len(climb.rungs)))
        tasks += [Task(rung, tuple(seeds[i::groups])) for i in range(groups)]
    return tasks


def run(climb: Climb, report: Callable[[Progress], None]) -> list[Result]:
    """Train and score whatever is missing; `report` is called with every result and several times a second.

    A result is appended to results.jsonl as soon as it is there, so a climb that is stopped loses only what was
    under way.
    """
    make_folder(climb.out)
    with lock(climb.out):
        return _run(climb, report)


def _run(climb: Climb, report: Callable[[Progress], None]) -> list[Result]:
    from rungwise.train import choose_engine

    done = open_directory(climb)
    parts = split(climb.words, climb.protocol, climb.split_seed)  # refuses a list too short before work begins
    baselines.write(climb.out, climb.words, parts, climb.protocol, climb.split_seed)
    processes = climb.processes or cores()
    tasks = plan(climb, done, processes, choose_engine(climb.engine) == "native")
    total = sum(cost(t.rung, climb.steps) * len(t.seeds) for t in tasks)
    report(Progress(done, [], 0.0 if tasks else 1.0, None))
    if not tasks:
        return done
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    shares = dict.fromkeys(range(len(tasks)), 0.0)
    began = time.monotonic()
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _begin, (climb, messages))
    try:
        futures = {pool.submit(_work, i, task): i for i, task in enumerate(tasks)}
        while futures:
            new = _finished(futures)
            for result in new:
                results_module.append(climb.out / RESULTS, result)
            done += new
            _listen(messages, shares)
            spent = sum(cost(t.rung, climb.steps) * len(t.seeds) * shares[i] for i, t in enumerate(tasks)) / total
            elapsed = time.monotonic() - began
            left = elapsed * (1 - spent) / spent if spent > 0.01 and elapsed > 3 else None
            report(Progress(done, new, spent, left))
    except BrokenProcessPool:
        raise UserError(
            f"A worker process was killed (out of memory?). What is done is kept: the same command goes on, "
            f"or with fewer --processes than {processes}."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((pool._processes or {}).values()):
            process.terminate()
    return done


def _finished(futures: dict[Future[list[Result]], int]) -> list[Result]:
    """Results of the tasks that have ended; their errors are raised here."""
    ended = [future for future in futures if future.done()]
    new = []
    for future in ended:
        del futures[future]
        new += future.result()
    return new


def _listen(messages: Any, shares: dict[int, float]) -> None:
    """Wait a moment for word from the workers, then take all there is."""
    try:
        number, share = messages.get(timeout=0.2)
        shares[number] = share
        while True:
            number, share = messages.get_nowait()
            shares[number] = share
    except queue.Empty:
        pass


# ------------------------------------------------------------------------------------------------ in the worker

_climb: Climb
_parts: Split
_messages: Any


def _begin(climb: Climb, messages: Any) -> None:
    """Once a worker process: one thread, and the list split once for all its tasks."""
    import torch

    global _climb, _parts, _messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _climb, _parts, _messages = climb, split(climb.words, climb.protocol, climb.split_seed), messages


def _end_with_parent() -> None:
    """A parent that is killed cannot end us: nobody would take our results, and a new climb does the work again."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _work(number: int, task: Task) -> list[Result]:
    from rungwise.lab.measure import measure

    return measure(_climb, _parts, task, lambda share: _messages.put((number, share)))

"""An experiment run to its end: every result in results.jsonl, and the other files that tables and reports read. A
directory that holds a part of it is completed. A pool decides where the tasks run (local_pool.py, ray_pool.py)."""

import time
from collections.abc import Callable
from pathlib import Path

from rungwise.config import EngineConfig
from rungwise.data.batches import Tape, check_windows
from rungwise.errors import UserError
from rungwise.experiment import baselines
from rungwise.experiment import results as results_module
from rungwise.experiment.collect import collect
from rungwise.experiment.ladder_file import LADDER_FILE
from rungwise.experiment.local_pool import LocalPool
from rungwise.experiment.plan import Experiment, Pool, Progress, cost, plan
from rungwise.experiment.results import RESULTS, SETTINGS, Result
from rungwise.util.files import contents, lock, make_folder, read_json, write_json, write_text
from rungwise.util.machine import cores


def make_pool(how: EngineConfig, processes: int | None = None, ray: str | None = None) -> Pool:
    """Processes of this machine, or the Ray cluster at an address: auto, HOST:PORT or ray://HOST:PORT.

    Without `processes`, one a core, each with one thread; one for a GPU, where the replicas of a rung are one program.
    """
    from rungwise.engine.select import on_a_gpu

    if ray is None:
        return LocalPool(processes or (1 if on_a_gpu(how) else cores()))
    from rungwise.experiment.ray_pool import RayPool  # only where a cluster is asked for

    return RayPool(ray)


def open_directory(experiment: Experiment, out: Path) -> list[Result]:
    """Begin in an empty directory, or go on; one that holds another climb, or anything else, is refused."""
    make_folder(out)
    if not contents(out):
        write_json(out / SETTINGS, experiment.settings())
        return []
    if not (out / SETTINGS).exists():
        raise UserError(f"{out} holds something else than a climb; give another --out.")
    there, mine = read_json(out / SETTINGS), experiment.settings()
    for name in dict.fromkeys([*mine, "reading"]):
        if there.get(name) != mine.get(name):
            raise UserError(
                f"{out} holds another climb ({name} {there.get(name)!r}, not {mine.get(name)!r}); give another --out."
            )
    wanted = {rung.name: rung for rung in experiment.rungs}
    found = results_module.read(out / RESULTS)
    return [r for r in found if r.rung not in wanted or results_module.matches(r, wanted[r.rung], experiment.steps)]


def run(
    experiment: Experiment, out: Path, pool: Pool, report: Callable[[Progress], None] = lambda progress: None
) -> list[Result]:
    """Train and score in `pool` what is missing in the directory `out`; returns all results that it then holds.

    `report` is called with every result and several times a second. A result is appended to results.jsonl as soon as
    it is there, so a climb that is stopped loses only the tasks that were running. At the end, words.parquet and
    curves.parquet are gathered from the runs; baselines.json is counted before the first task.
    """
    for on in experiment.each:
        tape = Tape.of(on.words, on.parts.train, on.protocol)
        for rung in on.rungs:
            check_windows(tape, rung.train)
    make_folder(out)
    with lock(out):
        done = open_directory(experiment, out)
        if experiment.ladder_file:
            write_text(out / LADDER_FILE, experiment.ladder_file)
        with pool:
            baselines.write(out, experiment)
            _run_tasks(experiment, out, pool, done, report)
        collect(out)
    return done


def _run_tasks(
    experiment: Experiment, out: Path, pool: Pool, done: list[Result], report: Callable[[Progress], None]
) -> None:
    """Add the results that are missing to `done` and to results.jsonl."""
    from rungwise.engine.select import replicas_together

    width = pool.width
    tasks = plan(experiment, done, width, lambda r: replicas_together(experiment.how, *experiment.configs(r), width))
    costs = [cost(task.rung, experiment.steps) * len(task.seeds) for task in tasks]
    report(Progress(done, [], 0.0 if tasks else 1.0, None))
    began = time.monotonic()
    for new, shares in pool.run(experiment, out, tasks):
        for result in new:
            results_module.append(out / RESULTS, result)
        done += new
        spent = sum(costs[number] * share for number, share in shares.items()) / sum(costs)
        elapsed = time.monotonic() - began
        left = elapsed * (1 - spent) / spent if spent > 0.01 and elapsed > 3 else None
        report(Progress(done, new, spent, left))

"""Rungs x seeds -> results: the plan, and the books. Resumes by what is already there.

Where the tasks run is a pool's business: processes of this machine (local.py), or a Ray cluster (on_ray.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rungwise.data.batches import Tape, check_windows
from rungwise.data.words import Split, split
from rungwise.errors import UserError
from rungwise.experiment import baselines
from rungwise.experiment import results as results_module
from rungwise.experiment.collect import collect
from rungwise.experiment.local_pool import LocalPool
from rungwise.experiment.plan import Climb, Pool, Progress, cost, plan
from rungwise.experiment.results import RESULTS, Result
from rungwise.util.files import contents, lock, make_folder, read_json, write_json
from rungwise.util.machine import cores

SETTINGS = "climb.json"


def make_pool(climb: Climb) -> Pool:
    """A process a core, each with one thread; one for a GPU, where the replicas of a rung are one program."""
    from rungwise.engine.select import on_a_gpu

    if climb.ray is None:
        return LocalPool(climb.processes or (1 if on_a_gpu(climb.how) else cores()))
    from rungwise.experiment.ray_pool import RayPool  # only where a cluster is asked for

    return RayPool(climb.ray)


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


def run(climb: Climb, report: Callable[[Progress], None]) -> list[Result]:
    """Train and score whatever is missing; `report` is called with every result and several times a second.

    A result is appended to results.jsonl as soon as it is there, so a climb that is stopped loses only what was
    under way.
    """
    parts = split(climb.words, climb.protocol, climb.split_seed)  # refuses a list too short before work begins
    tape = Tape.of(climb.words, parts.train, climb.protocol)
    for rung in climb.rungs:
        check_windows(tape, rung.train)
    make_folder(climb.out)
    with lock(climb.out):
        return _run(climb, parts, report)


def _run(climb: Climb, parts: Split, report: Callable[[Progress], None]) -> list[Result]:
    from rungwise.engine.select import replicas_together

    done = open_directory(climb)
    with make_pool(climb) as pool:
        baselines.write(climb.out, climb.words, parts, climb.protocol, climb.split_seed)
        tasks = plan(
            climb, done, pool.width, lambda rung: replicas_together(climb.how, *climb.configs(rung), pool.width)
        )
        costs = [cost(task.rung, climb.steps) * len(task.seeds) for task in tasks]
        report(Progress(done, [], 0.0 if tasks else 1.0, None))
        began = time.monotonic()
        for new, shares in pool.run(climb, parts, tasks):
            for result in new:
                results_module.append(climb.out / RESULTS, result)
            done += new
            spent = sum(costs[number] * share for number, share in shares.items()) / sum(costs)
            elapsed = time.monotonic() - began
            left = elapsed * (1 - spent) / spent if spent > 0.01 and elapsed > 3 else None
            report(Progress(done, new, spent, left))
    collect(climb.out)
    return done

"""Workers of a climb on this machine: ended in the middle of a task, they and nobody else."""

import multiprocessing
import sys
import time

import pytest

from conftest import make_words
from rungwise.config import get_protocol
from rungwise.errors import UserError
from rungwise.experiment.climb import run
from rungwise.experiment.local_pool import LocalPool, Workers
from rungwise.experiment.plan import Experiment
from rungwise.experiment.results import RESULTS
from rungwise.ladder import select


def test_workers_end_in_the_middle_of_a_task_and_other_processes_go_on():
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    other = context.Process(target=time.sleep, args=(60,), daemon=True)
    other.start()
    workers = Workers(2, context, int)
    workers.start(time.sleep, [(60,), (60,)])
    assert [process.is_alive() for process in workers.processes] == [True, True]
    workers.end()
    for process in workers.processes:
        process.join(10)  # its status may be read by the executor's thread first, and is not there a second time
        assert not process.is_alive()
    assert other.is_alive()
    other.terminate()


def test_a_worker_that_is_killed_ends_the_climb_with_one_line(tmp_path):
    experiment = Experiment(make_words(), get_protocol("strict"), select("gelu"), [0], steps=100_000)
    pool = LocalPool(1)

    def kill(progress):
        for process in pool.workers.processes if pool.workers else ():
            process.kill()

    with pytest.raises(UserError, match=r"^A worker process was killed .* the same command goes on, or with fewer --p"):
        run(experiment, tmp_path / "out", pool, kill)
    assert not (tmp_path / "out" / RESULTS).exists()

"""A climb on a real Ray cluster of several nodes, here on one machine; one of them is killed in mid-run.

Everything is bound to 127.0.0.1. Ray takes 127.0.0.1 in an address for "this machine, as others see it", where such a
cluster does not listen; the same address in its IPv6 form it leaves alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import make_words
from helpers import command
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.experiment.climb import make_pool, run
from rungwise.experiment.plan import Experiment, Progress
from rungwise.experiment.ray_pool import LOST_AFTER
from rungwise.experiment.results import RESULTS, Result
from rungwise.ladder import Rung, select
from rungwise.training.run_dir import METRICS, WEIGHTS
from rungwise.util.files import read_lines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes in /proc")
NODE = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    with started_cluster() as started:
        yield started


@contextlib.contextmanager
def started_cluster():
    """A head that runs no tasks, and two nodes that run one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        for _ in range(2):
            started.add_node(**NODE, num_cpus=1)
        yield started
    finally:
        started.shutdown()


def address(cluster) -> str:
    return f"[::ffff:127.0.0.1]:{cluster.address.rpartition(':')[2]}"


def setting(**changes) -> Experiment:
    return Experiment(**{
        "words": make_words(), "protocol": get_protocol("strict"), "rungs": select("baseline"), "seeds": [0, 1],
        "steps": 30, **changes,
    })  # fmt: skip


def climb(out: Path, experiment: Experiment, ray: str | None = None, report=lambda progress: None) -> list[Result]:
    """In two processes of this machine, or on a cluster."""
    return run(experiment, out, make_pool(experiment.how, 2, ray), report)


def workers(raylet: int) -> list[int]:
    """Processes of this node that run a task of a climb right now. Ray names its workers by what they do."""
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    return [int(child) for child in children if b"ray::_work" in Path(f"/proc/{child}/cmdline").read_bytes()]


def working(raylet: int) -> bool:
    return bool(workers(raylet))


def lines(out: Path) -> dict[tuple[str, int], dict]:
    """The results by rung and seed; each must be there once."""
    found = {}
    for line in read_lines(out / RESULTS):
        assert found.setdefault((line["rung"], line["seed"]), line) is line
    return found


def assert_same(a: Path, b: Path) -> None:
    """The same results, to the bit, and the same runs."""
    assert lines(a).keys() == lines(b).keys()
    for (rung, seed), line in lines(a).items():
        other = lines(b)[rung, seed]
        assert {k: line[k] for k in ("train_loss", "test_loss", "detail")} == {
            k: other[k] for k in ("train_loss", "test_loss", "detail")
        }
        for name in (WEIGHTS, METRICS, "samples.txt", "scores.parquet", "vocabulary.json"):
            where = Path(rung) / f"seed-{seed}" / name
            assert (a / where).read_bytes() == (b / where).read_bytes()


def start(where: str, out: Path, listed: Path, rungs: str, seeds: int, steps: int) -> subprocess.Popen:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rungwise", "climb", "--data", str(listed), "--rungs", rungs, "--seeds", str(seeds),
         "--steps", str(steps), "--protocol", "strict", "--out", str(out), "--json", "--on", "ray", "--address", where],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def raylet_of(node) -> int:
    return next(info[0].process.pid for kind, info in node.all_processes.items() if kind == "raylet")


@pytest.fixture
def listed(tmp_path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(make_words()))
    return path


def test_a_node_that_is_killed_loses_nothing(cluster, tmp_path, listed):
    """Its task is done again elsewhere, and the climb ends as a climb on this machine alone does, to the bit."""
    node = cluster.add_node(**NODE, num_cpus=1)
    out, raylet = tmp_path / "ray", raylet_of(node)
    driver = start(address(cluster), out, listed, "baseline,2-heads,4-layers", 2, 1100)
    until(lambda: working(raylet))
    time.sleep(0.5)  # in the middle of it
    assert working(raylet)
    os.kill(raylet, signal.SIGKILL)
    assert len(lines(out)) < 6
    told, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0
    assert [json.loads(line)["rung"] for line in told.splitlines()].count("4-layers") == 2
    cluster.remove_node(node, allow_graceful=False)
    assert len(lines(out)) == 6
    rungs = select("baseline,2-heads,4-layers")
    climb(tmp_path / "local", setting(words=words.load(str(listed)), rungs=rungs, steps=1100))
    assert_same(tmp_path / "local", out)


@pytest.mark.long
def test_a_climb_moves_to_a_cluster_and_back(cluster, tmp_path):
    out = tmp_path / "out"
    climb(out, setting(seeds=[0]))
    seen: list[Progress] = []
    assert len(climb(out, setting(seeds=[0, 1]), address(cluster), seen.append)) == 2
    assert [result.seed for progress in seen for result in progress.new] == [1]
    assert seen[-1].share == pytest.approx(1)
    assert len(climb(out, setting(seeds=[0, 1, 2]))) == 3
    assert set(lines(out)) == {("baseline", 0), ("baseline", 1), ("baseline", 2)}


@pytest.mark.long
def test_what_goes_wrong_in_a_task_ends_the_climb_with_its_line(cluster, tmp_path):
    wild = Rung("wild", "wild", "side", "gelu", {"weight_decay": 1e9}, "It diverges.", "rungwise")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^Training diverged: the loss of step \d+ is not finite\. Try [^\n]*$"):
        climb(tmp_path / "out", setting(rungs=[wild], seeds=range(5)), address(cluster))
    assert not lines(tmp_path / "out")
    assert time.monotonic() - began < 60  # it was not tried ten times more


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--on", "ray", "--address", "127.0.0.1:1"], "No Ray cluster at 127.0.0.1:1 ("),
        (["--on", "ray", "--address", "ray://127.0.0.1:1"], "No Ray cluster at ray://127.0.0.1:1 ("),
        (["--on", "ray", "--address", "nowhere"], "No Ray cluster at nowhere ("),
        (["--on", "ray", "--processes", "2"], "--processes counts processes of this machine"),
        (["--address", "auto"], "--address is of a Ray cluster: say --on ray, too"),
    ],
)
def test_no_cluster_is_one_line(tmp_path, arguments, said):
    told = command("climb", "--data", "given-names", "--out", tmp_path / "out", *arguments)
    assert told.status == 2
    assert told.err.startswith(f"rungwise: error: {said}")
    assert told.err.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["auto", "ray://"])
def test_other_ways_to_say_where_the_cluster_is(cluster, tmp_path, monkeypatch, kind):
    if kind == "auto":  # which asks the environment first
        monkeypatch.setenv("RAY_ADDRESS", address(cluster))
        assert len(climb(tmp_path / "out", setting(), "auto")) == 2
        return
    with client_server(cluster) as (where, _):
        try:
            results = climb(tmp_path / "out", setting(), where)
        except UserError:  # on a busy machine the server needs longer than the 30 s that it gives itself
            results = climb(tmp_path / "out", setting(), where)
        assert len(results) == 2


@contextlib.contextmanager
def client_server(cluster):
    """Its address and its process: for those whom the nodes cannot reach."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "ray.util.client.server", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([*server, "--address", address(cluster)], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port))
            yield f"ray://127.0.0.1:{port}", process
        finally:
            process.terminate()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["direct", "ray://"])
def test_a_head_that_dies_is_one_line_within_seconds_and_the_climb_goes_on_elsewhere(tmp_path, listed, kind):
    out = tmp_path / "out"
    with started_cluster() as cluster, client_server(cluster) as (client, server):
        where = address(cluster) if kind == "direct" else client
        for _ in range(3):  # on a busy machine the client's server needs longer than the 30 s that it gives itself
            driver = start(where, out, listed, "baseline", 40, 400)
            until(lambda driver=driver: lines(out) or driver.poll() is not None)
            if lines(out):
                break
        began = time.monotonic()
        doomed = [info[0].process.pid for info in cluster.head_node.all_processes.values()]
        for process in [*doomed, server.pid]:
            os.kill(process, signal.SIGKILL)
        _, told = driver.communicate(timeout=120)
        assert time.monotonic() - began < 45  # Ray's own: 60
        assert driver.returncode == 2
        *_, progress, last = told.splitlines()
        assert last == (
            f"rungwise: error: The Ray cluster at {where} is gone: its head has not answered for {LOST_AFTER} s. "
            "What is done is kept: the same command goes on, once a cluster is there."
        )
        assert "Traceback" not in told and "[" not in progress  # Ray's own lines begin with it
    before = lines(out)
    assert 0 < len(before) < 40
    climb(out, setting(words=words.load(str(listed)), seeds=range(40), steps=400))
    assert len(lines(out)) == 40
    assert lines(out).items() >= before.items()


def listens(port: int) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, getattr(signal, "SIGKILL", 9)])
def test_a_driver_that_is_stopped_stops_its_tasks_and_another_goes_on(cluster, tmp_path, listed, number):
    out, raylets = tmp_path / "out", [raylet_of(node) for node in cluster.worker_nodes]
    what = (address(cluster), out, listed, "baseline,2-heads", 4, 4000)
    driver = start(*what)
    until(lambda: (out / RESULTS).exists() and any(map(working, raylets)))
    driver.send_signal(number)
    _, told = driver.communicate(timeout=60)
    assert driver.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert told.strip().endswith("rungwise: stopped; what is done is kept.")
        assert "Traceback" not in told
    until(lambda: not any(map(working, raylets)), 30)
    before = lines(out)
    assert 0 < len(before) < 8
    again = start(*what)
    again.communicate(timeout=300)
    assert again.returncode == 0
    assert lines(out).items() >= before.items()
    assert len(lines(out)) == 8


@pytest.mark.long
def test_a_task_that_kills_its_workers_ends_the_climb(cluster, tmp_path, monkeypatch):
    """Not for ever tried again. The driver asks for few retries; the worker is killed from outside, each time."""
    from rungwise.experiment import ray_pool as on_ray

    monkeypatch.setattr(on_ray, "RETRIES", 1)

    def report(progress: Progress) -> None:
        for node in cluster.worker_nodes:
            for worker in workers(raylet_of(node)):
                os.kill(worker, signal.SIGKILL)

    with pytest.raises(UserError, match=r"Rung gelu, seed \d(, \d)?: its worker died 2 times .* the same command"):
        climb(tmp_path / "out", setting(rungs=select("gelu"), steps=100_000), address(cluster), report)

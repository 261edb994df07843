"""Where the evaluations of a run can be watched: TensorBoard and trackio, each an observer of the trainer.

Both write under the run directory and nowhere else. Neither starts a server or speaks to anybody:
`tensorboard --logdir OUT/tensorboard` and `TRACKIO_DIR=OUT/trackio trackio show` are the user's to start.
"""

import contextlib
import importlib.util
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rungwise.errors import UserError
from rungwise.training.run_dir import read_metrics
from rungwise.training.trainer import Event, Observe
from rungwise.util.files import require_utf8

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the step and the values of an evaluation."""
PROJECT = "rungwise"
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL")
"""By these, trackio would send what it is given to somebody."""


def require(names: Sequence[str], out: Path) -> None:
    """Before anything is written: are they installed, and can they write there?"""
    if "tensorboard" in names:
        require_utf8(out, "tensorboard")
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--{name} needs the package {name}: pip install 'rungwise[track]'")


@contextlib.contextmanager
def watch(names: Sequence[str], out: Path, step: int) -> Iterator[Observe]:
    """Yields what passes each evaluation on to all of them. What they hold of steps after `step`, from before a run was
    killed, is withdrawn."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context({"tensorboard": _tensorboard, "trackio": _trackio}[n](out, step)) for n in names]

        def observe(event: Event) -> None:
            if event.kind == "evaluation":
                for log in opened:
                    log(event.step, event.values)

        yield observe


@contextlib.contextmanager
def _tensorboard(out: Path, step: int) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard"), purge_step=step + 1) as events:

        def log(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                events.add_scalar(name, value, step)
            events.flush()

        yield log


@contextlib.contextmanager
def _trackio(out: Path, step: int) -> Iterator[Log]:
    """A resumed run is logged anew from its metrics.jsonl, whose lines of after `step` are gone: trackio cannot take
    points back. What trackio prints (where it writes, how to look) is left out: `rungwise train --help` says it."""
    folder = out.resolve() / "trackio"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    os.environ.update(TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1")  # read when it is imported
    trackio = importlib.import_module("trackio")
    if Path(trackio.utils.TRACKIO_DIR) != folder:
        raise UserError("trackio is at work in another directory already: a process of its own is needed.")
    with contextlib.redirect_stdout(io.StringIO()):
        trackio.init(PROJECT, name=out.resolve().name, embed=False, auto_log_cpu=False, auto_log_gpu=False)
    try:
        for line in read_metrics(out):
            if "train_loss" in line:
                trackio.log({name: value for name, value in line.items() if name != "step"}, line["step"])
        yield lambda step, values: trackio.log(dict(values), step)
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()

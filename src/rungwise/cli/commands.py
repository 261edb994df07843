"""What each command does with its options, by its name: COMMANDS. What is heavy is imported where a command runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rungwise.cli.flags import given
from rungwise.cli.options import (
    BenchCommand,
    ClimbCommand,
    DataCommand,
    EvalCommand,
    ExportCommand,
    LadderCommand,
    PlayCommand,
    ReportCommand,
    SampleCommand,
    TrainCommand,
)
from rungwise.config import ListConfig
from rungwise.config.settings import Settings, read_file
from rungwise.errors import UserError
from rungwise.util.interrupt import is_follower


def _climb(asked: ClimbCommand) -> None:
    from rungwise.cli.climb import climb

    climb(asked)


def _train(asked: TrainCommand) -> None:
    values = given(asked.list, asked.run_, asked.model, asked.training)
    if asked.resume and (others := [name for name in values if name != "data"] + ["config"] * bool(asked.config)):
        flag = others[0].replace("_", "-")
        raise UserError(f"--resume reads everything from {asked.out}; leave out --{flag}.")
    where = "command line"
    if asked.config:
        values, where = read_file(asked.config) | values, str(asked.config)
    settings = Settings.of(values, where)
    from rungwise.training import follower
    from rungwise.training import run as training

    track = [name for name in ("tensorboard", "trackio") if getattr(asked, name)]
    if is_follower():
        follower.follow()
    elif asked.resume:
        training.resume(asked.out, values.get("data"), track)
    else:
        training.start(asked.out, settings, track)


def _sample(asked: SampleCommand) -> None:
    from rungwise.cli.sample import sample
    from rungwise.inference.sample import Sampling
    from rungwise.util.files import portable

    prefix = portable(asked.prefix)
    sampling = Sampling(
        asked.temperature, asked.top_k, asked.top_p, prefix, asked.max_length, asked.unique, asked.new_only
    )
    sample(asked.run_dir, asked.n, sampling, asked.seed, asked.json, asked.weights)


def _eval(asked: EvalCommand) -> None:
    source = ListConfig(asked.list, asked.encoding, asked.column, asked.max_length)
    from rungwise.cli.evaluate import evaluate

    evaluate(asked.run_dir, source, asked.words, asked.json, asked.weights)


def _data(asked: DataCommand) -> None:
    source = ListConfig(asked.list, asked.encoding, asked.column, asked.max_length)
    from rungwise.data.describe import show

    show(source, asked.json, asked.counts)


def _report(asked: ReportCommand) -> None:
    from rungwise.report.build import write

    if not asked.paths:
        raise UserError("Nothing to report on; give a climb's directory, such as runs/names-article.")
    for path in write(asked.paths, asked.out, asked.peers):
        print(f"Wrote {path}")


def _ladder(asked: LadderCommand) -> None:
    from rungwise.cli.climb import ladder

    ladder()


def _play(asked: PlayCommand) -> None:
    from rungwise.play.page import play

    play(asked.runs, asked.out, asked.data, asked.seed, asked.precision, asked.chapters, asked.serve, asked.port)


def _export(asked: ExportCommand) -> None:
    from rungwise.export import export

    out, made = export(asked.run_dir, asked.format, asked.out)
    print(f"Wrote {out}: {made.what}. Its logits differ from the model's by at most {made.error:.1e}.")


def _bench(asked: BenchCommand) -> None:
    from rungwise.bench import Request, bench

    request = Request(asked.rounds, asked.short, asked.makemore, asked.microgpt_c, asked.full, asked.data, asked.engine)
    bench(request, asked.json, asked.out)


COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "climb": (ClimbCommand, _climb),
    "train": (TrainCommand, _train),
    "sample": (SampleCommand, _sample),
    "eval": (EvalCommand, _eval),
    "data": (DataCommand, _data),
    "report": (ReportCommand, _report),
    "ladder": (LadderCommand, _ladder),
    "play": (PlayCommand, _play),
    "export": (ExportCommand, _export),
    "bench": (BenchCommand, _bench),
}
"""Each command's name, its options, and what runs it."""


def run(asked: Any) -> None:
    """Run the command whose options these are."""
    dict(COMMANDS.values())[type(asked)](asked)

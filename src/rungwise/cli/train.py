"""`rungwise train`: a run from its beginning, or from where it was stopped; also what torchrun's other processes do."""

from __future__ import annotations

from rungwise.cli.flags import given
from rungwise.cli.options import TrainCommand
from rungwise.config.settings import Settings, read_file
from rungwise.errors import UserError
from rungwise.util.interrupt import is_follower


def train(options: TrainCommand) -> None:
    values = given(options.list, options.run_, options.model, options.training)
    if options.resume and (others := [name for name in values if name != "data"] + ["config"] * bool(options.config)):
        flag = others[0].replace("_", "-")
        raise UserError(f"--resume reads everything from {options.out}; leave out --{flag}.")
    where = "command line"
    if options.config:
        values, where = read_file(options.config) | values, str(options.config)
    settings = Settings.of(values, where)
    from rungwise.training import follower, run  # torch takes seconds: what is wrong above is said before

    track = [name for name in ("tensorboard", "trackio") if getattr(options, name)]
    if is_follower():
        follower.follow()
    elif options.resume:
        run.resume(options.out, values.get("data"), track)
    else:
        run.start(options.out, settings, track)

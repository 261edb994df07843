"""`rungwise train`: a run from its beginning, or from where it was stopped; also what torchrun's other processes do."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rungwise.cli.flags import given
from rungwise.cli.options import TrainCommand
from rungwise.config.settings import FROM_THE_LIST, KINDS, Settings
from rungwise.errors import UserError, closest
from rungwise.util import hints
from rungwise.util.files import read_object
from rungwise.util.interrupt import is_follower
from rungwise.util.machine import cores


def train(options: TrainCommand) -> None:
    values = given(options.list, options.run_, options.model, options.training)
    if options.resume and (others := [name for name in values if name != "data"] + ["config"] * bool(options.config)):
        flag = others[0].replace("_", "-")
        raise UserError(f"--resume reads everything from {options.out}; leave out --{flag}.")
    where = "command line"
    if options.config:
        values, where = read_file(options.config) | values, str(options.config)
    if options.ensemble < 1 or (options.distill and options.resume):
        what = "--ensemble must be at least 1." if options.ensemble < 1 else "--resume reads all: leave out --distill."
        raise UserError(what)
    if options.distill:
        values = {**values, "teachers": options.ensemble}
    settings = Settings.of(values, where)
    if options.ensemble > 1 and not options.distill:
        _ensemble(options, settings)
        return
    from rungwise.training import follower, run  # torch takes seconds: what is wrong above is said before

    track = [name for name in ("tensorboard", "trackio") if getattr(options, name)]
    if is_follower():
        follower.follow()
    elif options.resume:
        run.resume(options.out, values.get("data"), track)
    else:
        run.start(options.out, settings, track)


def _ensemble(options: TrainCommand, settings: Settings) -> None:
    """A run of `rungwise train` for each seed, with the flags of this one, in a process of its own."""
    if settings.list.data == "-":
        raise UserError("--ensemble reads the list once for each run: give a file instead of standard input.")
    fields = given(options.list, options.run_, options.model, options.training)
    how = [part for name, value in fields.items() if name != "seed" for part in (f"--{name.replace('_', '-')}", value)]
    how += ["--config", options.config] if options.config else []
    how += [f"--{name}" for name in ("resume", "tensorboard", "trackio") if getattr(options, name)]
    seeds = range(settings.run.seed, settings.run.seed + options.ensemble)

    def train_one(seed: int) -> None:
        own = [] if options.resume else ["--seed", seed]
        arguments = map(str, ["train", "--out", options.out / f"seed-{seed}", *how, *own])
        done = subprocess.run(
            [sys.executable, "-m", "rungwise", *arguments], capture_output=True, text=True, check=False
        )
        print(f"Seed {seed}:\n{done.stdout}", end="", flush=True)
        if done.returncode:
            raise UserError(f"Seed {seed}: {(done.stderr.strip().splitlines() or ['ended'])[-1]}")

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(train_one, seeds))
    print(f"The mean of the {options.ensemble} models: {hints.command('eval', options.out, 'LIST')}")


def read_file(path: Path) -> dict[str, Any]:
    """Fields from a JSON or TOML file, flat or in sections; a run's own config.json is one, too."""
    try:
        values = read_object(path, tomllib.loads if path.suffix.lower() == ".toml" else json.loads)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"No configuration file at {str(path)!r}.") from None
    if "format" in values:  # a run's: of the rest, what is measured or found out stays behind
        values = {section: values.get(section) for section in KINDS}
        if isinstance(values["run"], dict):
            values["run"].pop("budget", None)  # what it chose is told
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in KINDS:
            found[name] = value
        elif not isinstance(value, dict):
            raise UserError(f"{path}: section {name!r} must hold fields.")
        else:
            allowed = KINDS[name].fields()
            if unknown := [field for field in value if field not in allowed]:
                raise UserError(f"{path}: unknown field {unknown[0]!r} in {name!r}; {closest(unknown[0], allowed)}")
            found |= {field: v for field, v in value.items() if field not in FROM_THE_LIST}
    return found

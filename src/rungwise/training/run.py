"""What `rungwise train` does.

A run that is started writes vocabulary.json, what it keeps of its list (material.py) and config.json, in that order: a
directory with config.json can be gone on with. samples.txt comes last of all: a directory with it is complete.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rungwise.config import ListConfig, get_protocol
from rungwise.config.settings import KINDS, Settings
from rungwise.data import dataset
from rungwise.data.dataset import Listed, Material, Sharded
from rungwise.data.words import WordList
from rungwise.engine.process_group import World
from rungwise.errors import UserError
from rungwise.ladder import get_rung
from rungwise.training import run_dir, trackers
from rungwise.training.job import Job, Say, choose_engine, own_threads
from rungwise.training.run_dir import CONFIG, SAMPLES, VOCABULARY, Run
from rungwise.training.run_dir import load as load_run
from rungwise.util.files import contents, lock, make_folder


def start(
    out: Path, asked: Settings, track: Sequence[str] = (), say: Say = print, listed: WordList | None = None
) -> Run:
    """Train one model from the beginning and write its run directory. `track`: tensorboard, trackio."""
    world = World.from_environment()
    if world and _is_ours(out, world):
        return resume(out, None, track, say)
    protocol = get_protocol(asked.run.protocol)
    rung = get_rung(asked.run.rung or "final")
    engine_name = choose_engine(asked, world)
    trackers.require(track, out)
    if world and world.size > 1 and asked.list.data == "-":
        raise UserError(f"Standard input reaches one process of {world.size} only: give a file.")
    if listed is None:
        batching = asked.changes.get("batching", rung.train.batching)
        of, source = dataset.load(asked.list, asked.run.protocol, batching)
    else:
        of, source = Listed(listed, protocol), ListConfig(data="-")  # no file holds it
    say(of.describe())
    if asked.run.rung is None:
        asked = asked.suited_to(of.n_train)
    model, config = asked.model_and_train(rung.model, rung.train, len(of.vocabulary), of.block_size)
    for line in asked.remarks(rung.train, model, config, of.n_train):
        say(line)
    info = {
        "seed": asked.run.seed,
        "rung": rung.name,
        "split_seed": 0,
        "engine": engine_name,
        "threads": own_threads(world),
        "started": run_dir.now(),
        **({"launcher": world.launcher} if world else {}),
        **run_dir.origin(of),
        "list": source.to_dict(),
        "run": asked.run.to_dict(),
    }
    make_folder(out)
    with lock(out):
        _refuse_occupied(out)
        configs, data = run_dir.Configs(model, config, protocol, info), "-" if source.data == "-" else None
        job = Job(out, configs, asked.run, of, track, world, say, data)
        run_dir.save_vocabulary(out, of.vocabulary, of.firsts)
        of.save(out)
        run_dir.save_config(out, model, config, protocol, info)
        return job.run()


def _is_ours(out: Path, world: World) -> bool:
    """Did an earlier start by this very torchrun begin the run there?"""
    return (out / CONFIG).exists() and run_dir.load_config(out).info.get("launcher") == world.launcher


def _refuse_occupied(out: Path) -> None:
    there = contents(out)
    if SAMPLES not in there and CONFIG in there:
        raise UserError(f"{out} holds a run that was stopped: go on with --resume, or give another --out.")
    if there - {VOCABULARY} - dataset.FILES:  # these are left where a run was killed as it began
        raise UserError(f"{out} is not empty; give another --out for this run, or remove it.")


def resume(
    out: Path, data: str | None = None, track: Sequence[str] = (), say: Say = print, listed: WordList | None = None
) -> Run:
    """Go on with a run that was stopped; everything is read from its directory. `data`: where its list lies now."""
    if not (out / CONFIG).exists():
        raise UserError(f"{out} holds no run to go on with ({CONFIG} is missing); start one without --resume.")
    trackers.require(track, out)
    world = World.from_environment()
    with lock(out):
        configs = run_dir.load_config(out)
        asked, source = (_section(out, configs, name) for name in ("run", "list"))
        if (out / SAMPLES).exists():
            if world and world.size > 1:
                world.tell({})
            say(f"{out} is complete: all of its {configs.train.steps:,} steps, or as many as its patience allowed.")
            return load_run(out)
        of = _material_again(out, configs, source, data, listed)
        _tell_of_versions(configs)
        say(of.describe())
        data = data or ("-" if source.data == "-" else None)
        job = Job(out, configs, asked, of, track, world, say, data)
        job.session.resume()
        say(f"Going on after {job.session.standing.step:,} steps.")
        return job.run()


def _material_again(
    out: Path, configs: run_dir.Configs, source: ListConfig, data: str | None, listed: WordList | None
) -> Material:
    """What a run was begun with."""
    if (out / dataset.SHARDS).exists():
        _, firsts = run_dir.load_vocabulary(out, configs.model.vocab_size)
        return Sharded.load(out, firsts, data)
    if listed is None:
        if data is None and source.data == "-":
            raise UserError(
                f"{out} was begun with a list that lies in no file: give it again, with --data FILE, or with --data - "
                "on standard input."
            )
        listed, _ = dataset.load_list(source if data is None else source.replace(data=data))
    if listed.sha256 != configs.info.get("data_sha256"):
        raise UserError(f"{listed.name} is not the list that {out} was begun with (SHA-256 differs).")
    return Listed(listed, configs.protocol)


def _section(out: Path, configs: run_dir.Configs, name: str) -> Any:
    values = configs.info.get(name)
    if not isinstance(values, dict):
        raise UserError(f"{out / CONFIG} has no {name!r}: only what `rungwise train` began can be gone on with.")
    return KINDS[name].from_dict(values, f"{out / CONFIG}: {name}")


def _tell_of_versions(configs: run_dir.Configs) -> None:
    """Going on bit for bit takes the same arithmetic."""
    then, now = configs.info.get("versions"), run_dir.provenance()["versions"]
    if isinstance(then, dict) and (other := [name for name in now if then.get(name) != now[name]]):
        changes = ", ".join(f"{name} {then.get(name)} then, {now[name]} now" for name in other)
        print(f"Begun with other versions ({changes}): the last bits may differ.", file=sys.stderr)

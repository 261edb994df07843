"""What `rungwise train` and `rungwise sample` do, and the same for Python: train(), generate().

A run that is started writes vocabulary.json, what it keeps of its list (material.py) and config.json, in that order: a
directory with config.json can be gone on with. samples.txt comes last of all: a directory with it is complete.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch

from rungwise import material, runs, trackers, words
from rungwise.config import ListConfig, UserError, get_protocol
from rungwise.files import contents, lock, make_folder
from rungwise.generate import Sampling, Word
from rungwise.generate import generate as draw_words
from rungwise.job import Job, Say, choose_engine
from rungwise.lab.ladder import get_rung
from rungwise.material import Listed, Material, Sharded
from rungwise.runs import CONFIG, SAMPLES, VOCABULARY, Run, Weights
from rungwise.settings import KINDS, Settings
from rungwise.words import WordList
from rungwise.world import World

if TYPE_CHECKING:
    from typing import Unpack

    from rungwise.drawing import SamplingFields
    from rungwise.settings import Fields


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
    trackers.require(track)
    if world and world.size > 1 and asked.list.data == "-":
        raise UserError(f"Standard input reaches one process of {world.size} only: give a file.")
    if listed is None:
        batching = asked.changes.get("batching", rung.train.batching)
        of, source = material.load(asked.list, asked.run.protocol, batching)
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
        "threads": torch.get_num_threads(),
        "started": runs.now(),
        **({"launcher": world.launcher} if world else {}),
        **runs.origin(of),
        "list": source.to_dict(),
        "run": asked.run.to_dict(),
    }
    make_folder(out)
    with lock(out):
        _refuse_occupied(out)
        configs, data = runs.Configs(model, config, protocol, info), "-" if source.data == "-" else None
        job = Job(out, configs, asked.run, of, track, world, say, data)
        runs.save_vocabulary(out, of.vocabulary, of.firsts)
        of.save(out)
        runs.save_config(out, model, config, protocol, info)
        return job.run()


def _is_ours(out: Path, world: World) -> bool:
    """Did an earlier start by this very torchrun begin the run there?"""
    return (out / CONFIG).exists() and runs.load_config(out).info.get("launcher") == world.launcher


def _refuse_occupied(out: Path) -> None:
    there = contents(out)
    if SAMPLES not in there and CONFIG in there:
        raise UserError(f"{out} holds a run that was stopped: go on with --resume, or give another --out.")
    if there - {VOCABULARY} - material.FILES:  # these are left where a run was killed as it began
        raise UserError(f"{out} is not empty; give another --out for this run, or remove it.")


def resume(
    out: Path, data: str | None = None, track: Sequence[str] = (), say: Say = print, listed: WordList | None = None
) -> Run:
    """Go on with a run that was stopped; everything is read from its directory. `data`: where its list lies now."""
    if not (out / CONFIG).exists():
        raise UserError(f"{out} holds no run to go on with ({CONFIG} is missing); start one without --resume.")
    trackers.require(track)
    with lock(out):
        configs = runs.load_config(out)
        asked, source = (_section(out, configs, name) for name in ("run", "list"))
        if (out / SAMPLES).exists():
            say(f"{out} is complete: all of its {configs.train.steps:,} steps, or as many as its patience allowed.")
            return runs.load(out)
        of = _material_again(out, configs, source, data, listed)
        _tell_of_versions(configs)
        say(of.describe())
        data = data or ("-" if source.data == "-" else None)
        job = Job(out, configs, asked, of, track, World.from_environment(), say, data)
        job.session.resume()
        say(f"Going on after {job.session.standing.step:,} steps.")
        return job.run()


def _material_again(
    out: Path, configs: runs.Configs, source: ListConfig, data: str | None, listed: WordList | None
) -> Material:
    """What a run was begun with."""
    if (out / material.SHARDS).exists():
        _, firsts = runs.load_vocabulary(out, configs.model.vocab_size)
        return Sharded.load(out, firsts, data)
    if listed is None:
        if data is None and source.data == "-":
            raise UserError(
                f"{out} was begun with a list that lies in no file: give it again, with --data FILE, or with --data - "
                "on standard input."
            )
        listed, _ = material.load_list(source if data is None else source.replace(data=data))
    if listed.sha256 != configs.info.get("data_sha256"):
        raise UserError(f"{listed.name} is not the list that {out} was begun with (SHA-256 differs).")
    return Listed(listed, configs.protocol)


def _section(out: Path, configs: runs.Configs, name: str) -> Any:
    values = configs.info.get(name)
    if not isinstance(values, dict):
        raise UserError(f"{out / CONFIG} has no {name!r}: only what `rungwise train` began can be gone on with.")
    return KINDS[name].from_dict(values, f"{out / CONFIG}: {name}")


def _tell_of_versions(configs: runs.Configs) -> None:
    """Going on bit for bit takes the same arithmetic."""
    then, now = configs.info.get("versions"), runs.provenance()["versions"]
    if isinstance(then, dict) and (other := [name for name in now if then.get(name) != now[name]]):
        changes = ", ".join(f"{name} {then.get(name)} then, {now[name]} now" for name in other)
        print(f"Begun with other versions ({changes}): the last bits may differ.", file=sys.stderr)


def sample(run_dir: Path, n: int, sampling: Sampling, seed: int, as_json: bool, weights: Weights = "best") -> None:
    """Print n words from a run, one a line, and nothing else on standard output."""
    if n < 0:
        raise UserError(f"n must be at least 0, but is {n}.")
    run = runs.load(run_dir, weights)
    known = run.known if as_json or sampling.new_only else None
    printed = write_words(
        draw_words(run.model, run.vocabulary, n, run.sampled_firsts, sampling, seed, known), as_json, sys.stdout
    )
    if printed < n:
        kind = " and ".join(name for name, on in (("distinct", sampling.unique), ("new", sampling.new_only)) if on)
        print(f"Only {printed:,} of {n:,} {kind} words came; the model hardly gives any more.", file=sys.stderr)


def write_words(drawn: Iterable[Word], as_json: bool, to: TextIO) -> int:
    printed = 0
    for printed, word in enumerate(drawn, 1):  # noqa: B007
        if as_json:
            value = {"word": word.text, "log_likelihood": round(word.log_likelihood, 6), "new": word.new}
            to.write(json.dumps(value, ensure_ascii=False) + "\n")
        else:
            to.write(f"{word.text}\n")
    return printed


# ------------------------------------------------------------------------------------------------- for Python


def train(data: str | Path | Iterable[str] = "auto", out: str | Path | None = None, **fields: Unpack[Fields]) -> Run:
    """Train a model on a list of words, and give it back.

    `data`: a file or the name of a list as on the command line, or the words themselves. `out`: the directory to
    write to; None: nothing is kept. `fields`: n_embd=64, learning_rate=1e-3, patience=5, ... as on the command line
    (`rungwise train --help` tells them all).
    """
    by_name = isinstance(data, str | Path)
    listed = None if by_name else words.from_words(data, max_length=fields.get("max_length", words.MAX_LENGTH))
    values = {**fields, "data": str(data)} if by_name else dict(fields)
    asked = Settings.of(values, "train()")
    with contextlib.ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory()))
        return start(folder, asked, say=lambda line: None, listed=listed)


def generate(run: Run, n: int = 20, *, seed: int = 0, **sampling: Unpack[SamplingFields]) -> Iterator[Word]:
    """Draw n words from a run. `sampling`: temperature=0.8, top_k=10, prefix="ab", unique=True, ... (Sampling)."""
    drawn = Sampling(**sampling)
    return draw_words(run.model, run.vocabulary, n, run.sampled_firsts, drawn, seed, run.known)

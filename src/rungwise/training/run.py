"""What `rungwise train` does: start() and resume() are a run, stage by stage.

A run that is started writes vocabulary.json, what it keeps of its list (data/dataset.py) and config.json, in that
order: a directory with config.json can be resumed. samples.txt comes last of all: a directory with it is complete.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rungwise.config import ListConfig, RunConfig, get_protocol, rules
from rungwise.config.settings import KINDS, Settings
from rungwise.data import dataset as datasets
from rungwise.data.dataset import EVALUATION_WORDS, SCORED_TRAIN_WORDS, Dataset, ListDataset, ShardedDataset
from rungwise.data.known_words import LEGEND, marked
from rungwise.data.shards import are_meant
from rungwise.data.words import WordList
from rungwise.engine.compile import Log, NotCompiled
from rungwise.engine.ddp import DistributedEngine, check
from rungwise.engine.loop import Engine
from rungwise.engine.native_engine import NativeEngine
from rungwise.engine.process_group import World
from rungwise.engine.select import choose_engine, make_engine
from rungwise.errors import UserError
from rungwise.inference.sample import Word, generate
from rungwise.inference.score import score
from rungwise.judge.figures import Brief
from rungwise.judge.judgement import brief
from rungwise.ladder import Rung, get_rung
from rungwise.model.cost import n_parameters
from rungwise.training import budget, distil, follower, outcome, run_dir, trackers
from rungwise.training.outcome import Comparison, Counting
from rungwise.training.run_dir import CONFIG, METRICS, SAMPLES, VOCABULARY, Configs, Run
from rungwise.training.run_dir import load as load_run
from rungwise.training.snapshots import Snapshots
from rungwise.training.trainer import Event, Observe, Setup, Trainer
from rungwise.util import files, hints, machine
from rungwise.util.files import contents, lock, make_folder
from rungwise.util.progress import bar
from rungwise.util.provenance import now, provenance

N_SAMPLES = 20
"""Words that a run keeps."""
N_JUDGED = 1_000
"""Words that are judged: the kept ones, and those that would be drawn after them."""


def start(
    out: Path,
    asked: Settings,
    track: Sequence[str] = (),
    log: Log = print,
    listed: WordList | None = None,
    observers: Sequence[Observe] = (),
) -> Run:
    """Train one model from the beginning and write its run directory.

    `track`: tensorboard, trackio; `listed`: the words, where they do not come from a file; `observers` are told each
    block of steps, evaluation and checkpoint.
    """
    world = World.from_environment()
    if world and _is_ours(out, world):
        return resume(out, None, track, log, observers=observers)
    _take_threads(asked.run)
    rung = get_rung(asked.run.rung or "final")
    engine_name = choose_engine(asked.run, _needs(asked, world))
    trackers.require(track, out)
    dataset, source = _load_dataset(asked, rung, world, listed)
    log(dataset.describe())
    if asked.run.rung is None or asked.run.budget is not None:
        asked = budget.suited(asked, rung, dataset, engine_name, log)
    model, config = asked.model_and_train(rung.model, rung.train, len(dataset.vocabulary), dataset.block_size)
    for line in rules.remarks(rung.train, model, config, asked.run, dataset.n_train, asked.changes):
        log(line)
    info = {
        "seed": asked.run.seed,
        "rung": rung.name,
        "split_seed": 0,
        "engine": engine_name,
        "threads": own_threads(world),
        "started": now(),
        **({"launcher": world.launcher} if world else {}),
        **run_dir.origin(dataset),
        "list": source.to_dict(),
        "run": asked.run.to_dict(),
    }
    make_folder(out)
    with lock(out):
        _refuse_occupied(out)
        configs = Configs(model, config, dataset.protocol, info)
        setup = Setup(out, configs, asked.run, dataset, _several(world), track, log, observers)
        trainer = _make_trainer(setup)  # what cannot be trained is refused before anything is written
        info["compiled"] = trainer.engine.compiled
        run_dir.save_vocabulary(out, dataset.vocabulary, dataset.firsts)
        dataset.save(out)
        configs.save(out)
        return _run(_taught(setup) if config.teachers else trainer)


def resume(
    out: Path,
    data: str | None = None,
    track: Sequence[str] = (),
    log: Log = print,
    listed: WordList | None = None,
    observers: Sequence[Observe] = (),
) -> Run:
    """Go on with a run that was stopped; everything is read from its directory. `data`: where its list lies now."""
    if not (out / CONFIG).exists():
        raise UserError(f"{out} holds no run to go on with ({CONFIG} is missing); start one without --resume.")
    trackers.require(track, out)
    world = _several(World.from_environment())
    with lock(out):
        configs = run_dir.load_config(out)
        run, source = (_section(out, configs, name) for name in ("run", "list"))
        _take_threads(run)
        if (out / SAMPLES).exists():
            if world:
                world.tell({})
            log(f"{out} is complete: all of its {configs.train.steps:,} steps, or as many as its patience allowed.")
            return load_run(out)
        dataset = _load_dataset_again(out, configs, source, data, listed)
        _warn_of_versions(configs)
        log(dataset.describe())
        setup = Setup(out, configs, run, dataset, world, track, log, observers, data)
        trainer = _taught(setup) if configs.train.teachers else _make_trainer(setup)
        trainer.resume()
        log(f"Going on after {trainer.state.step:,} steps.")
        return _run(trainer)


# ---------------------------------------------------------------------------------- the stages: engine and dataset


def _needs(asked: Settings, world: World | None) -> list[str]:
    """What is asked for that the distributed engine alone can do."""
    found = [f"a run of {world.size} processes"] if world and world.size > 1 else []
    found += [f"accumulate={asked.run.accumulate}"] if asked.run.accumulate > 1 else []
    return found + ["a list in shards"] * are_meant(asked.list.data)


def _several(world: World | None) -> World | None:
    return world if world and world.size > 1 else None


def _take_threads(run: RunConfig) -> None:
    """As many as were asked for, in all that this process computes."""
    if run.threads:
        torch.set_num_threads(run.threads)


def own_threads(world: World | None) -> int:
    """Threads of this process: as many as torch takes by itself, no more than its share of the cores."""
    return min(torch.get_num_threads(), machine.threads(world.local_size if world else 1))


def _load_dataset(
    asked: Settings, rung: Rung, world: World | None, listed: WordList | None
) -> tuple[Dataset, ListConfig]:
    """What is asked for, and how to find it again from another directory."""
    if listed is not None:
        return ListDataset(listed, get_protocol(asked.run.protocol)), ListConfig(data="-")  # no file holds it
    if world and world.size > 1 and asked.list.data == "-":
        raise UserError(f"Standard input reaches one process of {world.size} only: give a file.")
    return datasets.load(asked.list, asked.run.protocol, asked.changes.get("batching", rung.train.batching))


def _load_dataset_again(
    out: Path, configs: Configs, source: ListConfig, data: str | None, listed: WordList | None
) -> Dataset:
    """What a run was begun with."""
    if (out / datasets.SHARDS).exists():
        _, firsts = run_dir.load_vocabulary(out, configs.model.vocab_size)
        return ShardedDataset.load(out, firsts, data)
    if listed is None:
        if data is None and source.data == "-":
            raise UserError(
                f"{out} was begun with a list that lies in no file: give it again, with --data FILE, or with --data - "
                "on standard input."
            )
        vocabulary, _ = run_dir.load_vocabulary(out, configs.model.vocab_size)
        listed, _ = datasets.load_list(source if data is None else source.replace(data=data), vocabulary.tokens)
    if listed.sha256 != configs.info.get("data_sha256"):
        raise UserError(f"{listed.name} is not the list that {out} was begun with (SHA-256 differs).")
    return ListDataset(listed, configs.protocol)


def _make_trainer(setup: Setup, lesson: distil.Lesson | None = None) -> Trainer:
    """The engine that config.json names, and what drives it. Nothing is written. A student without a lesson is not for
    training."""
    try:
        engine = _make_engine(setup, _how(setup), lesson)
    except (RuntimeError, TypeError, OverflowError) as error:  # more than memory, or integers, can hold
        raise UserError(f"The model is too large: {str(error).splitlines()[0]}") from None
    return Trainer(setup, engine)


def _how(setup: Setup) -> RunConfig:
    """The engine of the run. A resumed run takes as many threads as before, and compiles its steps where it did: the
    last bits depend on it."""
    info = setup.configs.info
    name, threads = DistributedEngine.name if setup.world else str(info.get("engine")), info.get("threads")
    if name != NativeEngine.name and isinstance(threads, int) and 1 <= threads <= 1024:
        torch.set_num_threads(threads)  # another number adds in another order
    before = info.get("compiled")
    how = setup.run if before is None else setup.run.replace(compile="on" if before else "off")
    return how.replace(engine=name)


def _make_engine(setup: Setup, how: RunConfig, lesson: distil.Lesson | None) -> Engine:
    """The other processes of the run, where there are any, are told."""
    configs, run, dataset, name = setup.configs, setup.run, setup.dataset, how.engine
    if name == DistributedEngine.name:
        if setup.world:
            check(configs.train, run, setup.world.size)  # before the others could say it, too
            setup.world.tell(follower.message(configs, run, dataset, setup.resume_hint))
        batches = dataset.batches(configs.train, run.seed)
        return DistributedEngine(configs.model, configs.train, batches, run, setup.world)
    if dataset.tape is None:
        raise UserError(f"{setup.out / CONFIG}: engine {name!r} cannot train on a list in shards.")
    tape, teacher = (lesson.tape, lesson.teacher) if lesson else (dataset.tape, None)
    config = configs.train
    if config.teachers and not lesson:  # asked whether it, and its teachers, can be trained
        config = config.replace(targets="words")
        distil.teacher_of(configs.model, config)
    arguments = configs.model, config, tape, [how.seed]
    try:
        return make_engine(*arguments, how, setup.log, run.threads, teacher)
    except NotCompiled as error:
        if not configs.info.get("compiled"):
            raise
        setup.log(f"{error} The run was begun with compiled steps: the last bits may differ.")
        return make_engine(*arguments, how.replace(compile="off"), teacher=teacher)


def _taught(setup: Setup) -> Trainer:
    """The trainer of a student: its lesson is as it was written down, or from teachers who are trained now."""
    configs, dataset, out = setup.configs, setup.dataset, setup.out
    try:
        lesson = distil.Lesson.load(out / distil.LESSON)
    except FileNotFoundError:
        assert dataset.tape is not None
        held_out = dataset.scored_tape("validation", configs.word_start, EVALUATION_WORDS)
        firsts = None if configs.word_start.end_fed else dataset.firsts
        how = _how(setup)
        room = distil.Classroom(how, machine.cores(), out, how.save_every, setup.resume_hint, setup.log)
        asked = configs.model, configs.train, dataset.tape, held_out, dataset.vocabulary, firsts, how.seed
        lesson = distil.prepare(*asked, room)
        lesson.save(out / distil.LESSON)
    return _make_trainer(setup, lesson)


# ----------------------------------------------------------------------------- the stages: train, score, samples


def _run(trainer: Trainer) -> Run:
    """From where the trainer is to samples.txt."""
    setup = trainer.setup
    configs, world, tokens = setup.configs, setup.world, setup.dataset.vocabulary.tokens
    of_rung = f"rung {setup.run.rung}" if setup.run.rung else f"{n_parameters(configs.model):,} parameters"
    setup.log(
        f"Model of {of_rung}, {configs.train.steps:,} steps, engine {trainer.engine.name}"
        f"{f', {world.size} processes' if world else ''}; protocol {configs.protocol.name}: "
        f"{tokens.say(configs.word_start.scored)} are scored, in nats a {tokens.unit}."
    )
    began = time.perf_counter()
    try:
        _train(trainer)
        seconds = time.perf_counter() - began
        if trainer.validation is None:
            trainer.save_weights()
        run = load_run(setup.out)
        counting = outcome.count(setup.dataset)
        drawn = list(
            generate(
                run.model, run.vocabulary, N_JUDGED, run.sampled_firsts, seed=setup.run.seed, known=run.known,
                first_scored=run.word_start.first_scored,
            )
        )  # fmt: skip
        judged = _judge(setup.dataset, run, drawn)
        losses, compared = _score(trainer, run, counting, judged)
        n_train = setup.dataset.n_train
        setup.log(tokens.say(_summary(trainer, seconds, losses, compared, n_train)))
        for line in outcome.verdict(losses, counting, n_train, configs.model, configs.train, compared):
            setup.log(tokens.say(line))
        if judged:
            setup.log(outcome.words(judged))
        run_dir.save_samples(setup.out, [word.text for word in drawn[:N_SAMPLES]])
        distil.tidy(setup.out)
        legend = f" ({LEGEND})" if run.known else ""
        setup.log(f"Some words{legend}: " + " ".join(marked(word.text, word.part) for word in drawn[:10]))
        setup.log(
            f"Wrote {setup.out}. More words: {hints.command('sample', setup.out, '-n', N_SAMPLES)}\n"
            f"Look inside: {hints.command('play', setup.out)}"
        )
        return run
    finally:
        if world:
            world.finish()


def _train(trainer: Trainer) -> None:
    setup, first = trainer.setup, trainer.state.step
    try:
        with (
            trackers.watch(setup.track, setup.out, first) as tracked,
            bar(setup.configs.train.steps, first) as advance,
        ):

            def show(event: Event) -> None:
                if event.kind == "block":
                    advance(event.step, _remark(event.values))

            drawn = Snapshots(trainer, setup.dataset, setup.configs.word_start)
            trainer.observers += [tracked, show, drawn]
            trainer.train()
    finally:
        trainer.engine.close()


def _remark(values: Mapping[str, float]) -> str:
    best = f", best validation {values['best_val_loss']:.3f}" if "best_val_loss" in values else ""
    return f"loss {values['loss']:.3f}{best}, {values['tokens_per_s']:,.0f} tokens/s"


def _judge(dataset: Dataset, run: Run, drawn: Sequence[Word]) -> Brief | None:
    """What the words are like that a run writes; None where it hardly writes any, or nothing tells which are new."""
    tapes = [dataset.scored_tape(part, run.word_start) for part in ("train", "validation", "test")]
    train, *held_out = ([] if tape is None else run.vocabulary.decode_rows(tape.tokens[None])[1:] for tape in tapes)
    if not drawn or run.known is None:
        return None
    return brief(train, [*itertools.chain(*held_out)], [w.text for w in drawn], [w.part == "new" for w in drawn])


def _score(
    trainer: Trainer, run: Run, counting: Counting | None, judged: Brief | None
) -> tuple[dict[str, float], Comparison]:
    """Losses of the kept weights on every part of the split, in nats a scored token; they end metrics.jsonl, with
    that of counting and what the run's words are like."""
    setup = trainer.setup
    tapes = {part: setup.dataset.scored_tape(part, run.word_start) for part in ("train", "validation", "test")}
    scores = {part: score(run.model, tape) for part, tape in tapes.items() if tape is not None}
    losses, compared = {part: found.loss for part, found in scores.items()}, Comparison.of(scores, counting)
    lines = [line for line in run_dir.read_metrics(setup.out) if "final_test_loss" not in line]
    final = {f"final_{part}_loss": loss for part, loss in losses.items()}
    done = {"step": trainer.state.step, "best_step": trainer.state.best_step}
    if counting:
        final |= {"ngram_order": counting.order, "ngram_test_loss": counting.test_loss}
    if judged:
        final |= {f"words_{name}": value for name, value in vars(judged).items() if value is not None}
    loss = compared.test_loss
    final |= {"test_loss_low": loss.low, "test_loss_high": loss.high}
    files.write_lines(setup.out / METRICS, [*lines, done | final])
    return losses, compared


def _summary(trainer: Trainer, seconds: float, losses: Mapping[str, float], compared: Comparison, n_train: int) -> str:
    state, shown = trainer.state, ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    kept = f"; kept: the weights of step {state.best_step:,}, the best on validation" if state.best_step else ""
    part = f" (train: {SCORED_TRAIN_WORDS:,} words of it)" if n_train > SCORED_TRAIN_WORDS else ""
    test = f" ({compared.test_loss.low:.4f} to {compared.test_loss.high:.4f} with other test words, 95 % interval)"
    return f"{state.step:,} steps, {seconds:.0f} s{kept}. Nats a character: {shown}{test}{part}."


def _is_ours(out: Path, world: World) -> bool:
    """Did an earlier start by this very torchrun begin the run there?"""
    return (out / CONFIG).exists() and run_dir.load_config(out).info.get("launcher") == world.launcher


def _refuse_occupied(out: Path) -> None:
    there = contents(out)
    if SAMPLES not in there and CONFIG in there:
        raise UserError(f"{out} holds a run that was stopped: go on with --resume, or give another --out.")
    if there - {VOCABULARY} - datasets.FILES:  # these are left where a run was killed as it began
        raise UserError(f"{out} is not empty; give another --out for this run, or remove it.")


def _section(out: Path, configs: Configs, name: str) -> Any:
    values = configs.info.get(name)
    if not isinstance(values, dict):
        raise UserError(f"{out / CONFIG} has no {name!r}: only what `rungwise train` began can be gone on with.")
    return KINDS[name].from_dict(values, f"{out / CONFIG}: {name}")


def _warn_of_versions(configs: Configs) -> None:
    """Going on bit for bit takes the same arithmetic."""
    then, here = configs.info.get("versions"), provenance()["versions"]
    if isinstance(then, dict) and (other := [name for name in here if then.get(name) != here[name]]):
        changes = ", ".join(f"{name} {then.get(name)} then, {here[name]} now" for name in other)
        print(f"Begun with other versions ({changes}): the last bits may differ.", file=sys.stderr)

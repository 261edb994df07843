"""What `rungwise train` and `rungwise sample` do, and the same for Python: train(), generate().

A run that is started writes vocabulary.json, known.safetensors and config.json, in that order: a directory with
config.json can be gone on with. samples.txt comes last of all: a directory with it is complete.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch

from rungwise import files, runs, words
from rungwise.batches import Tape
from rungwise.config import ListConfig, RunConfig, UserError, get_protocol
from rungwise.evaluate import score
from rungwise.files import contents, lock, make_folder
from rungwise.generate import Sampling, Word
from rungwise.generate import generate as draw_words
from rungwise.known import KNOWN, KnownWords
from rungwise.lab.ladder import get_rung
from rungwise.progress import bar
from rungwise.runs import CONFIG, METRICS, SAMPLES, VOCABULARY, Run, Weights
from rungwise.session import Session
from rungwise.settings import KINDS, Settings
from rungwise.train import TorchEngine, choose_engine, make_engine
from rungwise.words import Split, WordList

if TYPE_CHECKING:
    from typing import Unpack

    from rungwise.drawing import SamplingFields
    from rungwise.settings import Fields

N_SAMPLES = 20
LOOKED_AT = 20_000
"""Validation words that are scored again and again while training: so many at most, a fixed random part."""
SCORED = 200_000
"""Training words whose loss is told at the end: so many at most, a fixed random part. Held-out words: always all."""

Say = Callable[[str], None]


def start(
    out: Path, asked: Settings, tensorboard: bool = False, say: Say = print, listed: WordList | None = None
) -> Run:
    """Train one model from the beginning and write its run directory."""
    protocol = get_protocol(asked.run.protocol)
    rung = get_rung(asked.run.rung or "final")
    engine_name = choose_engine(asked.run.engine)
    if listed is None:
        listed, source = load_list(asked.list)
    else:
        source = ListConfig(data=listed.name)
    parts = words.split(listed, protocol)
    say(words.describe(listed, parts))
    if asked.run.rung is None:
        asked = asked.suited_to(len(parts.train))
    model, config = asked.model_and_train(rung.model, rung.train, len(listed.vocabulary), listed.block_size)
    info = {
        "seed": asked.run.seed,
        "rung": rung.name,
        "split_seed": 0,
        "engine": engine_name,
        "threads": torch.get_num_threads(),
        "started": runs.now(),
        **runs.origin(listed),
        "list": source.to_dict(),
        "run": asked.run.to_dict(),
    }
    make_folder(out)
    with lock(out):
        _refuse_occupied(out)
        job = _Job(out, runs.Configs(model, config, protocol, info), asked.run, listed, parts, tensorboard, say)
        runs.save_vocabulary(out, listed.vocabulary, listed.first_counts(parts.train))
        KnownWords.of(listed).save(out)
        runs.save_config(out, model, config, protocol, info)
        return job.run()


def _refuse_occupied(out: Path) -> None:
    there = contents(out)
    if SAMPLES not in there and CONFIG in there:
        raise UserError(f"{out} holds a run that was stopped: go on with --resume, or give another --out.")
    if there - {VOCABULARY, KNOWN}:  # these are left where a run was killed as it began
        raise UserError(f"{out} is not empty; give another --out for this run, or remove it.")


def resume(
    out: Path, data: str | None = None, tensorboard: bool = False, say: Say = print, listed: WordList | None = None
) -> Run:
    """Go on with a run that was stopped; everything is read from its directory. `data`: where its list lies now."""
    if not (out / CONFIG).exists():
        raise UserError(f"{out} holds no run to go on with ({CONFIG} is missing); start one without --resume.")
    with lock(out):
        configs = runs.load_config(out)
        asked, source = (_section(out, configs, name) for name in ("run", "list"))
        if (out / SAMPLES).exists():
            say(f"{out} is complete: all of its {configs.train.steps:,} steps, or as many as its patience allowed.")
            return runs.load(out)
        if listed is None:
            if data is None and source.data == "-":
                raise UserError(f"{out} was begun with a list from standard input: give it again with --data.")
            listed, _ = load_list(source if data is None else source.replace(data=data))
        if listed.sha256 != configs.info.get("data_sha256"):
            raise UserError(f"{listed.name} is not the list that {out} was begun with (SHA-256 differs).")
        _tell_of_versions(configs)
        parts = words.split(listed, configs.protocol)
        say(words.describe(listed, parts))
        job = _Job(out, configs, asked, listed, parts, tensorboard, say)
        job.session.resume()
        say(f"Going on after {job.session.standing.step:,} steps.")
        return job.run()


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


def load_list(config: ListConfig) -> tuple[WordList, ListConfig]:
    """A list, and how to find it again from another directory."""
    listed = words.load(config.data, config.max_length, config.encoding, config.column)
    if config.data in ("auto", "names", "given-names"):
        return listed, config.replace(data=listed.name)
    return listed, config if config.data == "-" else config.replace(data=str(Path(config.data).resolve()))


class _Job:
    """The training itself, for start() and resume() alike."""

    def __init__(
        self,
        out: Path,
        configs: runs.Configs,
        asked: RunConfig,
        listed: WordList,
        parts: Split,
        tensorboard: bool,
        say: Say,
    ) -> None:
        self.out, self.configs, self.say = out, configs, say
        self.listed, self.parts = listed, parts
        self.tape = Tape.of(listed, parts.train, configs.protocol)
        validation = Tape.of(listed, parts.validation[:LOOKED_AT], configs.protocol) if len(parts.validation) else None
        name, threads = (configs.info.get(key) for key in ("engine", "threads"))
        if name == TorchEngine.name and isinstance(threads, int) and 1 <= threads <= 1024:
            torch.set_num_threads(threads)  # another number adds in another order
        try:
            self.engine = make_engine(configs.model, configs.train, self.tape, [asked.seed], str(name))
        except (RuntimeError, TypeError, OverflowError) as error:  # more than memory, or integers, can hold
            raise UserError(f"The model is too large: {str(error).splitlines()[0]}") from None
        self.session = Session(out, self.engine, configs.model, configs.train, asked, validation)
        self.writer = _summary_writer() if tensorboard else None

    def run(self) -> Run:
        configs = self.configs
        rung = configs.info.get("rung")
        self.say(
            f"Model of rung {rung}, {configs.train.steps:,} steps, engine {self.engine.name}; protocol "
            f"{configs.protocol.name}: {configs.protocol.scored} are scored, in nats a character."
        )
        if self.writer is not None:
            self.session.observe = _events(self.writer, self.out, self.session.standing.step)
        began = time.perf_counter()
        with bar(configs.train.steps, self.session.standing.step) as advance:
            self.session.train(advance)
        return self._finish(time.perf_counter() - began)

    def _finish(self, seconds: float) -> Run:
        """Score the weights that are kept, draw some words, and tell."""
        out, standing = self.out, self.session.standing
        if self.session.validation is None:
            self.session.save_weights()
        run = runs.load(out)
        protocol, listed, parts = run.protocol, self.listed, self.parts
        losses = {}
        for name, part in (("train", parts.train[:SCORED]), ("validation", parts.validation), ("test", parts.test)):
            if len(part):
                losses[name] = score(run.model, Tape.of(listed, part, protocol)).loss
        seed = self.session.run.seed
        samples = [w.text for w in draw_words(run.model, run.vocabulary, N_SAMPLES, run.sampled_firsts, seed=seed)]
        lines = [line for line in files.read_lines(out / METRICS) if "final_test_loss" not in line]
        final = {f"final_{name}_loss": loss for name, loss in losses.items()}
        files.write_lines(out / METRICS, [*lines, {"step": standing.step, "best_step": standing.best_step, **final}])
        runs.save_samples(out, samples)
        self.say(_summary(standing.step, standing.best_step, seconds, losses, len(parts.train)))
        self.say("Some words of its own: " + " ".join(samples[:10]))
        self.say(f"Wrote {out}. More words: rungwise sample {out} -n 20")
        return run


def _summary(steps: int, best_step: int, seconds: float, losses: Mapping[str, float], n_train: int) -> str:
    shown = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    kept = f"; kept: the weights of step {best_step:,}, the best on validation" if best_step else ""
    part = f" (train: {SCORED:,} words of it)" if n_train > SCORED else ""
    return f"{steps:,} steps, {seconds:.0f} s{kept}. Nats a character: {shown}{part}."


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs the package tensorboard: pip install 'rungwise[track]'") from None
    return SummaryWriter


def _events(writer: Any, out: Path, step: int) -> Callable[[int, Mapping[str, float]], None]:
    """Writes what a look finds; events after `step`, of before a run was killed, are withdrawn."""
    events = writer(str(out / "tensorboard"), purge_step=step + 1)

    def observe(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            events.add_scalar(name, value, step)
        events.flush()

    return observe


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

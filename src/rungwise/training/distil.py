"""A student's lesson (Hinton et al. 2015): what several teachers, trained first, say of the list's words and of words
that they draw together.

A teacher is a model like the student, of another seed. Their mean distribution, mixed with Kneser-Ney of order 6, knows
more than any of them, and words drawn from it are words enough to learn all of it. On training words, the n-gram
model leaves out the position itself (data/teacher.py), and the character that follows keeps a part of the target.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rungwise.config import EngineConfig, ModelConfig, TrainConfig
from rungwise.config.rules import fitted
from rungwise.data.batches import Tape
from rungwise.data.ngram import best_share, fit
from rungwise.data.teacher import DISCOUNT, ORDER, Teacher, leave_one_out
from rungwise.data.words import END, Vocabulary
from rungwise.engine.loop import models, train
from rungwise.engine.select import choose_engine, make_engine
from rungwise.inference.mixture import Mixture, distributions
from rungwise.inference.sample import Sampling, generate
from rungwise.model.cost import n_parameters
from rungwise.model.transformer import Transformer
from rungwise.training.trainer import STEPS_AT_ONCE, Stopped, stop_signals
from rungwise.util.files import read_tensors, write_tensors
from rungwise.util.hashing import derive_seed
from rungwise.util.progress import bar

DRAWN_WORDS = 60_000
"""Words of the lesson beside the list's own."""
OWN, SHARE = 0.2, 0.25
"""Of a target on a training word, the share of the character that follows; and of what is said there, that of the
n-gram model where there are no validation words to choose it by."""
LESSON, TEACHERS = "lesson.safetensors", "teachers-*.safetensors"
"""What a run directory holds until the student is trained, and until the lesson is written."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student is trained on: words, and the targets at each of their positions."""

    tape: Tape
    teacher: Teacher

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self.tape, name) for name in ("tokens", "starts", "lengths")}
        write_tensors(
            path, {**arrays, "rows": self.teacher.rows, "at": self.teacher.at}, {"unscored": self.tape.unscored}
        )

    @classmethod
    def load(cls, path: Path) -> Lesson:
        """What save() wrote; FileNotFoundError where it did not."""
        arrays, about = read_tensors(path)
        rows, at = arrays.pop("rows"), arrays.pop("at")
        return cls(Tape(**arrays, unscored=int(about["unscored"])), Teacher(rows, at))


def tidy(folder: Path) -> None:
    """The student is trained: nobody needs the lesson any more."""
    for path in [*folder.glob(TEACHERS), folder / LESSON]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Classroom:
    """How teachers are trained, and where: with a folder, Ctrl-C may stop them, and they go on from there."""

    how: EngineConfig
    threads: int = 1
    """Teachers that are trained side by side."""
    folder: Path | None = None
    save_every: float = 30.0
    """Seconds from one checkpoint of a teacher to the next."""
    resume_hint: str = ""
    log: Callable[[str], None] = lambda line: None


def prepare(
    model: ModelConfig,
    config: TrainConfig,
    tape: Tape,
    held_out: Tape | None,
    vocabulary: Vocabulary,
    firsts: np.ndarray | None,
    seed: int,
    room: Classroom,
) -> Lesson:
    """Train the teachers of a student with this seed, and write down what they say; Stopped where Ctrl-C comes first.

    tape: the training words; held_out: validation words, by which the n-gram model's share is chosen; firsts: as
    sample.generate takes them.
    """
    room.log(f"Training {config.teachers} teacher{'s' * (config.teachers > 1)}, {teacher_steps(config):,} steps each.")
    found = _teachers(model, config, tape, seed, room)
    counted = fit(tape, len(vocabulary), ORDER, DISCOUNT)
    mixture = Mixture(found, counted, SHARE, end_fed=firsts is None)
    if held_out is not None:
        said, ngram = _probabilities(replace(mixture, ngram=None), held_out), np.exp(-counted.score(held_out))
        mixture = replace(mixture, share=best_share(said, ngram))
        alone, together = (float(-np.log(p).mean()) for p in (said, said + mixture.share * (ngram - said)))
        room.log(
            f"The teachers' mean has a validation loss of {alone:.4f}; with {mixture.share:.0%} of a {ORDER}-gram "
            f"model, {together:.4f}."
        )
    drawn = _drawn(mixture, vocabulary, firsts, seed, tape)
    return _lesson(tape, drawn, mixture)


def teacher_of(model: ModelConfig, config: TrainConfig) -> ModelConfig:
    """The student's model, with its teachers' width and dropout."""
    width = config.teacher_embd or model.n_embd
    dropout = model.dropout if config.teacher_dropout is None else config.teacher_dropout
    if model.attention_width == model.n_embd:  # heads that share the width go on sharing it
        model = model.replace(head_size=None)
    return model.replace(n_embd=width, dropout=dropout)


def teacher_steps(config: TrainConfig) -> int:
    """Of each teacher of a student that is trained so."""
    return max(1, round(config.steps * config.teacher_share))


def _teachers(model: ModelConfig, config: TrainConfig, tape: Tape, seed: int, room: Classroom) -> list[Transformer]:
    """config.teachers models: one after the other or side by side where the engine is native, as one program under
    PyTorch. The student's steps are part of the time left."""
    student, model, n = n_parameters(model), teacher_of(model, config), config.teachers
    students_steps, config = config.steps, fitted(config.replace(teachers=0, steps=teacher_steps(config)), ("steps",))
    first = derive_seed(seed, "teachers") % 2**31
    native = choose_engine(room.how) == "native"
    together = [[s] for s in range(first, first + n)] if native else [list(range(first, first + n))]
    side_by_side = min(room.threads, len(together))
    done = [0] * len(together)

    def trained(i: int) -> list[Transformer]:
        threads = 1 if side_by_side > 1 else 0  # none takes another's core
        engine, saved = make_engine(model, config, tape, together[i], room.how, threads=threads), time.monotonic()
        path = room.folder and room.folder / TEACHERS.replace("*", str(i + 1))
        if path and path.exists():
            state, about = read_tensors(path)
            done[i] = int(about["step"])
            engine.load_state(state, done[i])
        while done[i] < config.steps and not stopped:
            until = min(done[i] + STEPS_AT_ONCE, config.steps)
            train(engine, config, first_step=done[i], last_step=until)
            done[i] = until
            advance(sum(done), "training teachers")
            if path and (stopped or until == config.steps or time.monotonic() - saved >= room.save_every):
                write_tensors(path, engine.state(), {"step": until})
                saved = time.monotonic()
        return models(engine, model, len(together[i]))

    total = config.steps * len(together)
    then = students_steps * side_by_side * student // n_parameters(model)
    with (
        stop_signals() if room.folder else contextlib.nullcontext([]) as stopped,
        bar(total, 0, "steps of teachers", then) as advance,
        ThreadPoolExecutor(room.threads) as pool,
    ):
        futures = [pool.submit(trained, i) for i in range(len(together))]
        while wait(futures, timeout=0.2).not_done:  # without a timeout, no signal is heard on Windows
            pass
        found = [one for future in futures for one in future.result()]
    if stopped and sum(done) < total:
        what = f"{sum(done):,} of {total:,} steps of teachers"
        raise Stopped(f"Stopped after {what}; everything is saved. {room.resume_hint}", 128 + stopped[0])
    return found


def _probabilities(mixture: Mixture, tape: Tape) -> np.ndarray:
    """Of each target, (tokens,)."""
    rows, at = distributions(mixture, tape)
    return rows[at, tape.packed(tape.starts, tape.lengths)[1]].astype(np.float64)


def _drawn(mixture: Mixture, vocabulary: Vocabulary, firsts: np.ndarray | None, seed: int, tape: Tape) -> Tape:
    """Words that the mixture draws, on a tape of their own. Under a condition, each value's as often as the list's."""
    shares = {None: DRAWN_WORDS}
    if vocabulary.conditions:
        assert firsts is not None
        ends = np.rint(np.cumsum(firsts) / firsts.sum() * DRAWN_WORDS).astype(int)
        shares = dict(zip(vocabulary.conditions, np.diff(ends)[-len(vocabulary.conditions) :].tolist(), strict=True))
    words = []
    for given, n in shares.items():
        how, before = Sampling(given=given), [] if given is None else [vocabulary.condition(given)]
        drawn = generate(mixture, vocabulary, n, firsts, how, seed=derive_seed(seed, "lesson") % 2**31)
        words += [np.array([*before, *vocabulary.encode(word.text)]) for word in drawn]
    n = np.array([len(word) for word in words], dtype=tape.lengths.dtype)
    ends = np.cumsum(n + 1)
    tokens = np.full(int(ends[-1]) + 1, END, dtype=tape.tokens.dtype)
    tokens[np.repeat(ends - np.cumsum(n), n) + np.arange(n.sum())] = np.concatenate(words)
    return Tape(tokens, ends - n - mixture.end_fed, n + mixture.end_fed, tape.unscored)


def _lesson(tape: Tape, drawn: Tape, mixture: Mixture) -> Lesson:
    """The list's words and then those drawn: a row for each position of the former, for each prefix of the latter."""
    size, (_, follows) = mixture.config.vocab_size, tape.packed(tape.starts, tape.lengths)
    said, prefix = distributions(replace(mixture, ngram=None), tape)
    left_out, places = leave_one_out(tape, size), tape.targets(tape.starts, tape.lengths)
    own = said[prefix]
    own += np.float32(mixture.share) * (left_out.rows[left_out.at[places]] - own)
    own *= np.float32(1 - OWN)
    own[np.arange(len(own)), follows] += np.float32(OWN)
    others, which = distributions(mixture, drawn)
    rows = np.concatenate([np.zeros((1, size), np.float32), own, others])
    n = len(tape.tokens)
    at = np.zeros(n + len(drawn.tokens) - 1, dtype=np.int32)  # the END between the two is one
    at[places] = 1 + np.arange(len(own))
    at[drawn.targets(drawn.starts, drawn.lengths) + n - 1] = 1 + len(own) + which
    tokens = np.concatenate([tape.tokens, drawn.tokens[1:]])
    starts = np.concatenate([tape.starts, drawn.starts + n - 1])
    return Lesson(Tape(tokens, starts, np.concatenate([tape.lengths, drawn.lengths]), tape.unscored), Teacher(rows, at))

"""What a climb measured: one JSON line a (rung, split, seed), read back and grouped. No torch here.

Tables, plots and verdicts are pure functions of such lines. A resumed climb reads here what is already done.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from rungwise.config import ModelConfig, TrainConfig
from rungwise.config.fields import FINITE, check
from rungwise.config.settings import FROM_THE_LIST
from rungwise.errors import UserError
from rungwise.judge.figures import Brief
from rungwise.ladder import Rung
from rungwise.util.files import append_line, numbered_lines

RESULTS, SETTINGS = "results.jsonl", "climb.json"

Replicate = tuple[int, int]
"""Split and seed: what results of two rungs are paired by."""

Nats = Annotated[float, Interval(ge=0, le=700)]
"""A mean loss: exp of it, and of its negative, is a number."""


@dataclass(frozen=True)
class Result:
    """One rung, one split, one seed. Losses are exact means over a whole part of the split, in nats a token scored by
    the protocol; UserError where one is not finite."""

    __pydantic_config__: ClassVar = FINITE
    rung: str
    seed: int
    n_params: int
    steps: int
    protocol: str
    train_loss: Nats
    val_loss: Nats | None
    """None where the protocol has no validation words."""
    test_loss: Nats
    tokens_per_s: float
    """Real (unpadded) training tokens a second of this replica."""
    ms_per_step: float
    data: str
    data_sha256: str
    versions: dict[str, str]
    git_revision: str | None
    date: str
    engine: str
    split_seed: int
    model: dict[str, Any]
    """ModelConfig as trained."""
    train: dict[str, Any]
    """TrainConfig as trained."""
    detail: dict[str, Any]
    """More of the test split: a Detail."""

    def __post_init__(self) -> None:
        for name in ("train_loss", "val_loss", "test_loss"):
            if isinstance(value := getattr(self, name), float) and not math.isfinite(value):
                raise UserError(
                    f"Training diverged: {name} of {self.rung}, seed {self.seed}, is not finite. Try a lower "
                    "learning_rate or grad_clip=1."
                )


@dataclass(frozen=True)
class Detail:
    """What `detail` of a result may hold, as JSON; losses are nats a scored token of test words."""

    __pydantic_config__: ClassVar = FINITE
    n_test_words: int = 0
    n_test_tokens: int = 0
    samples: list[tuple[str, str]] = field(default_factory=list)
    """Words drawn, and the part of the list that each is in: training, test, validation, or new."""
    accuracy: float | None = None
    mean_probability: float | None = None
    by_position: list[float | None] = field(default_factory=list)
    by_length: list[float | None] = field(default_factory=list)
    share_seen: float | None = None
    """Of the test words, the share that is in the training list, too."""
    loss_seen: float | None = None
    loss_new: float | None = None
    loss_without_first: float | None = None
    stream_test_loss: float | None = None
    test_loss_alone: float | None = None
    words: Brief | None = None
    """What the words are like that the model writes; None: not known (results of version 0.1.0)."""
    shuffled_loss: float | None = None
    """Of characters whose last one before stands, and all others before are shuffled."""
    in_order_loss: float | None = None
    """Of the same characters, nothing shuffled."""
    compiled: bool | None = None
    """Were the training steps compiled by torch.compile? None: not known (results of version 0.1.0)."""


def matches(result: Result, rung: Rung, steps: int | None) -> bool:
    """Was this result trained as the ladder now says?"""
    of_the_list = {name: result.model[name] for name in FROM_THE_LIST}
    return result.model == rung.model.to_dict() | of_the_list and result.train == rung.trained(steps).to_dict()


def read(path: Path) -> list[Result]:
    """The results of a file, the newest of each (rung, replicate, protocol, data, steps) where one was measured again.

    A field that a configuration got since then was at its default: a new field's default means "as before".
    """
    newest: dict[tuple[Any, ...], Result] = {}
    names = [f.name for f in dataclasses.fields(Result)]
    for number, line in numbered_lines(path):
        where = f"{path}: line {number}"
        if missing := [name for name in names if name not in line]:
            raise UserError(f"{where} has no {missing[0]!r}; is it from another version?")
        check(Result, line, where)
        check(Detail, line["detail"], where, "detail")
        values = {name: line[name] for name in names}
        for name, kind in (("model", ModelConfig), ("train", TrainConfig)):  # fields that are not known are not checked
            check(kind, {k: v for k, v in line[name].items() if k in kind.fields()}, where, name)
            values[name] = kind().to_dict() | line[name]
        result = Result(**values)
        newest[result.rung, replicate(result), result.protocol, result.data_sha256, result.steps] = result
    return list(newest.values())


def append(path: Path, result: Result) -> None:
    append_line(path, dataclasses.asdict(result))


def replicate(result: Result) -> Replicate:
    return result.split_seed, result.seed


def by_rung(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results of each rung, by split and seed."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(results, key=replicate):
        groups.setdefault(result.rung, []).append(result)
    return groups


def independent(values: Mapping[Replicate, float]) -> list[float]:
    """What an interval is over: the mean of each split; on one split alone, the value of each seed.

    Seeds of one split share its words, so they count once: the mean over splits then carries what another draw of
    the split would change, its training words and its test words alike.
    """
    by_split: dict[int, list[float]] = {}
    for (split, _), value in sorted(values.items()):
        by_split.setdefault(split, []).append(value)
    if len(by_split) == 1:
        return next(iter(by_split.values()))
    return [fmean(found) for found in by_split.values()]


def losses(results: Iterable[Result], part: str = "test_loss") -> list[float]:
    """Of one rung, as `independent` values."""
    return independent({replicate(r): getattr(r, part) for r in results})


def paired_losses(a: Sequence[Result], b: Sequence[Result], part: str = "test_loss") -> tuple[list[float], list[float]]:
    """Losses of two rungs for the replicates that both have, as `independent` values."""
    of_a, of_b = ({replicate(r): getattr(r, part) for r in group} for group in (a, b))
    both = of_a.keys() & of_b.keys()
    first, second = (independent({key: found[key] for key in both}) for found in (of_a, of_b))
    return first, second

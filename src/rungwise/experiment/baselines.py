"""The losses that a network has to beat: n-gram models, in the protocol of the climb. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rungwise.config import Protocol
from rungwise.config.fields import FINITE, check
from rungwise.data.batches import Tape
from rungwise.data.ngram import MAX_ORDER, fit
from rungwise.data.words import Split, WordList
from rungwise.experiment.plan import Experiment
from rungwise.util.files import read_json, write_json

BASELINES = "baselines.json"


def count(words: WordList, parts: Split, protocol: Protocol) -> dict[str, dict[str, float]]:
    """Losses of interpolated Kneser-Ney models of orders 1 to 7, nats a scored character: {order: {split: loss}}."""
    tapes = {
        f"{name}_loss": Tape.of(words, part, protocol)
        for name, part in (("train", parts.train), ("val", parts.validation), ("test", parts.test))
        if len(part)
    }
    model = fit(tapes["train_loss"], len(words.vocabulary))
    losses = {name: model.losses(tape) for name, tape in tapes.items()}
    return {str(n): {name: of_order[n] for name, of_order in losses.items()} for n in range(1, MAX_ORDER + 1)}


def write(out: Path, experiment: Experiment) -> None:
    """Count once a climb: baselines.json in its directory."""
    if (out / BASELINES).exists():
        return
    about = {name: value for name, value in experiment.settings().items() if name != "steps"}
    losses = count(experiment.words, experiment.parts, experiment.protocol)
    write_json(out / BASELINES, {**about, "kneser_ney": losses})


@dataclass(frozen=True)
class Losses:
    """Of one order, nats a scored character."""

    __pydantic_config__: ClassVar = FINITE
    train_loss: float
    test_loss: float
    val_loss: float | None = None


@dataclass(frozen=True)
class Baselines:
    """What baselines.json holds: the list and split, and the losses of each order."""

    data_sha256: str
    protocol: str
    split_seed: int
    kneser_ney: dict[int, Losses]


def load(out: Path) -> dict[str, Any]:
    """What baselines.json holds; empty where a climb has none."""
    if not (out / BASELINES).exists():
        return {}
    found = read_json(out / BASELINES)
    check(Baselines, found, str(out / BASELINES))
    return found


def read(out: Path) -> dict[int, dict[str, float]]:
    """{order: {split: loss}}; empty where a climb has none."""
    return {int(order): losses for order, losses in load(out).get("kneser_ney", {}).items()}

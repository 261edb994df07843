"""What fields have to do with each other. Values that were given and contradict each other are refused, a default that
does not fit what was given is fitted, and what has no effect is told in a line. No torch here.

This is asked where a run is begun. What an older run or result holds is read as it is.
"""

from __future__ import annotations

from collections.abc import Collection

from rungwise.config import ModelConfig, RunConfig, TrainConfig, dropout_steps
from rungwise.errors import UserError

FITTED = {
    "warmup_steps": "half of the {steps:,} steps",
    "min_learning_rate": "half of learning_rate",
}
"""Fields whose defaults are fitted, and the most that a default may be."""


def fitted(train: TrainConfig, given: Collection[str]) -> TrainConfig:
    """The schedule that is meant by the fields that were `given`: it reaches its peak, and falls from there on.

    UserError where a given field makes that impossible.
    """
    if train.schedule == "constant":
        return train
    steps, peak = train.steps, train.learning_rate
    most = {"warmup_steps": steps // 2, "min_learning_rate": peak / 2}
    train = train.replace(**{k: min(getattr(train, k), most[k]) for k in FITTED if k not in given})
    if train.warmup_steps > steps:
        raise UserError(
            f"warmup_steps must be at most steps={steps}, but is {train.warmup_steps}: the learning rate would never "
            "reach its peak."
        )
    if train.min_learning_rate > peak:
        raise UserError(
            f"min_learning_rate must be at most learning_rate={peak:g}, but is {train.min_learning_rate!r}: the "
            "learning rate would rise."
        )
    return train


def changes(before: TrainConfig, after: TrainConfig, given: Collection[str]) -> list[str]:
    """A line for each default that was fitted."""
    return [
        f"{name} {new:g} instead of {old:g}: at most {why.format(steps=after.steps)}."
        for name, why in FITTED.items()
        if name not in given and (new := getattr(after, name)) != (old := getattr(before, name))
    ]


def remarks(
    before: TrainConfig, model: ModelConfig, train: TrainConfig, run: RunConfig, n_words: int, given: Collection[str]
) -> list[str]:
    """A line for each field that was fitted (`before`: the rung's training), or has no effect, or another than one may
    think. `n_words`: training words."""
    n = run.evaluations(train.steps)
    needs = {
        "warmup_steps": ("schedule=cosine", train.schedule == "cosine"),
        "min_learning_rate": ("schedule=cosine", train.schedule == "cosine"),
        "window": ("batching=stream", train.batching == "stream"),
        "teacher_weight": ("targets=smoothed", train.targets == "smoothed"),
        "teacher_embd": ("teachers", train.teachers > 0),
        "teacher_dropout": ("teachers", train.teachers > 0),
        "teacher_share": ("teachers", train.teachers > 0),
        "mlp_ratio": ("an mlp", model.mlp != "none"),
    }
    values = ModelConfig().to_dict() | TrainConfig().to_dict()  # a configuration file may give all fields
    now = model.to_dict() | train.to_dict()
    lines = [
        f"{name}={now[name]:g} has no effect: it needs {what}."
        for name, (what, there) in needs.items()
        if name in given and not there and now[name] != values[name]
    ]
    if run.eval_every > train.steps:
        lines.append(
            f"eval_every={run.eval_every} is more than the {train.steps:,} steps: there is one evaluation, at the end."
        )
    if run.patience >= n - 1 and run.patience:
        lines.append(f"patience={run.patience} cannot stop this run: it has {n} evaluation{'s' * (n > 1)}.")
    if model.dropout and not dropout_steps(model.dropout):
        lines.append(f"dropout={model.dropout:g} drops nothing: it is less than half of 1/65536, the step of masks.")
    return [*changes(before, train, given), *lines, *batches(train, n_words)]


def batches(train: TrainConfig, n_words: int) -> list[str]:
    """A line where a batch is larger than the list."""
    if train.batching == "stream" or train.batch_size <= n_words:
        return []
    return [
        f"batch_size={train.batch_size} is more than the {n_words:,} training words: a step meets some of them twice."
    ]

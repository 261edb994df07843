"""What claims ask of the evidence: small functions that name rungs and a protocol and give an effect. No torch here.

A question is data: its rungs can be listed (a test asks that all are on the ladder), and asking it either gives an
effect or raises NotMeasured with what is missing. The rungs themselves are named by claims.py, not here.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import numpy as np

from rungwise.analysis.evidence import Evidence, Measured, NotMeasured
from rungwise.analysis.verdicts import Effect
from rungwise.experiment.results import independent
from rungwise.ladder import RUNGS

Against = Literal["after as many steps", "each at its best step"]
"""How a rung is held against a peer; the best step is chosen by held-out words."""


@dataclass(frozen=True)
class Question:
    """What is to be measured, with which rungs, under which protocol."""

    rungs: tuple[str, ...]
    answer: Callable[[Evidence, Measured], Effect]
    protocol: str = "article"

    def ask(self, evidence: Evidence) -> Effect:
        return self.answer(evidence, evidence.on(self.protocol))


def published(weights: Mapping[str, float], metric: str) -> float | None:
    """The weighted sum of the article's figures, nats a character (the gap: test less train); None if one has none."""
    total = 0.0
    for rung, weight in weights.items():
        figures = RUNGS[rung].published
        if figures is None or metric not in ("test loss", "train-test gap"):
            return None
        total += weight * (figures.test - (figures.train if metric == "train-test gap" else 0))
    return total


def weighted(measured: Measured, weights: Mapping[str, float], metric: str = "test loss", **more: Any) -> Effect:
    """The weighted sum of a metric over rungs, with the article's figure; `more`: other fields of the Effect."""
    words = measured.combine_words(weights) if metric == "test loss" else None
    shown = published(weights, metric) if measured.shows_published else None
    return Effect(measured.combine(weights, metric), words, published=shown, over=measured.over(weights), **more)


def change(after: str, before: str, metric: str = "test loss", remark: str = "") -> Question:
    """Of a loss or gap from one rung to another, paired by seed; below zero, the second is better."""
    weights = {after: 1, before: -1}
    return Question((after, before), lambda _, measured: weighted(measured, weights, metric, remark=remark))


def factor(after: str, before: str) -> Question:
    """How many times more probable, in the geometric mean, a rung makes a character than another does."""
    weights = {before: 1, after: -1}
    return Question((after, before), lambda _, measured: weighted(measured, weights, scale="factor"))


def parameters(rung: str, other: str, scale: Literal["count", "factor"]) -> Question:
    """Parameters of a rung less those of another, or as a multiple of them, exactly."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        mine, theirs = (measured.combine({name: 1}, "parameters")[:1] for name in (rung, other))
        value = mine - theirs if scale == "count" else np.log(mine / theirs)
        remark = f"{mine[0]:,.0f} against {theirs[0]:,.0f} parameters."
        return Effect(value, scale=scale, exact=True, remark=remark)

    return Question((rung, other), answer)


def biggest_step(after: str) -> Question:
    """A step of the ladder less the largest of the other steps in its group: below zero, it is the biggest.

    Which step is the largest other one is chosen from the data, so the interval is widened for all of them.
    """
    group = [r for r in RUNGS.values() if r.group == RUNGS[after].group]
    steps = {r.name: {r.name: 1, r.on: -1} for r in group if r.on}
    rungs = tuple(dict.fromkeys(name for step in steps.values() for name in step))

    def answer(_: Evidence, measured: Measured) -> Effect:
        measured.combine(dict.fromkeys(rungs, 0))  # NotMeasured names the rungs that are missing
        means = {name: measured.combine(step).mean() for name, step in steps.items()}
        closest = min((name for name in steps if name != after), key=lambda name: means[name])
        weights = Counter(steps[after])
        weights.subtract(steps[closest])
        remark = f"{means[after]:+.3f} against {means[closest]:+.3f} of the next largest step, {RUNGS[closest].title}."
        return weighted(measured, weights, tests=len(steps) - 1, remark=remark.replace("-", "−"))

    return Question(rungs, answer)


def roughness(after: str, before: str) -> Question:
    """How unsteady the second half of a learning curve is, one rung against another, as a factor.

    Roughness is the standard deviation of the changes from one point of the curve (a mean over 256 steps) to the
    next. Both are trained on the same batches, so what the batches add is in both.
    """

    def of(measured: Measured, rung: str) -> np.ndarray:
        if (found := measured.curve(rung)) is None:
            raise NotMeasured(f"the learning curves of {rung}")
        losses = found[1][:, found[1].shape[1] // 2 :]
        if losses.shape[1] < 3:
            raise NotMeasured(f"a learning curve of {rung} with more points")
        return np.log(np.diff(losses, axis=1).std(axis=1, ddof=1))

    def answer(_: Evidence, measured: Measured) -> Effect:
        measured.combine({after: 1, before: -1})  # NotMeasured names a rung that is missing
        a, b, runs = of(measured, after), of(measured, before), measured.replicates([after, before])
        if not len(a) == len(b) == len(runs):
            raise NotMeasured(f"the learning curves of the same seeds of {after} and {before}")
        found = independent(dict(zip(runs, a - b, strict=True)))
        return Effect(np.array(found), scale="factor", over=measured.over([after, before]))

    return Question((after, before), answer)


def against_peer(rung: str, peer: str, how: Against) -> Question:
    """A rung's loss less a peer's, both trained on the peer's own words and scored on its own test words, by seed and
    by word."""

    def answer(evidence: Evidence, _: Measured) -> Effect:
        about = evidence.peers.get(peer, {})
        found = about.get("against", {}).get(rung, {}).get(how)
        if found is None:
            raise NotMeasured(f"{rung} and {peer} on the same words (peers.json)")
        nats, characters = np.array(found["nats"], float), np.array(about["characters"], float)
        ours, its = found["ours"], found["its"]
        remark = (
            f"{ours['test_loss']:.3f} at {ours['steps']:,} steps against {peer}'s {its['test_loss']:.3f} at "
            f"{its['steps']:,}, on the same words."
        )
        return Effect(nats.sum(1) / characters.sum(), (nats, characters), remark=remark)

    return Question((rung,), answer)


def probability_means(rung: str) -> Question:
    """The arithmetic mean of the probability of the right character less the geometric one, exp(-loss)."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        metrics = ("mean probability", "geometric mean probability", "top-1 accuracy")
        arithmetic, geometric, correct = (measured.combine({rung: 1}, metric) for metric in metrics)
        remark = (
            f"exp(−loss) is the geometric mean, {geometric.mean():.1%}; the arithmetic one is {arithmetic.mean():.1%}; "
            f"the most probable character is the right one {correct.mean():.1%} of the time."
        )
        remark = remark.replace("%", " %")
        return Effect(arithmetic - geometric, scale="points", remark=remark, over=measured.over([rung]))

    return Question((rung,), answer)


def uniform_probability(reported: float) -> Question:
    """A uniform guess's probability of each symbol, less a reported one; arithmetic, not measurement."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        symbols = measured.results[0].model["vocab_size"] - 1  # PAD is never predicted
        remark = f"{symbols} symbols: {log(symbols):.2f} nats a character, {100 / symbols:.1f} %."
        return Effect(np.array([1 / symbols - reported]), scale="points", exact=True, remark=remark)

    return Question((), answer)


def share_in_training(rung: str) -> Question:
    """The share of the test words that are in the training list: the split's doing, so it has no interval."""
    metric = "share of test words in training"
    return Question((rung,), lambda _, measured: Effect(measured.combine({rung: 1}, metric), scale="share", exact=True))


def difference(rung: str, metric: str, less: str, protocol: str = "article", remark: str = "") -> Question:
    """Of two metrics of the same runs of one rung."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        values, other = (measured.combine({rung: 1}, name) for name in (metric, less))
        if len(values) != len(other):
            raise NotMeasured(f"{metric} and {less} of the same seeds of {rung}")
        numbers = f"{metric[0].upper()}{metric[1:]} {values.mean():.3f}, {less} {other.mean():.3f}."
        return Effect(values - other, remark=f"{numbers} {remark}".strip(), over=measured.over([rung]))

    return Question((rung,), answer, protocol)

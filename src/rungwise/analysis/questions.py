"""What claims ask of the evidence: small functions that name rungs and a protocol and give an effect. No torch here.

A question is data: its rungs can be listed (a test asks that all are on the ladder), and asking it either gives an
effect or raises NotMeasured with what is missing. The rungs themselves are named by claims.py, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

import numpy as np

from rungwise.analysis.evidence import Evidence, Measured, NotMeasured
from rungwise.analysis.verdicts import Effect, Scale
from rungwise.ladder import RUNGS


@dataclass(frozen=True)
class Question:
    """What is to be measured, under which protocol, with which rungs."""

    protocol: str
    rungs: tuple[str, ...]
    answer: Callable[[Evidence, Measured], Effect]

    def ask(self, evidence: Evidence) -> Effect:
        return self.answer(evidence, evidence.on(self.protocol))


def published(weights: Mapping[str, float], metric: str = "test loss") -> float | None:
    """The weighted sum of the article's figures, nats a character (the gap: test less train); None if one has none."""
    total = 0.0
    for rung, weight in weights.items():
        figures = RUNGS[rung].published
        if figures is None or metric not in ("test loss", "train-test gap"):
            return None
        total += weight * (figures.test - (figures.train if metric == "train-test gap" else 0))
    return total


def reported(after: str, before: str) -> float:
    """The article's change in test loss between two of its own rungs, to the two digits that it reports."""
    change = published({after: 1, before: -1})
    if change is None:
        raise ValueError(f"The article has no figures for {after} and {before}.")
    return round(change, 2)


def change(after: str, before: str, metric: str = "test loss", protocol: str = "article", remark: str = "") -> Question:
    """Of a loss or gap from one rung to another, paired by seed; below zero, the second is better."""
    weights = {after: 1.0, before: -1.0}

    def answer(_: Evidence, measured: Measured) -> Effect:
        values = measured.combine(weights, metric)
        words = measured.combine_words(weights) if metric == "test loss" else None
        shown = published(weights, metric) if measured.shows_published else None
        return Effect(values, words, remark=remark, published=shown)

    return Question(protocol, (after, before), answer)


def fewer_parameters(rung: str, than: str, protocol: str = "article") -> Question:
    """Parameters of a rung less those of another, exactly."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        counts = [measured.combine({name: 1.0}, "parameters")[:1] for name in (rung, than)]
        remark = f"{counts[0][0]:,.0f} against {counts[1][0]:,.0f} parameters."
        return Effect(counts[0] - counts[1], scale="count", exact=True, remark=remark)

    return Question(protocol, (rung, than), answer)


def times_parameters(rung: str, of: str, protocol: str = "article") -> Question:
    """Parameters of a rung as a multiple of another's, exactly."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        counts = [measured.combine({name: 1.0}, "parameters")[:1] for name in (rung, of)]
        remark = f"{counts[0][0]:,.0f} against {counts[1][0]:,.0f} parameters."
        return Effect(np.log(counts[0] / counts[1]), scale="factor", exact=True, remark=remark)

    return Question(protocol, (rung, of), answer)


def biggest_step(after: str, protocol: str = "article") -> Question:
    """A step of the ladder less the largest of the other steps in its group: below zero, it is the biggest.

    Which step is the largest other one is chosen from the data, so the interval is widened for all of them.
    """
    group = [r for r in RUNGS.values() if r.group == RUNGS[after].group and r.on]
    steps = {r.name: (r.name, str(r.on)) for r in group}
    names = tuple(dict.fromkeys(name for pair in steps.values() for name in pair))

    def minus(step: str, sign: float, weights: dict[str, float]) -> dict[str, float]:
        high, low = steps[step]
        weights[high] = weights.get(high, 0) + sign
        weights[low] = weights.get(low, 0) - sign
        return weights

    def answer(_: Evidence, measured: Measured) -> Effect:
        measured.combine(dict.fromkeys(names, 0.0))  # NotMeasured names the rungs that are missing
        rivals = {other: minus(other, -1, minus(after, 1, {})) for other in steps if other != after}
        closest = max(rivals, key=lambda other: measured.combine(rivals[other]).mean())
        weights = rivals[closest]
        high, low = steps[after]
        own, theirs = measured.combine({high: 1, low: -1}).mean(), measured.combine(minus(closest, 1, {})).mean()
        remark = f"{own:+.3f} against {theirs:+.3f} of the next largest step, {RUNGS[closest].title}."
        shown = published(weights) if measured.shows_published else None
        return Effect(
            measured.combine(weights),
            measured.combine_words(weights),
            tests=len(rivals),
            remark=remark.replace("-", "−"),
            published=shown,
        )

    return Question(protocol, names, answer)


def roughness(after: str, before: str, protocol: str = "article") -> Question:
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
        measured.combine({after: 1.0, before: -1.0})
        a, b = of(measured, after), of(measured, before)
        if len(a) != len(b):
            raise NotMeasured(f"the learning curves of the same seeds of {after} and {before}")
        return Effect(a - b, scale="factor")

    return Question(protocol, (after, before), answer)


def against_peer(rung: str, peer: str, protocol: str) -> Question:
    """A rung's loss less a peer's measured one, in the peer's protocol. The peer's words were others of the same list,
    so its figure is granted the same spread over words as ours."""

    def answer(evidence: Evidence, measured: Measured) -> Effect:
        found = evidence.peers.get(peer)
        if found is None:
            raise NotMeasured(f"{peer}'s own figure, measured (peers.json)")
        if found.get("protocol", protocol) != protocol:
            raise NotMeasured(f"{peer}'s figure in protocol {protocol}")
        values, words = measured.combine({rung: 1.0}), measured.combine_words({rung: 1.0})
        if words is None:
            raise NotMeasured(f"{rung}'s losses by word, as {peer} was scored on other words")
        loss = float(found["test_loss"])
        steps = f" at {found['steps']:,} steps" if "steps" in found else ""
        remark = (
            f"{values.mean():.3f} at {RUNGS[rung].train.steps:,} steps against {peer}'s measured {loss:.3f}{steps}."
        )
        return Effect(values - loss, (words[0] - loss * words[1], words[1]), other_words=True, remark=remark)

    return Question(protocol, (rung,), answer)


def factor(after: str, before: str, protocol: str = "article") -> Question:
    """How many times more probable, in the geometric mean, a rung makes a character than another does."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        weights = {before: 1.0, after: -1.0}
        shown = published(weights) if measured.shows_published else None
        return Effect(measured.combine(weights), measured.combine_words(weights), "factor", published=shown)

    return Question(protocol, (after, before), answer)


def probability_means(rung: str, protocol: str = "article") -> Question:
    """The arithmetic mean of the probability of the right character less the geometric one, exp(-loss)."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        arithmetic = measured.combine({rung: 1.0}, "mean probability")
        geometric = measured.combine({rung: 1.0}, "geometric mean probability")
        correct = measured.combine({rung: 1.0}, "top-1 accuracy")
        remark = (
            f"exp(−loss) is the geometric mean, {geometric.mean():.1%}; the arithmetic one is {arithmetic.mean():.1%}; "
            f"the most probable character is the right one {correct.mean():.1%} of the time."
        )
        return Effect(arithmetic - geometric, scale="points", remark=remark.replace("%", " %"))

    return Question(protocol, (rung,), answer)


def uniform_probability(reported_share: float, protocol: str = "article") -> Question:
    """A uniform guess's probability of each symbol, less a reported one; arithmetic, not measurement."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        symbols = measured.results[0].model["vocab_size"] - 1  # PAD is never predicted
        remark = f"{symbols} symbols: {log(symbols):.2f} nats a character, {100 / symbols:.1f} %."
        return Effect(np.array([1 / symbols - reported_share]), scale="points", exact=True, remark=remark)

    return Question(protocol, (), answer)


def level(rung: str, metric: str, protocol: str, scale: Scale = "level", less: str | None = None) -> Question:
    """A metric of one rung, or the difference of two metrics of the same runs."""

    def answer(_: Evidence, measured: Measured) -> Effect:
        values = measured.combine({rung: 1.0}, metric)
        if less is None:
            return Effect(values, scale=scale, exact=scale == "share")  # a share of the split is no run's doing
        other = measured.combine({rung: 1.0}, less)
        if len(values) != len(other):
            raise NotMeasured(f"{metric} and {less} of the same seeds of {rung}")
        remark = f"{metric[0].upper()}{metric[1:]} {values.mean():.3f}, {less} {other.mean():.3f}."
        return Effect(values - other, scale=scale, remark=remark)

    return Question(protocol, (rung,), answer)

"""Which figures a report draws of one protocol's results, from which numbers. plots.py draws them. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import nan
from typing import Any

import numpy as np

from rungwise.analysis.evidence import Measured
from rungwise.analysis.stats import Summary, rank_correlation, summary
from rungwise.ladder import FULL, LEAVE_ONE_OUT, RUNGS, Group, Rung
from rungwise.report import plots
from rungwise.report.document import Block
from rungwise.report.plots import Level, Line

LADDER: tuple[Group, ...] = ("article", "scaling")
TITLES: dict[Group, str] = {
    "article": "The eight rungs",
    "scaling": "Scaling up",
    "side": "Another handling of the data",
    "beyond": "Beyond the article",
    "confound": "One change at a time",
    "ablation": "One part taken away",
    "recipe": "A recipe that beats counting",
    "own": "Your own rungs",
}
FEWEST = 30
"""Words that a place or a length must have for its loss to be drawn."""
Peers = Mapping[str, Mapping[str, Any]]


def slug(measured: Measured) -> str:
    return f"{measured.protocol.name}-{measured.data_sha256[:8]}-{measured.splits[0]}"


def best_baseline(measured: Measured) -> list[tuple[str, float, float]]:
    """The n-gram baseline with the lowest test loss, by itself in a list; empty where there are none."""
    return sorted(baselines(measured), key=lambda row: row[2])[:1]


def baselines(measured: Measured) -> list[tuple[str, float, float]]:
    """(name, train loss, test loss) of the n-gram models."""
    return [
        (f"Kneser-Ney, {order}-gram", losses.get("train_loss", nan), losses["test_loss"])
        for order, losses in sorted(measured.baselines.items())
    ]


def level(measured: Measured, rung: Rung, metric: str = "test loss") -> Level:
    s = measured.summary(rung.name, metric)
    published = rung.published.test if rung.published and measured.shows_published and metric == "test loss" else None
    return Level(rung.title, s.mean, s.low, s.high, published)


def ladder_figures(measured: Measured, peers: Peers) -> list[Block]:
    levels = [level(measured, rung) for rung in measured.rungs(*LADDER)]
    if not levels:
        return []
    marks = [(name, float(peer["test_loss"])) for name, peer in peers.items()]
    best = best_baseline(measured)
    marks += [(name, loss) for name, _, loss in best]
    figure = plots.ladder(
        f"ladder-{slug(measured)}",
        f"The ladder, protocol {measured.protocol.name}",
        f"Each point is the mean test loss over {measured.counted}, its band the 95 % interval (often narrower than "
        "the point)"
        + ("; diamonds are the article's figures, one seed each" if any(v.published for v in levels) else "")
        + ("; the dashed line is the best n-gram baseline (no network)." if best else "."),
        levels,
        marks,
    )
    return [figure]


def more_figures(measured: Measured) -> list[Block]:
    return [*leave_one_out(measured), *gaps(measured), *curves(measured), *by_place(measured)]


def gaps(measured: Measured) -> list[Block]:
    levels = [level(measured, rung, "train-test gap") for rung in measured.rungs(*LADDER)]
    if not levels:
        return []
    return [
        plots.bars(
            f"gap-{slug(measured)}",
            f"Overfitting (test - train), protocol {measured.protocol.name}",
            "Test loss less train loss, both exact over their whole split, with 95 % intervals over "
            f"{measured.counted}.",
            "train-test gap",
            [("gap", levels)],
        )
    ]


def curves(measured: Measured) -> list[Block]:
    blocks: list[Block] = []
    for group in LADDER:
        found = [(rung, measured.curve(rung.name)) for rung in measured.rungs(group)]
        drawn = [Line(r.title, curve[0], curve[1].mean(axis=0)) for r, curve in found if curve and len(curve[0]) > 2]
        if drawn:
            name = f"curves-{group}-{slug(measured)}"
            title = f"Learning curves, {TITLES[group].lower()}, protocol {measured.protocol.name}"
            caption = "Loss of the training batches, mean of 256 steps and over seeds; the first steps are cut off."
            blocks.append(plots.lines(name, title, caption, [("step", drawn)], "training loss, nats a character"))
    return blocks


def part_steps() -> dict[str, Rung]:
    """Part -> the ladder's own step that added it: where the full model's field left what the ablation puts back."""
    path = [RUNGS[FULL]]
    while path[-1].on:
        path.append(RUNGS[path[-1].on])
    found = {}
    for part, without in LEAVE_ONE_OUT.items():
        full, less = RUNGS[FULL].model.to_dict(), RUNGS[without].model.to_dict()
        for step, below in pairwise(path):
            before, after = below.model.to_dict(), step.model.to_dict()
            if any(full[f] != less[f] == before[f] != after[f] for f in full):
                found[part] = step
    return found


def worths(measured: Measured) -> dict[str, tuple[Summary, Summary | None]]:
    """Part -> what it is worth taken from the full model, and what the ladder's own step brought."""

    def worth(without: str, with_it: str) -> Summary | None:
        common = measured.replicates([without, with_it])
        return summary(measured.combine({without: 1, with_it: -1})) if common else None

    found, added = {}, part_steps()
    for part, without in LEAVE_ONE_OUT.items():
        if taken := worth(without, FULL):
            found[part] = taken, worth(str(added[part].on), added[part].name) if part in added else None
    return found


def leave_one_out(measured: Measured) -> list[Block]:
    """What a part is worth taken from the full model, and the step that added it, to compare: order confounds."""
    found = worths(measured)
    if len(found) < 2:
        return []
    taken = [Level(part, s.mean, s.low, s.high) for part, (s, _) in found.items()]
    stepped = [Level(part, s.mean, s.low, s.high) for part, (_, s) in found.items() if s]
    return [
        plots.bars(
            f"leave-one-out-{slug(measured)}",
            f"What a part is worth, asked twice, protocol {measured.protocol.name}",
            f"Above: how much worse the full model ({RUNGS[FULL].title}) is without the part. Below: what the ladder's "
            "own step brought, which may have added more than the part. Order confounds, so both are shown, with 95 % "
            f"intervals over {measured.counted}.",
            "worth of the part",
            [("taken from the full model", taken), ("the ladder's own step", stepped)],
        )
    ]


def loss_and_words(measured: Measured) -> list[Block]:
    """Does a lower loss mean better words? A dot each rung."""
    metrics, over = ("test loss", "distance of 3-grams", "new words"), measured.counted
    rungs = [rung for rung in RUNGS if measured.values(rung, metrics[1])]
    if len(rungs) < 3:
        return []
    losses, apart = ({rung: measured.values(rung, metric) for rung in rungs} for metric in metrics[:2])
    loss, distance, new = ([measured.summary(rung, metric).mean for rung in rungs] for metric in metrics)
    alone = [
        rank_correlation([losses[rung][key] for rung in rungs], [apart[rung][key] for rung in rungs])
        for key in measured.replicates(rungs, metrics[1])
    ]
    each = f" ({min(alone):.2f} to {max(alone):.2f} within each of {len(alone)} {over})" if alone[1:] else ""
    copies = rank_correlation(loss, new)
    floors = [floor for r in measured.results if (floor := (r.detail.get("words") or {}).get("floor")) is not None]
    return [
        plots.scatter(
            f"words-{slug(measured)}",
            f"Does a lower loss mean better words? Protocol {measured.protocol.name}",
            f"Each dot is a rung, its faint ones the {over}. Rank correlation over {len(rungs)} rungs: "
            f"{rank_correlation(loss, distance):.2f}{each}; 1: the order by loss is the order by words. "
            + ("" if np.isnan(copies) else f"That of the loss with the share of new words: {copies:.2f}. ")
            + ("The lower the loss, the more words are in the list. " if copies > 0.5 else "")
            + ("The dashed line is the noise floor: real held-out words." if floors else ""),
            (f"test loss, {plots.UNIT}", "3-grams apart from the training words, bits"),
            [(RUNGS[r].title, [(losses[r][key], d) for key, d in apart[r].items()]) for r in rungs],
            float(np.mean(floors)) if floors else None,
        )
    ]


def by_place(measured: Measured) -> list[Block]:
    """Loss by place in the word and by its length: the ladder's ground and top, and the top of each group."""
    chosen = [group[i] for name in LADDER if (group := measured.rungs(name)) for i in (0, -1)]
    places, lengths = [], []
    for rung in dict.fromkeys(rung.name for rung in chosen):
        title = RUNGS[rung].title
        for key, found in (("by_position", places), ("by_length", lengths)):
            if (losses := measured.by_index(rung, key)).size:
                x, y = _enough(measured, key, losses)
                found += [Line(title, x, y)] if len(x) > 1 else []
    if not places or not lengths:
        return []
    start = "" if measured.protocol.start_token else " (the first is given)"
    return [
        plots.lines(
            f"places-{slug(measured)}",
            f"Where the loss falls, protocol {measured.protocol.name}",
            f"Left: by the character's place in the word{start}; the end counts as one. Right: mean loss a character "
            "of words of each length. Test words, means over runs"
            + (f"; places and lengths with fewer than {FEWEST} words are left out." if measured.word_losses else "."),
            [("place in the word", places), ("length of the word, characters", lengths)],
            "test loss, nats a character",
        )
    ]


def _enough(measured: Measured, key: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x in characters, and the values that are means over enough words."""
    index = np.arange(len(values))
    keep = ~np.isnan(values)
    if measured.word_losses is not None:
        tokens = measured.word_losses.tokens
        n = [int((tokens > i).sum() if key == "by_position" else (tokens == i).sum()) for i in index]
        keep &= np.array(n) >= FEWEST
    # A word of n characters has n + 1 scored tokens with a start token (its end is one), and n without.
    shift = (1 if measured.protocol.start_token else 2) if key == "by_position" else -int(measured.protocol.start_token)
    return (index + shift)[keep], values[keep]

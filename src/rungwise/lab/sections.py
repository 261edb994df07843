"""The parts of a report that show one protocol's results: what was scored, tables and plots. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, isnan, log, nan
from typing import Any

import numpy as np

from rungwise.lab import plots
from rungwise.lab.document import Block, Paragraph, Section, Table
from rungwise.lab.evidence import Measured
from rungwise.lab.ladder import FULL, LEAVE_ONE_OUT, RUNGS, Group, Rung
from rungwise.lab.plots import Level, Line
from rungwise.lab.stats import Difference, bootstrap_words, both_sources, equivalence, holm, paired, summary
from rungwise.lab.verdicts import NEGLIGIBLE, signed

LADDER: tuple[Group, ...] = ("article", "scaling")
TITLES: dict[Group, str] = {
    "article": "The eight rungs",
    "scaling": "Scaling up",
    "side": "Another handling of the data",
    "confound": "One change at a time",
    "ablation": "One part taken away",
}
FEWEST = 30
"""Words that a place or a length must have for its loss to be drawn."""
Peers = Mapping[str, Mapping[str, Any]]


def measured_rungs(measured: Measured, *groups: Group) -> list[Rung]:
    return [rung for rung in RUNGS.values() if rung.group in groups and rung.name in measured.by_rung]


def protocol_section(measured: Measured, peers: Peers) -> Section:
    """Everything about one protocol, in the order in which one would tell it."""
    peers = {name: peer for name, peer in peers.items() if peer.get("protocol") == measured.protocol.name}
    blocks: list[Block] = [Paragraph(scored(measured))]
    if measured.steps is not None:
        blocks.append(
            Paragraph(
                f"These runs were cut short: {measured.steps:,} steps each, instead of the ladder's own. They show how "
                "the report reads, not what a rung is worth; no verdict draws on them."
            )
        )
    blocks += ladder_figures(measured, peers)
    for group, title in TITLES.items():
        if rungs := measured_rungs(measured, group):
            counts = best_counted(measured) if any(isinstance(b, Table) for b in blocks) else counted(measured)
            blocks.append(loss_table(measured, title, rungs, counts, peers))
    blocks += step_tables(measured)
    blocks += [*leave_one_out(measured), *gaps(measured), *curves(measured), *by_place(measured)]
    blocks += [*tuning(measured), meaning(measured)]
    return Section(f"protocol-{slug(measured)}", f"Protocol {measured.protocol.name}: {measured.data}", blocks)


def slug(measured: Measured) -> str:
    return f"{measured.protocol.name}-{measured.data_sha256[:8]}-{measured.split_seed}"


def scored(measured: Measured) -> str:
    """What the numbers of this protocol are: said once, over everything that follows."""
    detail = measured.results[0].detail
    seen = detail.get("share_seen")
    copies = f" {100 * seen:.1f} % of the test words also stand in training." if seen else ""
    n = len({r.seed for r in measured.results})
    return (
        f"Scored: {measured.protocol.scored}, {detail['n_test_tokens']:,} characters of {detail['n_test_words']:,} "
        f"test words, exactly.{copies} Losses are nats a character; a bit is {log(2):.3f} nats. Figures are means over "
        f"{n} seed{'s' * (n > 1)}, ± half the 95 % interval over seeds; sd is the standard deviation between seeds."
    )


def best_counted(measured: Measured) -> list[tuple[str, float, float]]:
    """The counting model with the lowest test loss, by itself in a list; empty where none was counted."""
    best = min(counted(measured), key=lambda row: row[2], default=None)
    return [best] if best else []


def counted(measured: Measured) -> list[tuple[str, float, float]]:
    """(name, train loss, test loss) of the models by counting."""
    return [
        (f"Kneser-Ney, {order}-gram", losses.get("train_loss", nan), losses["test_loss"])
        for order, losses in sorted(measured.baselines.items())
    ]


def loss(value: float) -> str:
    return "" if isnan(value) else f"{value:.3f}"


def plus_minus(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f}" + ("" if isnan(low) else f" ± {(high - low) / 2:.3f}")


def loss_table(
    measured: Measured, title: str, rungs: Sequence[Rung], counts: Sequence[tuple[str, float, float]], peers: Peers
) -> Table:
    with_published = measured.shows_published and any(rung.published for rung in rungs)
    header = ["rung", "stands on", "parameters", "steps"]
    header += ["published train / test"] if with_published else []
    header += ["train", "test", "sd of test", "seeds", "test, bits"]
    rows = []
    for rung in rungs:
        results = measured.by_rung[rung.name]
        train, test = (summary([getattr(r, f"{part}_loss") for r in results]) for part in ("train", "test"))
        row = [rung.title, RUNGS[rung.on].title if rung.on else "", f"{results[0].n_params:,}", f"{results[0].steps:,}"]
        if with_published:
            row += [f"{rung.published.train:.2f} / {rung.published.test:.2f}" if rung.published else ""]
        row += [plus_minus(s.mean, s.low, s.high) for s in (train, test)]
        rows.append((*row, loss(test.sd), str(test.n), loss(test.mean / log(2))))
    empty = [""] * (len(header) - 9)
    extra = [
        (
            name,
            "counted" if len(counts) > 1 else f"counted, best of {len(measured.baselines)}",
            "",
            "",
            *empty,
            loss(train),
            loss(test),
            "",
            "",
            loss(test / log(2)),
        )
        for name, train, test in counts
    ]
    for name, peer in peers.items():
        size, steps = (f"{peer[key]:,}" if key in peer else "" for key in ("n_params", "steps"))
        value = float(peer["test_loss"])
        extra.append((name, "measured", size, steps, *empty, "", loss(value), "", "", loss(value / log(2))))
    caption = f"{title}. Losses in nats a character ({measured.protocol.scored})."
    return Table(caption, tuple(header), rows + extra, text_columns=2, quiet_rows=len(extra))


# ------------------------------------------------------------------------------------------------ steps


@dataclass(frozen=True)
class Step:
    """A rung against the one that it stands on: test loss, paired by seed, nats a character."""

    rung: Rung
    below: Rung
    seeds: Difference
    words: tuple[float, float]
    """95 % interval over test words, nan where their losses were not kept."""
    both: tuple[float, float]
    negligible: bool


@cache  # the bootstrap takes a tenth of a second a step, and two sections ask
def steps(measured: Measured, *groups: Group) -> tuple[Step, ...]:
    found = []
    for rung in measured_rungs(measured, *groups):
        below = RUNGS.get(rung.on or "")
        if below is None or not measured.seeds([rung.name, below.name]):
            continue
        weights = {rung.name: 1.0, below.name: -1.0}
        values = measured.combine(weights)
        difference = paired(np.zeros_like(values), values)
        words, both = (nan, nan), (nan, nan)
        if kept := measured.combine_words(weights):
            nats, tokens = kept
            over_words = bootstrap_words(np.zeros_like(tokens), nats.mean(axis=0), tokens)
            over_both = both_sources(np.zeros_like(nats), nats, tokens)
            words, both = (over_words.low, over_words.high), (over_both.low, over_both.high)
        found.append(Step(rung, below, difference, words, both, equivalence(values, NEGLIGIBLE).equivalent))
    return tuple(found)


def step_tables(measured: Measured) -> list[Block]:
    families: list[tuple[str, tuple[Group, ...]]] = [
        ("What each step of the ladder is worth", LADDER),
        ("And every other change", ("side", "confound", "ablation")),
    ]
    blocks: list[Block] = []
    for title, groups in families:
        if found := steps(measured, *groups):
            blocks.append(_step_table(measured, title, found))
    if blocks:
        blocks.append(
            Paragraph(
                "A change is paired by seed: the same seed meets the same batches on both rungs. Its interval over "
                "seeds answers for other seeds (t), that over words for other test words (bootstrap), that over both "
                "for either. The p of the paired t test is adjusted for all steps of its table (Holm). Negligible "
                f"means shown to be smaller than {NEGLIGIBLE:g} nats by an equivalence test over seeds at 5 %, never "
                "merely a large p.",
                quiet=True,
            )
        )
    return blocks


def _step_table(measured: Measured, title: str, found: Sequence[Step]) -> Table:
    adjusted = holm([step.seeds.p for step in found])
    header = ["step", "from", "change, over seeds", "over words", "over both", "p, Holm", "negligible", "seeds"]
    with_published = measured.shows_published and any(s.rung.published and s.below.published for s in found)
    if with_published:
        header.insert(2, "published")
    rows = []
    for step, p in zip(found, adjusted, strict=True):
        d = step.seeds
        row = [step.rung.title, step.below.title]
        if with_published:
            mine, theirs = step.rung.published, step.below.published
            row.append(signed(mine.test - theirs.test, 2) if mine and theirs else "")
        negligible = "" if isnan(d.p) else "yes" if step.negligible else "no"
        row += [signed(d.mean) + ("" if isnan(d.low) else f" ± {(d.high - d.low) / 2:.3f}")]
        rows.append((*row, between(*step.words), between(*step.both), p_value(p), negligible, str(d.n)))
    return Table(
        f"{title}: change in test loss, nats a character (below zero is better), with 95 % intervals.",
        tuple(header),
        rows,
        text_columns=2,
    )


def between(low: float, high: float) -> str:
    return "" if isnan(low) else f"{signed(low)} to {signed(high)}"


def p_value(p: float) -> str:
    return "" if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


# ------------------------------------------------------------------------------------------------ figures


def level(measured: Measured, rung: Rung, metric: str = "test loss") -> Level:
    s = summary(list(measured.values(rung.name, metric).values()))
    published = rung.published.test if rung.published and measured.shows_published and metric == "test loss" else None
    return Level(rung.title, s.mean, s.low, s.high, published)


def ladder_figures(measured: Measured, peers: Peers) -> list[Block]:
    rungs = measured_rungs(measured, *LADDER)
    if not rungs:
        return []
    marks = [(name, float(peer["test_loss"])) for name, peer in peers.items()]
    best = best_counted(measured)
    marks += [(name, loss) for name, _, loss in best]
    figure = plots.ladder(
        f"ladder-{slug(measured)}",
        f"The ladder, protocol {measured.protocol.name}",
        "Each point is the mean test loss over seeds, its band the 95 % interval"
        + (" (often narrower than the point)" if measured.results else "")
        + (
            "; diamonds are the article's figures, one seed each"
            if measured.shows_published and any(r.published for r in rungs)
            else ""
        )
        + ("; the dashed line is the best model by counting, no network." if best else "."),
        [level(measured, rung) for rung in rungs],
        marks,
    )
    return [figure]


def gaps(measured: Measured) -> list[Block]:
    rungs = measured_rungs(measured, *LADDER)
    if not rungs:
        return []
    return [
        plots.bars(
            f"gap-{slug(measured)}",
            f"What is learned by heart, protocol {measured.protocol.name}",
            "Test loss less train loss, both exact over their whole split, with 95 % intervals over seeds.",
            "train-test gap",
            [("gap", [level(measured, rung, "train-test gap") for rung in rungs])],
        )
    ]


def curves(measured: Measured) -> list[Block]:
    blocks: list[Block] = []
    for group in LADDER:
        found = [(rung, measured.curve(rung.name)) for rung in measured_rungs(measured, group)]
        drawn = [Line(r.title, curve[0], curve[1].mean(axis=0)) for r, curve in found if curve and len(curve[0]) > 2]
        if drawn:
            name = f"curves-{group}-{slug(measured)}"
            title = f"Learning curves, {TITLES[group].lower()}, protocol {measured.protocol.name}"
            caption = "Loss of the training batches, mean of 256 steps and over seeds; the first steps are cut off."
            blocks.append(plots.lines(name, title, caption, [("step", drawn)], "training loss, nats a character"))
    return blocks


def part_steps() -> dict[str, Rung]:
    """Part -> the ladder's own step that added it: where the full model's field left what the ablation puts back."""
    path, rung = [], RUNGS[FULL]
    while rung.on:
        path.append(rung)
        rung = RUNGS[rung.on]
    found = {}
    for part, without in LEAVE_ONE_OUT.items():
        full, less = RUNGS[FULL].model.to_dict(), RUNGS[without].model.to_dict()
        for step in path:
            mine, below = step.model.to_dict(), RUNGS[str(step.on)].model.to_dict()
            if any(full[f] != less[f] and below[f] == less[f] and mine[f] != less[f] for f in full):
                found[part] = step
    return found


def leave_one_out(measured: Measured) -> list[Block]:
    """What a part is worth taken from the full model, beside the step that added it: order confounds."""

    def worth(label: str, without: str, with_it: str) -> Level | None:
        if not measured.seeds([without, with_it]):
            return None
        s = summary(measured.combine({without: 1.0, with_it: -1.0}))
        return Level(label, s.mean, s.low, s.high)

    added = part_steps()
    pairs = [
        (worth(part, without, FULL), worth(part, str(added[part].on), added[part].name) if part in added else None)
        for part, without in LEAVE_ONE_OUT.items()
    ]
    pairs = [pair for pair in pairs if pair[0] is not None]
    if len(pairs) < 2:
        return []
    taken, stepped = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return [
        plots.bars(
            f"leave-one-out-{slug(measured)}",
            f"What a part is worth, asked twice, protocol {measured.protocol.name}",
            f"Above: how much worse the full model ({RUNGS[FULL].title}) is without the part. Below: what the ladder's "
            "own step brought, which may have added more than the part. Order confounds, so both are shown, with 95 % "
            "intervals over seeds.",
            "worth of the part",
            [("taken from the full model", taken), ("the ladder's own step", stepped)],
        )
    ]


def by_place(measured: Measured) -> list[Block]:
    """Loss by place in the word and by its length: the ladder's ground and top, and the top of each group."""
    chosen = [group[i] for name in LADDER if (group := measured_rungs(measured, name)) for i in (0, -1)]
    places, lengths = [], []
    for rung in dict.fromkeys(rung.name for rung in chosen):
        title = RUNGS[rung].title
        for key, found in (("by_position", places), ("by_length", lengths)):
            rows = [r.detail[key] for r in measured.by_rung[rung] if key in r.detail]
            if rows and len({len(row) for row in rows}) == 1:
                x, y = _enough(measured, key, np.array(rows, dtype=float).mean(axis=0))
                found += [Line(title, x, y)] if len(x) > 1 else []
    if not places or not lengths:
        return []
    start = "" if measured.protocol.start_token else " (the first is given)"
    return [
        plots.lines(
            f"places-{slug(measured)}",
            f"Where the loss falls, protocol {measured.protocol.name}",
            f"Left: by the character's place in the word{start}; the end counts as one. Right: mean loss a character "
            "of words of each length. Test words, means over seeds"
            + (f"; places and lengths with fewer than {FEWEST} words are left out." if measured.word_losses else "."),
            [("place in the word", places), ("length of the word, characters", lengths)],
            "test loss, nats a character",
        )
    ]


def _enough(measured: Measured, key: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x in characters, and the values that enough words stand behind."""
    index = np.arange(len(values))
    keep = ~np.isnan(values)
    if measured.word_losses is not None:
        tokens = measured.word_losses.tokens
        n = [int((tokens > i).sum() if key == "by_position" else (tokens == i).sum()) for i in index]
        keep &= np.array(n) >= FEWEST
    # A word of n characters has n + 1 scored tokens with a start token (its end is one), and n without.
    shift = (1 if measured.protocol.start_token else 2) if key == "by_position" else -int(measured.protocol.start_token)
    return (index + shift)[keep], values[keep]


# ------------------------------------------------------------------------------------------------ the rest


def tuning(measured: Measured) -> list[Block]:
    if not measured.tuning:
        return []
    rates = sorted({rate for rung in measured.tuning.values() for rate in rung["rates"]}, key=float)
    rows = []
    for name, rung in measured.tuning.items():
        best = f"{rung['best']:g}"
        cells = []
        for rate in rates:
            losses = [value for value in rung["rates"].get(rate, []) if value is not None]
            cells.append((f"{np.mean(losses):.3f}" + " ←" * (float(rate) == rung["best"])) if losses else "")
        there = [r for r in measured.variants if r.rung == f"{name}@{best}"] or [
            r for r in measured.by_rung.get(name, []) if r.train["learning_rate"] == rung["best"]
        ]
        s = summary([r.test_loss for r in there]) if there else None
        title = RUNGS[name].title if name in RUNGS else name
        rows.append((title, *cells, best, plus_minus(s.mean, s.low, s.high) if s else ""))
    caption = (
        "Every rung at the best of a small grid of learning rates, chosen on validation words (mean validation loss, "
        "nats a character; ← is the best); test was read once, there."
    )
    return [Table(caption, ("rung", *rates, "best rate", "test there"), rows)]


def meaning(measured: Measured) -> Table:
    """What a loss means: three ways to say how good a guess is, which are not the same."""
    rows = []
    for rung in measured_rungs(measured, *LADDER):
        test = float(np.mean(list(measured.values(rung.name).values())))
        row = [rung.title, f"{test:.3f}", f"{test / log(2):.3f}", f"{exp(test):.2f}"]
        for metric in ("geometric mean probability", "mean probability", "top-1 accuracy"):
            values = list(measured.values(rung.name, metric).values())
            row.append(f"{100 * np.mean(values):.1f} %" if values else "")
        rows.append(tuple(row))
    symbols = measured.results[0].model["vocab_size"] - 1
    uniform = f"{100 / symbols:.1f} %"
    rows.append(
        (
            f"all {symbols} alike",
            f"{log(symbols):.3f}",
            f"{log(symbols) / log(2):.3f}",
            f"{symbols:.2f}",
            *[uniform] * 3,
        )
    )
    return Table(
        "What the loss means, on test words. exp(−loss) is the geometric mean of the probabilities given to the right "
        "characters; their arithmetic mean is never lower. Best guess right: the share of characters that were the "
        "model's most probable one.",
        ("rung", "nats", "bits", "perplexity", "geometric mean", "arithmetic mean", "best guess right"),
        rows,
        quiet_rows=1,
    )

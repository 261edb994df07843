"""The parts of a report that show one protocol's results: what was scored, and in tables. No torch here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, isnan, log, nan
from pathlib import Path

import numpy as np

from rungwise.analysis import stats
from rungwise.analysis.evidence import Measured
from rungwise.analysis.tables import HEADER, TEXT_COLUMNS, WORDS_CAPTION, WORDS_HEADER, rows, show, word_rows, worth
from rungwise.analysis.thresholds import NEGLIGIBLE
from rungwise.analysis.verdicts import signed
from rungwise.experiment.results import losses as losses_of
from rungwise.ladder import RUNGS, Group, Rung
from rungwise.report.document import Block, Paragraph, Section, Table
from rungwise.report.figures import (
    LADDER,
    TITLES,
    Peers,
    baselines,
    best_baseline,
    ladder_figures,
    loss_and_words,
    more_figures,
    slug,
)


def protocol_sections(measured: Measured, peers: Peers, drawn: bool) -> list[Section]:
    """Everything about one protocol: what was scored and the losses; the steps; the figures; what a loss means.

    `drawn`: the page begins with the figure of its ladder.
    """
    peers = of_protocol(measured, peers)
    losses: list[Block] = [Paragraph(scored(measured))]
    if measured.steps is not None:
        losses.append(
            Paragraph(
                f"These runs were cut short: {measured.steps:,} steps each, instead of the ladder's own. They show how "
                "the report reads, not what a rung is worth; no verdict draws on them."
            )
        )
    for group, title in TITLES.items():
        if rungs := measured.rungs(group):
            counts = best_baseline(measured) if any(isinstance(b, Table) for b in losses) else baselines(measured)
            losses.append(loss_table(measured, title, rungs, counts, peers))
    figures = [] if drawn else ladder_figures(measured, peers)
    figures += more_figures(measured)
    name = f"Protocol {measured.protocol.name}, {measured.data}"
    parts: list[tuple[str, str, list[Block]]] = [
        ("losses", "losses", losses),
        ("steps", "what each step is worth", step_tables(measured)),
        ("figures", "figures", figures),
        ("words", "what the words are like", [*word_table(measured), *loss_and_words(measured)]),
        ("meaning", "what a loss means", [*tuning(measured), meaning(measured)]),
    ]
    return [Section(f"{key}-{slug(measured)}", f"{name}: {title}", blocks) for key, title, blocks in parts if blocks]


def of_protocol(measured: Measured, peers: Peers) -> Peers:
    return {name: peer for name, peer in peers.items() if peer.get("protocol") == measured.protocol.name}


def short_table(measured: Measured) -> list[Block]:
    """The ladder for somebody who reads one table."""
    found = rows(measured.rungs(*LADDER), measured.results)
    if not found:
        return []
    cells = [(row.rung.title, show(row.test), show(row.step, signed=True), worth(row.step)) for row in found]
    cells += [(name, loss(test), "", "counting, no network") for name, _, test in best_baseline(measured)]
    caption = "Test loss in nats a character (lower is better), and its change from the rung below; ± 95 % CI."
    header, counted = ("part", "test loss", "change", "in words"), bool(best_baseline(measured))
    return [Table(caption, header, cells, quiet_rows=int(counted), short=True)]


def scored(measured: Measured) -> str:
    """What the numbers of this protocol are, once for everything that follows."""
    detail = measured.results[0].detail
    seen = detail.get("share_seen")
    copies = f" {100 * seen:.1f} % of the test words are in the training list, too." if seen else ""
    seeds = len({r.seed for r in measured.results})
    n, over = (len(measured.splits) if measured.counted == "splits" else seeds), measured.counted
    each = f" ({seeds // n} seed{'s' * (seeds >= 2 * n)} each)" if over == "splits" else ""
    tokens, words = (detail.get(key, 0) for key in ("n_test_tokens", "n_test_words"))
    asked = detail.get("reading", {}).get("tokens", "chars")
    what = "grapheme" if asked == "graphemes" else f"token of {Path(asked).name}"
    symbols = f" What is called a character here is a {what}." if asked != "chars" else ""
    of = f", {tokens:,} characters of {words:,} test words, exactly" if words else ""
    return (
        f"Scored: {measured.protocol.scored}{of}.{copies}{symbols} Losses are nats a character; a bit is "
        f"{log(2):.3f} nats. Figures are means over {n} {over if n > 1 else 'seed'}{each}, ± 95 % CI over {over}; sd "
        f"is the standard deviation between {over}."
    )


def loss(value: float) -> str:
    return "" if isnan(value) else f"{value:.3f}"


def loss_table(
    measured: Measured, title: str, rungs: Sequence[Rung], counts: Sequence[tuple[str, float, float]], peers: Peers
) -> Table:
    """Rungs, and below them what they are compared with: n-gram baselines and peers. An empty column is left out."""
    # Steps have tables of their own.
    table: list[tuple[str, ...]] = [(*HEADER[:-1], "test, bits", "sd of test", measured.counted, "steps")]
    for row in rows(rungs, measured.results):
        test, steps_taken = row.test, measured.by_rung[row.rung.name][0].steps
        assert test  # a rung of `rungs` is measured
        table.append((*row.cells()[:-1], loss(test.mean / log(2)), loss(test.sd), str(test.n), f"{steps_taken:,}"))
    how = "n-gram baseline" + ("" if len(counts) > 1 else f", best of {len(measured.baselines)}")
    table += [(name, how, "", "", loss(a), loss(b), loss(b / log(2)), "", "", "") for name, a, b in counts]
    for name, peer in peers.items():
        size, steps_taken = (f"{peer[key]:,}" if key in peer else "" for key in ("n_params", "steps"))
        value = float(peer["test_loss"])
        table.append((name, "peer", size, "", "", loss(value), loss(value / log(2)), "", "", steps_taken))
    kept = [i for i in range(len(table[0])) if any(row[i] for row in table[1:])]
    header, *cells = (tuple(row[i] for i in kept) for row in table)
    caption = f"{title}. Losses in nats a character ({measured.protocol.scored})."
    return Table(caption, header, cells, text_columns=TEXT_COLUMNS, quiet_rows=len(cells) - len(rungs))


# ------------------------------------------------------------------------------------------------ steps


@dataclass(frozen=True)
class Step:
    """A rung against the one that it builds on: test loss, paired by seed or split, nats a character."""

    rung: Rung
    below: Rung
    seeds: stats.Difference
    words: stats.Interval
    """Over test words, nan where their losses were not kept."""
    both: stats.Interval
    negligible: bool
    to_tell: int | None
    """Of how many words one would have to see both losses to tell them apart; None: losses by word were not kept."""

    @property
    def perplexity(self) -> str:
        """The change of the perplexity, exp(loss), in per cent: 0.01 nats are 1 %."""
        return f"{signed(100 * (exp(self.seeds.mean) - 1), 1)} %"


@cache  # the bootstrap takes a tenth of a second a step, and two sections ask
def steps(measured: Measured, *groups: Group) -> tuple[Step, ...]:
    found = []
    for rung in measured.rungs(*groups):
        below = RUNGS.get(rung.on or "")
        if below is None or not measured.replicates([rung.name, below.name]):
            continue
        weights = {rung.name: 1.0, below.name: -1.0}
        values = measured.combine(weights)
        difference = stats.paired(np.zeros_like(values), values)
        words = both = stats.Interval(difference.mean, nan, nan)
        if kept := measured.combine_words(weights):
            nats, tokens = kept
            words, both = stats.bootstrap_words(nats.mean(axis=0), tokens), stats.both_sources(nats, tokens)
        seen = measured.combine_words(weights, first_split=True)
        to_tell = stats.words_to_tell(seen[0].mean(axis=0), seen[1]) if seen else None
        negligible = stats.equivalence(values, NEGLIGIBLE).equivalent
        found.append(Step(rung, below, difference, words, both, negligible, to_tell))
    return tuple(found)


def step_tables(measured: Measured) -> list[Block]:
    families: list[tuple[str, tuple[Group, ...]]] = [
        ("What each step of the ladder is worth", LADDER),
        ("What today's transformers have, too", ("beyond",)),
        ("What your own rungs are worth", ("own",)),
        ("And every other change", ("side", "confound", "ablation", "recipe")),
    ]
    tables = [_step_table(measured, title, found) for title, groups in families if (found := steps(measured, *groups))]
    covers = (
        "Its interval over seeds covers other seeds (t), that over words other test words (bootstrap), that over both "
        "either."
        if measured.counted == "seeds"
        else "Its interval over splits (t over the mean of each) covers other seeds, test words and training words."
    )
    note = (
        f"A change is paired by seed: one seed draws the same batches on both rungs. {covers} The p of the paired t "
        "test is adjusted for all steps of its table (Holm). Negligible means shown to be smaller than "
        f"{NEGLIGIBLE:g} nats by an equivalence test over {measured.counted} at 5 %, never merely a large p. "
        "Perplexity is exp(loss): 0.01 nats are 1 % of it. Words to tell: of so many words one would have to see the "
        "losses under both models to tell their difference from none (95 %)."
    )
    return [*tables, Paragraph(note, quiet=True)] if tables else []


def _step_table(measured: Measured, title: str, found: Sequence[Step]) -> Table:
    adjusted = stats.holm([step.seeds.p for step in found])
    over = measured.counted
    header = ["step", "from", f"change, over {over}", "over words", "over both", "p, Holm", "negligible", over]
    header[3:3] = ["perplexity", "words to tell"]
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
        row += [show(d, signed=True), step.perplexity, f"{step.to_tell:,}" if step.to_tell else ""]
        rows.append((*row, between(step.words), between(step.both), p_value(p), negligible, str(d.n)))
    caption = f"{title}: change in test loss, nats a character (below zero is better), with 95 % intervals."
    if over == "splits":  # which have no intervals over words
        at = header.index("over words")
        header, rows = header[:at] + header[at + 2 :], [row[:at] + row[at + 2 :] for row in rows]
    return Table(caption, tuple(header), rows, text_columns=2)


def between(found: stats.Interval) -> str:
    return "" if isnan(found.low) else f"{signed(found.low)} to {signed(found.high)}"


def p_value(p: float) -> str:
    return "" if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def word_table(measured: Measured) -> list[Block]:
    found = word_rows(list(RUNGS.values()), measured.results)
    if not found:
        return []
    n = next(r.detail["words"]["n"] for r in measured.results if r.detail.get("words"))
    return [Table(WORDS_CAPTION.format(n=n), WORDS_HEADER, found, quiet_rows=int(not found[-1][1]))]


def tuning(measured: Measured) -> list[Block]:
    if not measured.tuned:
        return []
    rates = sorted({rate for found in measured.tuned.values() for rate in found.tried})
    rows = []
    for name, found in measured.tuned.items():
        cells = [
            f"{found.validation(rate):.3f}" + " ←" * (rate == found.best) if rate in found.tried else ""
            for rate in rates
        ]
        test = show(stats.summary(losses_of(found.tried[found.best])))
        rows.append((RUNGS[name].title, *cells, f"{found.best:g}", test))
    caption = (
        "Every rung at the best of a small grid of learning rates, chosen on validation words (mean validation loss, "
        "nats a character; ← is the best); test was read once, there."
    )
    return [Table(caption, ("rung", *(f"{rate:g}" for rate in rates), "best rate", "test there"), rows)]


def meaning(measured: Measured) -> Table:
    """What a loss means: three ways to say how good a guess is, which are not the same."""

    def row(name: str, loss: float, probabilities: Iterable[float]) -> tuple[str, ...]:
        shown = ("" if isnan(p) else f"{100 * p:.1f} %" for p in probabilities)
        return (name, f"{loss:.3f}", f"{loss / log(2):.3f}", f"{exp(loss):.2f}", *shown)

    def mean(rung: Rung, metric: str) -> float:
        return measured.summary(rung.name, metric).mean if measured.values(rung.name, metric) else nan

    ways = ("geometric mean probability", "mean probability", "top-1 accuracy")
    rungs = measured.rungs(*LADDER)
    rows = [row(r.title, mean(r, "test loss"), (mean(r, way) for way in ways)) for r in rungs]
    symbols = measured.results[0].model["vocab_size"] - 1
    rows.append(row(f"uniform guess of {symbols}", log(symbols), [1 / symbols] * 3))
    return Table(
        "What the loss means, on test words. exp(−loss) is the geometric mean of the probabilities given to the right "
        "characters; their arithmetic mean is never lower. Best guess right: the share of characters that were the "
        "model's most probable one.",
        ("rung", "nats", "bits", "perplexity", "geometric mean", "arithmetic mean", "best guess right"),
        rows,
        quiet_rows=1,
    )

"""What a report answers besides the claims: one's own questions, and what hangs on inferred settings. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np

from rungwise.analysis.asked import ask
from rungwise.analysis.claims import Finding, judge_all, sensitivity
from rungwise.analysis.evidence import Evidence, Measured
from rungwise.analysis.stats import Interval
from rungwise.analysis.tables import show
from rungwise.analysis.verdicts import signed
from rungwise.ladder import FULL, INFERRED, RUNGS
from rungwise.report.document import Block, Section, Table
from rungwise.report.figures import worths
from rungwise.report.sections import between, p_value


def questions_section(evidence: Evidence) -> list[Section]:
    """The questions of one's own ladder, and their answers."""
    if not evidence.questions:
        return []
    main, rows = evidence.main, []
    for asked in ask(main, evidence.questions):
        q, judged = asked.question, asked.judgement
        low, high = judged.effect.interval() if judged else (nan, nan)
        numbers = (signed(judged.effect.mean), between(Interval(0, low, high))) if judged else ("", "")
        p = p_value(nan if judged is None or judged.adjusted is None else judged.adjusted)
        rows.append((q.before, q.after, asked.answer, *numbers, f"±{q.margin:g}", p))
    caption = (
        "Your questions: change in test loss, nats a character, paired, with 95 % intervals. The same: the interval "
        "lies within the margin; better or worse: it lies outside; p is adjusted for all questions (Holm) and decides "
        "at 5 %."
    )
    header = ("from", "to", "the second is", "change", "interval", "margin", "p, Holm")
    return [Section("questions", "Your questions", [Table(caption, header, rows, text_columns=3)])]


def sensitivity_table(evidence: Evidence, found: Sequence[Finding]) -> list[Block]:
    """Each claim's verdict at other values of what the article does not publish."""
    elsewhere = sensitivity(evidence)
    settings = list(dict.fromkeys(setting for there in elsewhere.values() for setting in there))
    if not settings:
        return []
    header = ("claim", "as the ladder has it", *(f"{name.replace('_', ' ')} {value:g}" for name, value in settings))
    base = {finding.claim.id: finding for finding in judge_all(evidence)}
    cells = [
        (f.claim.title, base[f.claim.id].verdict, *(elsewhere[f.claim.id].get(setting, "") for setting in settings))
        for f in found
        if f.claim.id in elsewhere
    ]
    caption = "The verdicts at other values of the settings that the article does not publish and we inferred."
    return [Table(caption, header, cells, text_columns=len(header))]


def order_table(measured: Measured) -> list[Block]:
    """What a part is worth where the ladder added it, and taken from the full model alone."""
    found = worths(measured)
    rows = [(part, show(added), show(taken)) for part, (taken, added) in found.items()]
    if len(rows) < 2:
        return []
    caption = (
        f"Order matters: what a part is worth on the ladder, and taken from the full model ({RUNGS[FULL].title}) "
        f"alone. Test loss, nats a character, mean ± 95 % CI over {measured.counted}; a step of the ladder may have "
        "added more."
    )
    return [Table(caption, ("part", "added on the ladder", "taken from the full model"), rows)]


def fit_table(measured: Measured) -> list[Block]:
    """How well the losses at each learning rate meet those that the article reports for its eight rungs."""
    rows = []
    for rate in INFERRED["learning_rate"]:
        there = measured.at("learning_rate", rate) or measured
        gaps = [
            there.summary(rung.name, f"{part} loss").mean - getattr(rung.published, part)
            for rung in RUNGS.values()
            if rung.group == "article" and rung.published and rung.name in there.by_rung
            for part in ("train", "test")
            if there.by_rung[rung.name][0].train["learning_rate"] == rate
        ]
        if gaps:
            rows.append(
                (f"{rate:g}", f"{np.sqrt(np.mean(np.square(gaps))):.3f}", signed(float(np.mean(gaps))), str(len(gaps)))
            )
    if len(rows) < 2 or not measured.shows_published:
        return []
    caption = (
        "Which learning rate did the article use? Distance of the measured losses, train and test, from the reported "
        "ones of the eight rungs, nats a character."
    )
    return [Table(caption, ("rate", "root mean square", "mean", "figures"), rows, text_columns=0)]

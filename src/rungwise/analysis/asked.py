"""The questions of one's own ladder, answered: by the rule of all verdicts, as one family. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rungwise.analysis.evidence import Measured, NotMeasured
from rungwise.analysis.questions import weighted
from rungwise.analysis.thresholds import Range
from rungwise.analysis.verdicts import Judgement, adjust, needed
from rungwise.experiment.ladder_file import Question


@dataclass(frozen=True)
class Asked:
    """A question, and what the results say."""

    question: Question
    judgement: Judgement | None
    """Against "the same within the margin"; None: not measured."""
    missing: str = ""

    @property
    def answer(self) -> str:
        """better or worse, by more than the margin; the same, within it; or inconclusive."""
        if self.judgement is None:
            return f"not measured: needs {self.missing}"
        match self.judgement.word:
            case "confirmed":
                return "the same"
            case "refuted":
                return "better" if self.judgement.effect.mean < 0 else "worse"
            case _:
                return f"inconclusive{needed(self.judgement)}"


def ask(measured: Measured, questions: Sequence[Question]) -> list[Asked]:
    """Each question by the change in test loss, paired; p adjusted for all of them (Holm)."""
    found: dict[int, Judgement] = {}
    missing: dict[int, str] = {}
    for i, question in enumerate(questions):
        try:
            effect = weighted(measured, {question.after: 1, question.before: -1})
        except NotMeasured as lacks:
            missing[i] = str(lacks)
        else:
            found[i] = Judgement(effect, Range(-question.margin, question.margin))
    judged = dict(zip(found, adjust(list(found.values())), strict=True))
    return [Asked(question, judged.get(i), missing.get(i, "")) for i, question in enumerate(questions)]

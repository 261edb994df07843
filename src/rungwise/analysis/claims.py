"""The article's twelve claims as statements that data can confirm or refute, and what it changed unannounced.

"Building a Language Transformer Step by Step" (Yi, 2026-01-28). A claim is split into the assertions that it makes;
each names what has to be measured (a question) and which word of thresholds.py it asserts. Most assert a direction;
where the article changed something else along with what it names, a part asks for the attribution: the same with
nothing else changed. What size the article reports is held against the first part that has one.

Unless a part says otherwise: losses on test words, in nats a character, protocol article, paired by seed, trained as
the ladder says. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from rungwise.analysis.evidence import Evidence, NotMeasured
from rungwise.analysis.questions import (
    Question,
    against_peer,
    biggest_step,
    change,
    difference,
    factor,
    parameters,
    probability_means,
    roughness,
    share_in_training,
    uniform_probability,
)
from rungwise.analysis.verdicts import (
    Answer,
    Effect,
    Judgement,
    Word,
    adjust,
    describe,
    judge,
    overall,
    size,
    size_word,
)
from rungwise.ladder import INFERRED, Setting, inferred


@dataclass(frozen=True)
class Part:
    """One assertion: its text, what to measure, and what may come out. Without a word there is no verdict."""

    text: str
    question: Question
    word: str | None = None
    """A key of THRESHOLDS."""
    asks: Answer = "direction"


@dataclass(frozen=True)
class Claim:
    id: str
    title: str
    text: str
    """In the article's sense, or what it did not say."""
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class JudgedPart:
    part: Part
    verdict: Word | None
    """None where the part asserts nothing."""
    sentence: str
    """The numbers, or what is missing."""
    asked: str = ""
    """The range that was allowed."""


@dataclass(frozen=True)
class Finding:
    """A claim and what became of it."""

    claim: Claim
    verdict: Word
    parts: tuple[JudgedPart, ...]
    answers: Mapping[Answer, Word] = field(default_factory=dict)
    """To each question apart, where it was asked."""
    hangs: tuple[Setting, ...] = ()
    """Values of inferred settings at which the verdict is the contrary."""


def _claim(id: str, title: str, text: str, *parts: Part) -> Claim:
    return Claim(id, title, text, parts)


# fmt: off
CLAIMS: tuple[Claim, ...] = (
    _claim("width", "Width",
           "Doubling the embedding's width at one layer gives almost nothing (2.35 to 2.34).",
           Part("Double width for the baseline", change("double-embd", "baseline"), "changes almost nothing")),
    _claim("heads", "Heads",
           "A second head, with fewer parameters than double width, gives 0.12.",
           Part("The second head, with the projection that came along", change("2-heads", "baseline"), "helps"),
           Part("Its parameters against double width", parameters("2-heads", "double-embd", "count"), "has fewer"),
           Part("Its loss against double width", change("2-heads", "double-embd"), "is lower"),
           Part("Two heads against one of the same parameters, both with a projection",
                change("2-heads", "1-head-32-projection"), "helps", "attribution")),
    _claim("depth", "Depth",
           "Four layers are the biggest single architectural step (2.23 to 2.04); depth beats width.",
           Part("Four layers, with the residual that came along", change("4-layers", "2-heads"), "helps"),
           Part("The step against the largest other of the eight rungs'", biggest_step("4-layers"), "is lower"),
           Part("Four layers against double width", change("4-layers", "double-embd"), "is lower"),
           Part("Four layers against one layer of twice the width that has the same heads, projection and residual",
                change("4-layers", "wide-1-layer"), "is lower"),
           Part("Four layers against one, both with a residual", change("4-layers", "2-heads-residual"), "helps",
                "attribution")),
    _claim("stream", "Data handling",
           "Data handling matters most: one long stream of names gave 2.36 at best, padded names 1.94, more than all "
           "architectural changes together.",
           Part("Padded names against the stream at equal steps, the same characters of the same names scored (the "
                "stream's model behind the END that came before every word in its training)", change("gelu", "stream"),
                "helps"),
           Part("The padded baseline against the full model of the stream", change("baseline", "stream"), "is lower"),
           Part("Padded names against the stream at equal real tokens", change("gelu", "stream-equal-tokens"), "helps",
                "attribution")),
    _claim("mlp", "MLP",
           "The MLP triples the parameters for a modest gain and widens the train-test gap.",
           Part("The MLP", change("mlp", "4-layers"), "helps a little"),
           Part("Its parameters", parameters("mlp", "4-layers", "factor"), "has three times as many"),
           Part("The train-test gap", change("mlp", "4-layers", "train-test gap"), "hurts")),
    _claim("layernorm", "LayerNorm",
           "LayerNorm closes the train-test gap a little.",
           Part("The train-test gap", change("layernorm", "mlp", "train-test gap"), "helps a little")),
    _claim("rope", "RoPE",
           "RoPE helps a little, for no parameters; it is the model's only sense of position.",
           Part("RoPE", change("rope", "layernorm"), "helps a little"),
           Part("Its parameters", parameters("rope", "layernorm", "count"), "has as many"),
           Part("A model without it, all but the last character of what it reads shuffled: what that changes",
                difference("layernorm", "loss behind shuffled characters", "loss of the same characters in order",
                           remark="The causal mask alone lets later layers tell order (Haviv et al. 2022)."),
                "changes nothing", "attribution")),
    _claim("gelu", "GELU",
           "GELU against ReLU has no measurable effect (though the article's table has 1.98 to 1.94).",
           Part("GELU for ReLU", change("gelu", "rope"), "changes nothing")),
    _claim("scale", "Scaling",
           "Scaling to 64 / 4 heads gives 1.94 to 1.92 at 5,000 steps and 1.85 at 20,000, surpassing makemore's "
           "default.",
           Part("The larger model at 5,000 steps", change("scaled", "gelu"), "helps"),
           Part("With dropout, 20,000 steps against 5,000 without", change("dropout-20k", "scaled"), "helps"),
           Part("Against makemore's default after as many steps, every character scored (the article's 1.85 leaves "
                "out first characters, the 1.92 that it is held against does not)",
                against_peer("dropout-20k", "makemore", "after as many steps"), "is lower"),
           Part("The same, each at its best step, chosen without the test words",
                against_peer("dropout-20k", "makemore", "each at its best step"), "is lower"),
           Part("The larger model at the smaller one's rate", change("scaled-1e-3", "gelu"), "helps", "attribution")),
    _claim("dropout", "Dropout",
           "Dropout 0.2 hurts at 5,000 steps (1.92 to 2.00) and pays in longer training.",
           Part("At 5,000 steps", change("dropout-5k", "scaled"), "hurts"),
           Part("At 20,000 steps, against the same training without dropout", change("dropout-20k", "scaled-20k"),
                "helps")),
    _claim("recipe", "The final recipe",
           "Learning-rate schedule, weight decay and gradient clipping compound; the curves are smoother.",
           Part("Together", change("final", "dropout-20k"), "helps"),
           Part("The second half of the training curve", roughness("final", "dropout-20k"), "is smoother"),
           Part("Schedule and clipping at the same rate", change("final", "dropout-20k-1e-3"), "helps", "attribution"),
           Part("Clipping alone", change("final", "final-no-clip"), "helps", "attribution"),
           Part("Weight decay alone", change("final", "final-no-decay"), "helps", "attribution")),
    _claim("meaning", "What the loss means",
           "1.86 nats are 15.6 % on average on the right character; uniform over 27 is 3.30 nats or 3.7 %; the final "
           "model is 1.6 times more confident than the start.",
           Part("The average probability of the right character less exp(−loss)", probability_means("final"),
                "agrees to a point"),
           Part("Uniform less 3.7 %", uniform_probability(0.037), "agrees to the digit"),
           Part("The final model's confidence, as a multiple of the baseline's", factor("final", "baseline"),
                "is 1.6 times")),
)

CONFOUNDS: tuple[Claim, ...] = (
    _claim("projection", "The projection that came with the second head",
           "The parameter count shows that the second head brought an output projection with it.",
           Part("Second head and projection", change("2-heads", "baseline")),
           Part("The second head alone", change("2-heads-no-projection", "baseline")),
           Part("The projection alone", change("1-head-projection", "baseline")),
           Part("The second head where parameters are equal: two of 16 against one of 32, both with a projection",
                change("2-heads", "1-head-32-projection"))),
    _claim("residual", "The residual connections that came with depth",
           "Without residual connections four layers do not reach the reported loss; the article does not mention "
           "them.",
           Part("Four layers and residual", change("4-layers", "2-heads")),
           Part("Residual alone, at one layer", change("2-heads-residual", "2-heads")),
           Part("Four layers alone, without residual", change("4-layers-no-residual", "2-heads")),
           Part("Four layers, once there is a residual", change("4-layers", "2-heads-residual"))),
    _claim("scoring", "How a model of the stream is scored",
           "A model of the stream was trained on words that follow the end of another. Its loss on windows of the "
           "stream includes their cut beginnings; a bare word it takes for the middle of one; behind an END it knows "
           "the place.",
           Part("The stream's own loss, in windows, against that of the same names behind an END",
                difference("stream", "loss on the stream itself", "test loss")),
           Part("Bare names against names behind an END", difference("stream", "loss of bare words", "test loss"))),
    _claim("rate", "The learning rate that changed with scale",
           "No rate is published but the last. The ladder takes 1e-3 for the eight rungs and 3e-4 for the scaled ones.",
           Part("Scaling at 3e-4, as the reported losses suggest", change("scaled", "gelu")),
           Part("Scaling at 1e-3, the rate of the rungs below", change("scaled-1e-3", "gelu")),
           Part("The scaled model at 1e-3 against 3e-4", change("scaled-1e-3", "scaled")),
           Part("The final recipe, its step", change("final", "dropout-20k")),
           Part("The final recipe with its peak at the old 3e-4", change("final-peak-3e-4", "dropout-20k")),
           Part("The rate of the final recipe alone, constant", change("dropout-20k-1e-3", "dropout-20k")),
           Part("Its schedule and clipping at that rate", change("final", "dropout-20k-1e-3"))),
    _claim("first-character", "The first character, which is not scored",
           "The article never predicts a name's first character; makemore does. The same runs, scored both ways:",
           Part("The full model of the eight rungs, every character scored",
                difference("gelu", "test loss", "loss without first characters", "strict")),
           Part("The final model, every character scored",
                difference("final", "test loss", "loss without first characters", "strict"))),
    _claim("duplicates", "Duplicates across the split",
           "The list repeats names, and a random split puts copies on both sides.",
           Part("Share of the test words that are in the training list, too", share_in_training("final")),
           Part("The final model, on words it has not seen against all test words",
                difference("final", "loss of words not in training", "test loss")),
           Part("The full model of the eight rungs, likewise",
                difference("gelu", "loss of words not in training", "test loss"))),
)
# fmt: on

Measure = dict[tuple[str, int], Effect | NotMeasured]
"""What every part of every claim found: by the claim's id and the part's place."""


def _ask(evidence: Evidence, claims: tuple[Claim, ...]) -> Measure:
    found: Measure = {}
    for claim in claims:
        for i, part in enumerate(claim.parts):
            try:
                found[claim.id, i] = part.question.ask(evidence)
            except NotMeasured as missing:
                found[claim.id, i] = missing
    return found


def _family(found: Measure, claims: tuple[Claim, ...]) -> dict[tuple[str, int, bool], Judgement]:
    """Every test of the claims, adjusted for each other; the last of a key: is it the reported size's?"""
    tests = {}
    for claim in claims:
        sized = False
        for i, part in enumerate(claim.parts):
            effect = found[claim.id, i]
            if isinstance(effect, NotMeasured) or part.word is None:
                continue
            tests[claim.id, i, False] = judge(effect, part.word)
            if not sized and (printed := size(effect)):
                tests[claim.id, i, True], sized = printed, True
    return dict(zip(tests, adjust(list(tests.values())), strict=True))


def _judged(claim: Claim, found: Measure, tests: Mapping[tuple[str, int, bool], Judgement]) -> Finding:
    parts, words, printed = [], dict[Answer, list[Word]](), None
    for i, part in enumerate(claim.parts):
        effect = found[claim.id, i]
        if isinstance(effect, NotMeasured):
            word, sentence, asked = ("not measured" if part.word else None), f"needs {effect}.", ""
        elif part.word is None:
            word, sentence, asked = None, describe(effect), ""
        else:
            test = tests[claim.id, i, False]
            word, sentence, asked = test.word, test.sentence, f"{part.word}: {test.asked}"
        if test := tests.get((claim.id, i, True)):
            printed = size_word(test, tests[claim.id, i, False].allowed)
        parts.append(JudgedPart(part, word, sentence, asked))
        if word:
            words.setdefault(part.asks, []).append(word)
    answers: dict[Answer, Word] = {asks: overall(given) for asks, given in words.items()}
    if printed:
        answers["reported size"] = printed
    every: list[Word] = [word for given in words.values() for word in given]
    return Finding(claim, overall(every, printed), tuple(parts), answers)


def judge_all(evidence: Evidence, claims: tuple[Claim, ...] = CLAIMS) -> list[Finding]:
    """As one family, at the settings as the ladder has them."""
    found = _ask(evidence, claims)
    tests = _family(found, claims)
    return [_judged(claim, found, tests) for claim in claims]


def sensitivity(evidence: Evidence) -> dict[str, dict[Setting, Word]]:
    """Claim -> its verdict at each other value of a setting that the article does not publish, where rungs of the claim
    have that setting inferred and were measured at that value."""
    found: dict[str, dict[Setting, Word]] = {}
    for name, values in INFERRED.items():
        for value in values:
            at = evidence.at(name, value)
            if at is None:
                continue
            for finding in judge_all(at):
                rungs = {rung for part in finding.claim.parts for rung in part.question.rungs}
                if finding.verdict != "not measured" and any(name in inferred(rung) for rung in rungs):
                    found.setdefault(finding.claim.id, {})[name, value] = finding.verdict
    return found


HOLDS: tuple[Word, ...] = ("confirmed", "understated", "overstated")


def contrary(word: Word, other: Word) -> bool:
    """Is one decided this way and the other that way?"""
    return (word in HOLDS and other == "refuted") or (word == "refuted" and other in HOLDS)


@cache  # the report asks several times
def findings(evidence: Evidence) -> list[Finding]:
    """Every claim judged. One whose verdict is the contrary at another value of an inferred setting hangs on it."""
    elsewhere = sensitivity(evidence)
    found = []
    for finding in judge_all(evidence):
        there = elsewhere.get(finding.claim.id, {})
        hangs = tuple(setting for setting, word in there.items() if contrary(finding.verdict, word))
        verdict: Word = "hangs on an inferred setting" if hangs else finding.verdict
        found.append(replace(finding, verdict=verdict, hangs=hangs))
    return found


def confounds(evidence: Evidence) -> list[Finding]:
    """What the article changed along with what it named; without verdicts, as nothing was claimed."""
    return judge_all(evidence, CONFOUNDS)

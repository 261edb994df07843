"""The article's twelve claims as statements that data can confirm or refute, and what it changed unannounced.

"Building a Language Transformer Step by Step" (Yi, 2026-01-28). A claim is split into the assertions that it makes;
each names what has to be measured (a question) and what is allowed to come out (a rule, see verdicts.py). A claim is
refuted with any of its parts and confirmed with all; else a part of it is inconclusive or was not measured.

Unless a part says otherwise: losses on test words, in nats a character, protocol article, paired by seed, trained as
the ladder says. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

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
    FALLS_A_LITTLE,
    GROWS,
    HELPS,
    HURTS,
    LESS,
    LITTLE,
    Rule,
    Word,
    describe,
    no_effect,
    of_size,
    overall,
)


@dataclass(frozen=True)
class Part:
    """One assertion: its text, what to measure, and what may come out. Without a rule there is no verdict."""

    text: str
    question: Question
    rule: Rule | None = None


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
    """None where the part has no rule."""
    sentence: str
    """The numbers, or what is missing."""


@dataclass(frozen=True)
class Finding:
    """A claim and what became of it."""

    claim: Claim
    verdict: Word
    parts: tuple[JudgedPart, ...]


def _claim(id: str, title: str, text: str, *parts: Part) -> Claim:
    return Claim(id, title, text, parts)


ROUNDING = " (the reported 0.01, either figure rounded by up to 0.005)"

CLAIMS: tuple[Claim, ...] = (
    _claim(
        "width",
        "Width",
        "Doubling the embedding's width at one layer gives almost nothing (2.35 to 2.34).",
        Part(
            "Double width changes the loss by almost nothing",
            change("double-embd", "baseline"),
            no_effect(0.02, ROUNDING),
        ),
    ),
    _claim(
        "heads",
        "Heads",
        "A second head, with fewer parameters than double width, gives 0.12.",
        Part("The second head's step", change("2-heads", "baseline"), of_size(-0.12)),
        Part("It has fewer parameters than double width", parameters("2-heads", "double-embd", "count"), LESS),
        Part("It beats double width", change("2-heads", "double-embd"), LESS),
    ),
    _claim(
        "depth",
        "Depth",
        "Four layers are the biggest single architectural step (2.23 to 2.04); depth beats width.",
        Part("The step to four layers is larger than any other of the eight rungs'", biggest_step("4-layers"), LESS),
        Part("Four layers beat double width", change("4-layers", "double-embd"), LESS),
        Part(
            "Four layers beat one layer of twice the width that has the same heads, projection and residual",
            change("4-layers", "wide-1-layer"),
            LESS,
        ),
    ),
    _claim(
        "stream",
        "Data handling",
        "Data handling matters most: one long stream of names gave 2.36 at best, padded names 1.94, more than all "
        "architectural changes together.",
        Part(
            "Padded names beat the stream at equal steps, the same characters of the same names scored (the "
            "stream's model behind the END that came before every word in its training)",
            change("gelu", "stream"),
            HELPS,
        ),
        Part("And at equal real tokens", change("gelu", "stream-equal-tokens"), HELPS),
        Part(
            "The gain exceeds the whole ladder's: trained on the stream, the full model is worse than the padded "
            "baseline",
            change("baseline", "stream"),
            LESS,
        ),
    ),
    _claim(
        "mlp",
        "MLP",
        "The MLP triples the parameters for a modest gain and widens the train-test gap.",
        Part(
            "It triples the parameters",
            parameters("mlp", "4-layers", "factor"),
            Rule("a factor that rounds to 3", log(2.5), log(3.5)),
        ),
        Part("Its gain is modest", change("mlp", "4-layers"), FALLS_A_LITTLE),
        Part("The train-test gap grows", change("mlp", "4-layers", "train-test gap"), GROWS),
    ),
    _claim(
        "layernorm",
        "LayerNorm",
        "LayerNorm closes the train-test gap a little.",
        Part("The train-test gap shrinks", change("layernorm", "mlp", "train-test gap"), FALLS_A_LITTLE),
    ),
    _claim(
        "rope",
        "RoPE",
        "RoPE helps a little, for no parameters; it is the model's only sense of position.",
        Part("It helps a little", change("rope", "layernorm"), FALLS_A_LITTLE),
        Part("It costs no parameters", parameters("rope", "layernorm", "count"), Rule("no difference", -0.5, 0.5)),
        Part(
            "It is the only sense of position: without it the full model reads a bag of characters, and loses more "
            "than a little",
            change(
                "without-rope", "gelu", remark="The causal mask alone lets later layers tell order (Haviv et al. 2022)."
            ),
            Rule("the loss rises by more than 0.05", low=LITTLE),
        ),
    ),
    _claim(
        "gelu",
        "GELU",
        "GELU against ReLU has no measurable effect (though the article's table has 1.98 to 1.94).",
        Part("GELU for ReLU changes nothing", change("gelu", "rope"), no_effect()),
    ),
    _claim(
        "scale",
        "Scaling",
        "Scaling to 64 / 4 heads gives 1.94 to 1.92 at 5,000 steps and 1.85 at 20,000, surpassing makemore's default.",
        Part("The larger model is better at 5,000 steps", change("scaled", "gelu"), HELPS),
        Part("With dropout, 20,000 steps end lower than 5,000 without", change("dropout-20k", "scaled"), HELPS),
        Part(
            "It surpasses makemore's default, in makemore's own protocol and against its measured figure",
            against_peer("dropout-20k", "makemore", "makemore"),
            LESS,
        ),
    ),
    _claim(
        "dropout",
        "Dropout",
        "Dropout 0.2 hurts at 5,000 steps (1.92 to 2.00) and pays in longer training.",
        Part("It hurts at 5,000 steps", change("dropout-5k", "scaled"), HURTS),
        Part(
            "It pays at 20,000 steps, against the same training without dropout",
            change("dropout-20k", "scaled-20k"),
            HELPS,
        ),
    ),
    _claim(
        "recipe",
        "The final recipe",
        "Learning-rate schedule, weight decay and gradient clipping compound; the curves are smoother.",
        Part("Together they help", change("final", "dropout-20k"), HELPS),
        Part("Clipping adds to it", change("final", "final-no-clip"), HELPS),
        Part("Weight decay adds to it", change("final", "final-no-decay"), HELPS),
        Part(
            "The second half of the training curve is smoother",
            roughness("final", "dropout-20k"),
            Rule("a factor below 1", high=0),
        ),
    ),
    _claim(
        "meaning",
        "What the loss means",
        "1.86 nats are 15.6 % on average on the right character; uniform over 27 is 3.30 nats or 3.7 %; the final "
        "model is 1.6 times more confident than the start.",
        Part(
            "exp(−loss) is the average probability of the right character",
            probability_means("final"),
            Rule("both means agree within one percentage point", -0.01, 0.01),
        ),
        Part(
            "Uniform is 3.7 %",
            uniform_probability(0.037),
            Rule("equal to the digit that the article reports", -0.0005, 0.0005),
        ),
        Part(
            "The final model is 1.6 times more confident than the baseline",
            factor("final", "baseline"),
            Rule("a factor within 0.1 of 1.6", log(1.5), log(1.7)),
        ),
    ),
)

CONFOUNDS: tuple[Claim, ...] = (
    _claim(
        "projection",
        "The projection that came with the second head",
        "The parameter count shows that the second head brought an output projection with it.",
        Part("Second head and projection", change("2-heads", "baseline")),
        Part("The second head alone", change("2-heads-no-projection", "baseline")),
        Part("The projection alone", change("1-head-projection", "baseline")),
    ),
    _claim(
        "residual",
        "The residual connections that came with depth",
        "Without residual connections four layers do not reach the reported loss; the article does not mention them.",
        Part("Four layers and residual", change("4-layers", "2-heads")),
        Part("Residual alone, at one layer", change("2-heads-residual", "2-heads")),
        Part("Four layers alone, without residual", change("4-layers-no-residual", "2-heads")),
        Part("Four layers, once there is a residual", change("4-layers", "2-heads-residual")),
    ),
    _claim(
        "scoring",
        "How a model of the stream is scored",
        "A model of the stream was trained on words that follow the end of another. Its loss on windows of the stream "
        "includes their cut beginnings; a bare word it takes for the middle of one; behind an END it knows the place.",
        Part(
            "The stream's own loss, in windows, against that of the same names behind an END",
            difference("stream", "loss on the stream itself", "test loss"),
        ),
        Part("Bare names against names behind an END", difference("stream", "loss of bare words", "test loss")),
    ),
    _claim(
        "rate",
        "The learning rate that changed with scale",
        "No rate is published but the last; 1e-3 fits the eight rungs and 3e-4 the scaled ones.",
        Part("Scaling at 3e-4, as the reported losses suggest", change("scaled", "gelu")),
        Part("Scaling at 1e-3, the rate of the rungs below", change("scaled-1e-3", "gelu")),
        Part("The scaled model at 1e-3 against 3e-4", change("scaled-1e-3", "scaled")),
        Part("The final recipe, its step", change("final", "dropout-20k")),
        Part("The final recipe with its peak at the old 3e-4", change("final-peak-3e-4", "dropout-20k")),
    ),
    _claim(
        "first-character",
        "The first character, which is not scored",
        "The article never predicts a name's first character; makemore does. The same runs, scored both ways:",
        Part(
            "The full model of the eight rungs, every character scored",
            difference("gelu", "test loss", "loss without first characters", "strict"),
        ),
        Part(
            "The final model, every character scored",
            difference("final", "test loss", "loss without first characters", "strict"),
        ),
    ),
    _claim(
        "duplicates",
        "Duplicates across the split",
        "The list repeats names, and a random split puts copies on both sides.",
        Part("Share of the test words that are in the training list, too", share_in_training("final")),
        Part(
            "The final model, on words it has not seen against all test words",
            difference("final", "loss of words not in training", "test loss"),
        ),
        Part(
            "The full model of the eight rungs, likewise",
            difference("gelu", "loss of words not in training", "test loss"),
        ),
    ),
)


def judge(claim: Claim, evidence: Evidence) -> Finding:
    parts = tuple(_judge_part(part, evidence) for part in claim.parts)
    return Finding(claim, overall([judged.verdict for judged in parts if judged.verdict]), parts)


def _judge_part(part: Part, evidence: Evidence) -> JudgedPart:
    try:
        effect = part.question.ask(evidence)
    except NotMeasured as missing:
        return JudgedPart(part, "not measured" if part.rule else None, f"needs {missing}.")
    return JudgedPart(part, part.rule.judge(effect) if part.rule else None, describe(effect))


def findings(evidence: Evidence) -> list[Finding]:
    return [judge(claim, evidence) for claim in CLAIMS]


def confounds(evidence: Evidence) -> list[Finding]:
    """What the article changed along with what it named; without verdicts, as nothing was claimed."""
    return [judge(claim, evidence) for claim in CONFOUNDS]

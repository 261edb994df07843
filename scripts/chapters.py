"""A chapter a rung for docs/rungs/, made from the ladder's own data: why, formula, code, measured loss, what to try.

Only the formula and what to try are written here. Everything else comes from the ladder, from the source as it is (the
page of `rungwise play` shows the same code), and from results/, so that it cannot differ from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rungwise.analysis.tables import rows, show
from rungwise.experiment.results import Result
from rungwise.ladder import RUNGS, Rung
from rungwise.play.collect import code


@dataclass(frozen=True)
class Chapter:
    formula: str
    question: str
    """The commands of `tries` answer it."""
    tries: tuple[str, ...]


CHAPTERS = {
    "baseline": Chapter(
        "attention(x) = softmax(Q Kᵀ / √K) V, where Q, K, V are linear in x and later positions are masked",
        "Train the smallest model and let it generate. Which pairs of letters are right, and what does it never learn?",
        ("rungwise train --rung baseline --steps 5000 --out runs/baseline", "rungwise sample runs/baseline -n 20"),
    ),
    "double-embd": Chapter(
        "n_embd 32 → 64: twice as many numbers a character, and a head of 32 instead of 16",
        "Give each width its own best learning rate. Is the wider model better now?",
        ("rungwise climb --rungs baseline,double-embd --tune --out runs/width",),
    ),
    "2-heads": Chapter(
        "heads(x) = [attention₁(x), attention₂(x)] Wᵒ + b",
        "The second head came with an output projection. Which of the two helps?",
        ("rungwise climb --rungs baseline,2-heads,2-heads-no-projection,1-head-projection --out runs/heads",),
    ),
    "4-layers": Chapter(
        "x ← x + attention(x), four times",
        "Depth came with residual connections. Separate them: what is each worth without the other?",
        ("rungwise climb --rungs 2-heads,2-heads-residual,4-layers-no-residual,4-layers --out runs/depth",),
    ),
    "mlp": Chapter(
        "x ← x + W₂ max(0, W₁ x + b₁) + b₂, with a hidden layer of 4 n_embd",
        "Add the MLP early, and take it from the full model. Is it worth as much both times?",
        ("rungwise climb --rungs 4-layers,mlp,gelu,without-mlp --out runs/mlp",),
    ),
    "layernorm": Chapter(
        "norm(x) = (x - mean(x)) / √(var(x) + ε) · g + b, before each sublayer: x ← x + f(norm(x))",
        "Tune the learning rate of both. Does LayerNorm allow a higher one?",
        ("rungwise climb --rungs mlp,layernorm --tune --out runs/layernorm",),
    ),
    "rope": Chapter(
        "pair j of a query or key at position m turns by the angle m · 10000^(-2j/K)",
        "Take RoPE from the full model. How much of the order does the model learn from the mask alone?",
        ("rungwise climb --rungs layernorm,rope,gelu,without-rope --out runs/rope",),
    ),
    "gelu": Chapter(
        "gelu(x) = x · Φ(x), Φ the normal distribution, instead of max(0, x)",
        "Ten seeds: is the difference larger than their spread?",
        ("rungwise climb --rungs rope,gelu --seeds 10 --out runs/gelu",),
    ),
    "scaled": Chapter(
        "n_embd 32 → 64 and 2 → 4 heads: 52,252 → 202,780 parameters",
        "The learning rate fell when the model grew. What is the effect of each?",
        ("rungwise climb --rungs gelu,scaled,scaled-1e-3 --out runs/scaled",),
    ),
    "dropout-5k": Chapter(
        "dropout(x) = x · keep / (1 - p), each element of keep 0 with probability p, else 1; in training only",
        "Compare train and test loss. What does dropout cost, and what does it give?",
        ("rungwise climb --rungs scaled,dropout-5k --out runs/dropout",),
    ),
    "dropout-20k": Chapter(
        "the same for 20,000 steps",
        "Train as long without dropout. Where does the test loss begin to rise?",
        ("rungwise climb --rungs scaled-20k,dropout-20k --out runs/longer",),
    ),
    "final": Chapter(
        "rate(t) = min + (peak - min) · (1 + cos(π t / T)) / 2 after a linear warm-up; g ← g · min(1, 1 / |g|)",
        "Remove the recipe's parts one by one. Which of them brings the gain?",
        ("rungwise climb --rungs dropout-20k,final,final-peak-3e-4,final-no-clip --out runs/final",),
    ),
    "final-norm": Chapter(
        "logits = norm(x) Wᵀ + b, where x is the residual stream after the last block",
        "Does the growing size of the residual stream affect the head? Look at the Flow view too.",
        ("rungwise climb --rungs gelu,final-norm --seeds 5 --out runs/final-norm",),
    ),
    "no-head-bias": Chapter(
        "logits = norm(x) Wᵀ, without b",
        "28 parameters fewer. Does the loss change?",
        ("rungwise climb --rungs final-norm,no-head-bias --out runs/bias",),
    ),
    "learned-positions": Chapter(
        "x₀ = embedding(character) + positions(place); queries and keys are not rotated",
        "Three ways to represent order: rotated, learned, by the mask alone. How different are their losses?",
        ("rungwise climb --rungs no-head-bias,learned-positions,without-rope --out runs/positions",),
    ),
    "tied": Chapter(
        "logits = norm(x) Eᵀ, where E is the embedding: how similar the stream is to each character's own vector",
        "A matrix with two uses may need another learning rate. Tune both.",
        ("rungwise climb --rungs no-head-bias,tied --tune --out runs/tied",),
    ),
    "rmsnorm": Chapter(
        "norm(x) = x / √(mean(x²) + ε) · g: no mean is subtracted, no bias is added",
        "Ten seeds: is there a difference at all?",
        ("rungwise climb --rungs no-head-bias,rmsnorm --seeds 10 --out runs/rmsnorm",),
    ),
    "swiglu": Chapter(
        "x ← x + W₂ (silu(W₁ x + b₁) ⊙ (W₃ x + b₃)) + b₂, silu(z) = z / (1 + e⁻ᶻ), with a hidden layer of ⅔ · 4 n_embd",
        "The same number of parameters in another shape. What is the gate worth?",
        ("rungwise climb --rungs rmsnorm,swiglu --seeds 5 --out runs/swiglu",),
    ),
    "stream": Chapter(
        "… END a n n a END b o b END …, cut anywhere into windows of 16",
        "Compare windows of a stream with single words, at equal steps and at equal tokens. What remains?",
        ("rungwise climb --rungs gelu,stream,stream-equal-tokens --out runs/stream",),
    ),
    "stream-equal-tokens": Chapter(
        "14 windows of 16 = 224 tokens a step, all of them real; 32 padded names hold about 228",
        "Five seeds at equal tokens. Is the remaining difference noise?",
        ("rungwise climb --rungs gelu,stream-equal-tokens --seeds 5 --out runs/tokens",),
    ),
}


def file_name(rung: Rung) -> str:
    return f"{rung.name}.md"


def index() -> str:
    """The page that lists the chapters."""
    head = "# The rungs\n\nA chapter each, generated from the ladder, the source and the committed results.\n\n"
    rungs = [RUNGS[name] for name in CHAPTERS]
    return head + "".join(f"1. [{rung.title}]({file_name(rung)}): {rung.why}\n" for rung in rungs)


def chapter(rung: Rung, results: Sequence[Result]) -> str:
    """The Markdown of one rung."""
    about, row = CHAPTERS[rung.name], rows([rung], results)[0]
    changes = ", ".join(f"`{name}={value!r}`" for name, value in rung.changes.items())
    below = RUNGS[rung.on] if rung.on else None
    lines = [f"# {rung.title}", "", rung.why, ""]
    builds = f"It builds on [{below.title}]({file_name(below)}) and changes" if below else "It is the first rung, with"
    link = f"../inside.html#view=climb&rung={rung.name}"
    lines += [f"{builds} {changes}. Source: {rung.source}.", ""]
    lines += [
        f"[Look inside this rung]({link}), on the page that `rungwise play` makes (`make docs` adds it to the site).",
        "",
    ]
    lines += ["## The formula", "", f"> {about.formula}", ""]
    lines += ["## The code that matters", ""]
    for part in code(rung):
        file, name = part["where"].split(", ")
        lines += [f"`{name}` in `src/rungwise/{file}`:", "", "```python", part["text"].rstrip(), "```", ""]
    if not code(rung):
        lines += ["This rung changes numbers only: the same code runs.", ""]
    lines += ["## Its effect on the loss", ""]
    if row.test:
        seeds = row.test.n
        lines.append(f"Measured on the article's list, with its protocol and {seeds} seeds, in nats a character:")
        lines += ["", "| | train | test |", "|---|:-:|:-:|"]
        if rung.published:
            lines.append(f"| the article reports (one seed) | {rung.published.train:.2f} | {rung.published.test:.2f} |")
        lines.append(f"| measured, ± 95 % CI | {show(row.train)} | {show(row.test)} |")
        if row.step and below:
            step = show(row.step, signed=True)
            lines += [
                "",
                f"The step from {below.title}, paired by seed: **{step}** in test loss (negative is better).",
            ]
    else:
        lines.append("This rung is not in the committed results yet.")
    if rung.inferred:
        lines += ["", f"Not in the article: {rung.inferred}"]
    lines += ["", "## What to try", "", about.question, "", "```sh", *about.tries, "```", ""]
    return "\n".join(lines)

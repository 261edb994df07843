"""A chapter a rung for docs/rungs/: the problem, a figure, the formula, the code, what was measured, a question.

text/RUNG.md holds what is written by hand: the problem, and after lines that begin with "===" the formula (TeX), a
question and its answer. {step:mlp} stands for what Numbers.step("mlp") computes from results/: no number of a
measurement is typed. code/RUNG.py is the part as one would write it; tests hold it to the model itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

from rungwise.analysis import evidence
from rungwise.ladder import RUNGS, Rung
from rungwise.play.collect import code
from rungwise.report.document import Figure
from scripts import common
from scripts.chapters import figures
from scripts.chapters.numbers import Numbers

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for path in common.RESULTS.glob("names-*/results.jsonl"))
Draw = Callable[[Numbers, str], Figure]


def levels(*rungs: str, train: bool = False, ngrams: tuple[int, ...] = ()) -> Draw:
    return lambda numbers, name: figures.levels(numbers, name, rungs, train, ngrams)


def seeds(*pairs: tuple[str, str]) -> Draw:
    return lambda numbers, name: figures.seeds(numbers, name, pairs)


def places(*rungs: str) -> Draw:
    return lambda numbers, name: figures.places(numbers, name, rungs)


def curves(*rungs: str) -> Draw:
    return lambda numbers, name: figures.curves(numbers, name, rungs)


def rates(*rungs: str) -> Draw:
    return lambda numbers, name: figures.rates(numbers, name, rungs)


CHAPTERS: dict[str, tuple[Draw, str]] = {
    "baseline": (levels("baseline", ngrams=(1, 2, 3)), "rungwise train --rung baseline --out runs/baseline"),
    "double-embd": (levels("baseline", "double-embd", "2-heads"), "rungwise climb --rungs baseline,double-embd --tune"),
    "2-heads": (
        levels("baseline", "1-head-projection", "2-heads-no-projection", "2-heads"),
        "rungwise climb --rungs baseline,1-head-projection,2-heads-no-projection,2-heads",
    ),
    "4-layers": (
        levels("2-heads", "2-heads-residual", "4-layers-no-residual", "4-layers"),
        "rungwise climb --rungs 2-heads,2-heads-residual,4-layers-no-residual,4-layers",
    ),
    "mlp": (levels("4-layers", "mlp", train=True), "rungwise climb --rungs 4-layers,mlp,gelu,without-mlp"),
    "layernorm": (rates("mlp", "layernorm"), "rungwise climb --rungs mlp,layernorm --tune"),
    "rope": (places("without-rope", "gelu"), "rungwise climb --rungs layernorm,rope,gelu,without-rope"),
    "gelu": (seeds(("rope", "gelu")), "rungwise climb --rungs rope,gelu --seeds 10"),
    "scaled": (curves("gelu", "scaled"), "rungwise climb --rungs gelu,scaled,scaled-1e-3"),
    "dropout-5k": (levels("scaled", "dropout-5k", train=True), "rungwise climb --rungs scaled,dropout-5k"),
    "dropout-20k": (
        levels("dropout-5k", "scaled-20k", "dropout-20k", train=True),
        "rungwise climb --rungs scaled-20k,dropout-20k",
    ),
    "final": (
        levels("dropout-20k", "final", "final-peak-3e-4", "final-no-clip", "final-no-decay"),
        "rungwise climb --rungs dropout-20k,final,final-peak-3e-4,final-no-clip,final-no-decay",
    ),
    "final-norm": (seeds(("gelu", "final-norm")), "rungwise climb --rungs gelu,final-norm --seeds 5"),
    "no-head-bias": (seeds(("final-norm", "no-head-bias")), "rungwise climb --rungs final-norm,no-head-bias"),
    "learned-positions": (
        places("no-head-bias", "learned-positions"),
        "rungwise climb --rungs no-head-bias,learned-positions,without-rope",
    ),
    "tied": (seeds(("no-head-bias", "tied")), "rungwise climb --rungs no-head-bias,tied --tune"),
    "rmsnorm": (seeds(("no-head-bias", "rmsnorm")), "rungwise climb --rungs no-head-bias,rmsnorm --seeds 10"),
    "swiglu": (levels("rmsnorm", "swiglu", train=True), "rungwise climb --rungs rmsnorm,swiglu --seeds 5"),
    "stream": (levels("gelu", "stream", "stream-equal-tokens"), "rungwise climb --rungs gelu,stream"),
    "stream-equal-tokens": (
        seeds(("gelu", "stream-equal-tokens"), ("gelu", "stream")),
        "rungwise climb --rungs gelu,stream-equal-tokens --seeds 5",
    ),
}
"""Rung -> its figure, and what to try."""


@functools.cache
def numbers() -> Numbers:
    return Numbers(evidence.read(FOLDERS))


def file_name(rung: Rung) -> str:
    return f"{rung.name}.md"


def index() -> str:
    """The page that lists the chapters."""
    head = "# The rungs\n\nA chapter each: what problem a part solves, its formula, its code, and what it is worth.\n\n"
    rungs = [RUNGS[name] for name in CHAPTERS]
    return head + "".join(f"1. [{rung.title}]({file_name(rung)}): {rung.why}\n" for rung in rungs)


def figure(rung: Rung) -> Figure:
    return CHAPTERS[rung.name][0](numbers(), rung.name)


def filled(text: str) -> str:
    """The text with its numbers."""

    def value(match: re.Match[str]) -> str:
        arguments = match[2].split(",") if match[2] else []
        return str(getattr(numbers(), match[1])(*(int(a) if a.isdigit() else a for a in arguments)))

    return re.sub(r"\{(\w+)(?::([\w.,-]+))?\}", value, text)


def written(name: str) -> tuple[str, ...]:
    """What was written by hand: the problem, the formula, the question, the answer."""
    problem, formula, question, answer = re.split(
        r"^===.*\n", (HERE / f"text/{name}.md").read_text("utf-8"), flags=re.M
    )
    return filled(problem).strip(), formula.strip(), filled(question).strip(), filled(answer).strip()


def simplified(name: str) -> str:
    path = HERE / f"code/{name}.py"
    return path.read_text("utf-8").strip() if path.exists() else ""


def chapter(rung: Rung) -> str:
    """The Markdown of one rung."""
    problem, formula, question, answer = written(rung.name)
    below = RUNGS[rung.on] if rung.on else None
    changes = ", ".join(f"`{name}={value!r}`" for name, value in rung.changes.items())
    builds = f"It builds on [{below.title}]({file_name(below)}) and changes" if below else "It is the first rung, with"
    drawn = figure(rung)
    lines = [f"# {rung.title}", "", rung.why, "", f"{builds} {changes}. Source: {rung.source}.", ""]
    lines += ["## The problem", "", problem, "", f"![{drawn.title}. {drawn.description}]({rung.name}.svg)", ""]
    lines += ["## The formula", "", "```math", formula, "```", "", "## The code", ""]
    if short := simplified(rung.name):
        lines += ["As one would write it for a batch of whole words:", "", "```python", short, "```", ""]
    where = [tuple(part["where"].split(", ")) for part in code(rung)]
    real = ", ".join(f"`{name}` in `src/rungwise/{file}`" for file, name in where)
    note = "The package's own also generates letter by letter, with a memory: " if short else "Where it is: "
    lines += [f"{note}{real}." if real else "This rung changes numbers only: the same code runs.", ""]
    lines += ["## What was measured", "", *numbers().table(rung.name)]
    if rung.inferred:
        lines += ["", f"Not in the article: {rung.inferred}"]
    lines += [
        "",
        "## A question",
        "",
        question,
        "",
        '<details markdown="1"><summary>An answer</summary>',
        "",
        answer,
        "",
        "</details>",
    ]
    lines += ["", "## What to try", "", "```sh", CHAPTERS[rung.name][1], "```", ""]
    lines += ["The climb ends with a page that looks inside its models: [what it shows](../play.md).", ""]
    return "\n".join(lines)

"""notebooks/step_by_step.ipynb: the article's ladder, built rung by rung in a notebook.

What a rung is, why, its formula and its code come from the ladder, from chapters.py and from the source. The text and
the few lines that train, plot and look inside are here. It is kept without outputs; a test runs it.
"""

from __future__ import annotations

import json
from typing import Any

from rungwise.ladder import Rung, select
from rungwise.play.collect import switched_on
from scripts import chapters

START = """# A transformer, step by step

We climb from a single attention head to a small transformer in eight steps, on a list of names. Each step adds one
thing. We see why, read its code, train it with three seeds, and compare two things: the **loss** (the mean of
-ln of the probability of each character, in nats, on names that the model was not trained on; lower is better), and
**ten names** that it generates.

The ladder is that of "Building a Language Transformer Step by Step" (Yi, 2026-01-28). To run this notebook:

```sh
pip install -e . jupyterlab    # in a checkout of rungwise
jupyter lab notebooks/step_by_step.ipynb
```

It takes about two minutes on two cores with a C++ compiler. Without a compiler it uses PyTorch and is many times
slower: set `RUNGWISE_NOTEBOOK_STEPS=500` before you start it."""

SETUP = """import inspect
import os
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

import rungwise
from rungwise.analysis.stats import summary
from rungwise.analysis.tables import markdown
from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.experiment import baselines
from rungwise.experiment.climb import Climb, run
from rungwise.experiment.results import by_rung
from rungwise.ladder import select
from rungwise.model import layers, transformer
from rungwise.training.run_dir import METRICS
from rungwise.util.files import read_lines

STEPS = int(os.environ.get("RUNGWISE_NOTEBOOK_STEPS", 5000))
SEEDS = range(3)
OUT = Path(f"runs/step-by-step-{STEPS}")  # what is there already is not trained again"""

DATA = """## The words

A language model predicts what comes next. Ours predicts the next *character* of a name. `words.load` takes any file
with a word a line; `auto` is the article's 32,033 names if they are on this machine or can be downloaded, otherwise the
18,730 names that come with the package."""

READ = """protocol = get_protocol("article")  # what is scored, on which words: as in the article
listed = words.load("auto")
parts = words.split(listed, protocol)
print(words.describe(listed, parts))
print("Some of them:", *(listed[i] for i in parts.train[:12]))"""

VOCABULARY = """Every character has a number. Two more numbers are needed: `END` (1) ends a word, and `PAD` (0)
fills short words up to the longest of a batch. A model reads the numbers of a word and predicts, at each of them, the
next one."""

ENCODE = """name = listed[int(parts.train[0])]
print("alphabet:", listed.vocabulary.characters)
print(name, "is", listed.vocabulary.encode(name).tolist(), "and then END")"""

NGRAMS = """## n-gram baselines

How good is a model without a network, which only *counts* which character followed which? A 1-gram knows how frequent
each character is; a 2-gram uses one character before, a 5-gram four. (For rare contexts it uses shorter ones, too:
interpolated Kneser-Ney.) A uniform guess has a loss of ln V nats a character. A network should be better than these.

Long contexts are strong here because this list repeats names, so many test words are also in the training list: a model
that remembers them is rewarded. The protocol `strict` of this package takes each word once."""

COUNT = """ngrams = {int(n): losses["test_loss"] for n, losses in baselines.count(listed, parts, protocol).items()}
print(f"uniform guess: {np.log(len(listed.vocabulary)):.3f}")
for n, loss in ngrams.items():
    print(f"{n}-gram: {loss:.3f}")"""

MACHINE = """## Training and comparing

`climb_to(rung)` trains a rung with every seed, on all cores. The losses are exact: over the whole test part, not over a
sample of it. A seed meets the same batches on every rung, so the step from one rung to the next is a paired difference;
± is the 95 % confidence interval over the seeds."""

CLIMB = '''climbed = []
listed_words = set(listed)


def climb_to(rung):
    """Train a rung (or read the results of an earlier run); show the table, the picture, and ten names."""
    climbed.append(rung)
    rungs = select(climbed)
    results = run(Climb(listed, protocol, rungs, SEEDS, OUT, STEPS), report=lambda progress: None)
    display(Markdown(markdown(rungs, results)))
    draw(rungs, by_rung(results))
    drawn = rungwise.generate(rungwise.load(OUT / rung / "seed-0"), 10, seed=1)
    print("Ten names (* is in the list):", *(w.text + "*" * (w.text in listed_words) for w in drawn))


def draw(rungs, groups):
    """Left: the test loss of each rung. Right: the training loss of every 256 steps."""
    _, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    for n, loss in ngrams.items():
        if 2 <= n <= 5:
            left.axhline(loss, color="0.8", linewidth=1, zorder=0)
            left.text(7.6, loss, f"{n}-gram", color="0.5", fontsize=8, va="bottom", ha="right")
    for i, rung in enumerate(rungs):
        losses = summary([result.test_loss for result in groups[rung.name]])
        colour = plt.get_cmap("viridis")(i / 8)
        left.errorbar(i, losses.mean, losses.mean - losses.low, fmt="o", color=colour, capsize=3)
        curves = [read_lines(OUT / rung.name / f"seed-{seed}" / METRICS) for seed in SEEDS]
        steps = [line["step"] for line in curves[0]]
        means = np.mean([[line["train_loss"] for line in curve] for curve in curves], axis=0)
        right.plot(steps, means, color=colour, label=rung.title, marker="." if len(steps) < 3 else None)
    left.set_xticks(range(8), [rung.title for rung in select("article")], rotation=35, ha="right")
    left.set(xlim=(-0.5, 7.7), ylabel="test loss, nats a character", title="Test loss by rung")
    right.set(xlabel="step", ylabel="training loss", title="Learning curves")
    right.legend(fontsize=8)
    plt.show()


def source(*things):
    """The code itself, as it is in the package today."""
    for thing in things:
        display(Markdown(f"```python\\n{textwrap.dedent(inspect.getsource(thing))}```"))'''

INSIDE = """## A look inside

Which characters does attention use? We run the last model on a name of the test part, and keep the weights of every
head: row *i* shows from which characters the prediction after character *i* takes its information. Each row sums to 1;
right of the diagonal, in the future, all weights are 0."""

ATTEND = '''top = rungwise.load(OUT / "gelu/seed-0").model
name = next(w for w in (listed[int(i)] for i in parts.test) if len(w) == 8)


@torch.no_grad()
def attention(of, tokens):
    """Weights of every head: (layers, heads, T, T)."""
    x, memory, kept = of.embedding(tokens[None]), layers.NoMemory(), []
    for block in of.blocks:
        weights, _ = block.attention.f.weights(block.attention.norm(x), memory, 0)
        kept.append(weights[0])
        x = block(x, memory, 0)
    return torch.stack(kept)


weights = attention(top, torch.from_numpy(listed.vocabulary.encode(name)).long())
_, axes = plt.subplots(*weights.shape[1::-1], figsize=(10, 5.4), layout="constrained")
for head, row in enumerate(axes):
    for layer, ax in enumerate(row):
        ax.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        ax.set_xticks(range(len(name)), name)
        ax.set_yticks(range(len(name)), name)
        ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=9)
plt.show()'''

SURPRISE = """And what does it predict? After each character: the next one (`⏎` is the end) with the probability that
the model gave it, and the three most likely ones. The loss is the mean of -ln of the first probability."""

PREDICT = """tokens = listed.vocabulary.encode(name)
with torch.no_grad():
    chances = top(torch.from_numpy(tokens).long()[None])[0].softmax(-1)
shown = ["·", "⏎", *listed.vocabulary.characters]
for i, actual in enumerate([*tokens[1:], words.END]):
    best = ", ".join(f"{shown[j]} {chances[i, j]:.0%}" for j in chances[i].argsort(descending=True)[:3].tolist())
    print(f"{name[: i + 1]:8} then {shown[actual]} ({chances[i, actual]:.0%}); likeliest: {best}")"""

NEXT = """## What to try next

- **Your own model.** `rungwise.train` takes any list and any field of the configuration; here n_embd 64 and 4 heads.
  `rungwise.generate` draws words from it: with a prefix, a temperature, only names that are not in the list.
- **Remove a part** from the full model instead of adding it: `rungwise climb --ablate`.
- **More of the ladder**: `rungwise ladder` lists every rung; `rungwise climb --rungs all` climbs to the article's final
  model (dropout, 20,000 steps, a schedule), which is also better than every n-gram above.
- **Your own list**: `rungwise data towns.txt`, then `rungwise climb --data towns.txt`.
- **Look inside**: `rungwise play RUNS` makes a page that shows what the models do with a word that you type; give it
  the folder below."""

OWN = """mine = rungwise.train("auto", steps=STEPS, n_embd=64, n_head=4, rung="gelu", seed=1)
for word in rungwise.generate(mine, 8, prefix="ma", temperature=0.8, new_only=True, unique=True):
    print(f"{word.text:14} {word.log_likelihood:7.2f} nats")
print("The climb is in", OUT.resolve())"""


def rung_cells(number: int, rung: Rung) -> list[tuple[str, str]]:
    """Why, the formula, the code, and the climb."""
    about = chapters.CHAPTERS[rung.name]
    changes = ", ".join(f"`{name}={value!r}`" for name, value in rung.changes.items())
    builds = f"It builds on *{select([rung.on])[0].title}* and changes" if rung.on else "The configuration:"
    lines = [f"## {number}. {rung.title}", "", rung.why, "", f"> {about.formula}", "", f"{builds} {changes}."]
    code = [f"{part.__module__.rpartition('.')[2]}.{part.__qualname__}" for part in switched_on(rung)]
    return [
        ("markdown", "\n".join(lines)),
        ("code", f"source({', '.join(code)})"),
        ("code", f'climb_to("{rung.name}")'),
    ]


def cells() -> list[tuple[str, str]]:
    parts = [("markdown", START), ("code", SETUP), ("markdown", DATA), ("code", READ), ("markdown", VOCABULARY)]
    parts += [("code", ENCODE), ("markdown", NGRAMS), ("code", COUNT), ("markdown", MACHINE), ("code", CLIMB)]
    for number, rung in enumerate(select("article"), 1):
        parts += rung_cells(number, rung)
    return [*parts, ("markdown", INSIDE), ("code", ATTEND), ("markdown", SURPRISE), ("code", PREDICT),
            ("markdown", NEXT), ("code", OWN)]  # fmt: skip


def notebook() -> str:
    """The file's text: nbformat 4.5, no outputs."""
    all_cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(), 1):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        all_cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": all_cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"

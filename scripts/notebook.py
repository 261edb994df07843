"""notebooks/step_by_step.ipynb: the article's ladder, built in a notebook's own cells, part by part.

The code of each part is that of its chapter (scripts/chapters/code/), which a test holds to the package's own model.
The text and the lines that read, train and draw are here. `python -m scripts.notebook` runs it and keeps its outputs.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rungwise.ladder import Rung, select
from scripts import chapters
from scripts.common import ROOT

FILE = ROOT / "notebooks/step_by_step.ipynb"

START = """# A transformer, step by step

We build a small transformer from nothing but PyTorch, in eight steps, on a list of names. Each step adds one part. We
see why, write its code, train it, and compare two things: the **loss** (the mean of -ln of the probability of each
character, in nats, on names that the model was not trained on; lower is better), and **ten names** that it generates.

The steps are those of the article "Building a Language Transformer Step by Step" (Yi, 2026-01-28). All cells together
take under three minutes on two cores. Run them from top to bottom, here or in Colab."""

SETUP = """import importlib.util
import math
import os
import subprocess
import sys

missing = [name for name in ("torch", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

STEPS = int(os.environ.get("RUNGWISE_NOTEBOOK_STEPS", 2000))  # of each part's training; the article takes 5,000
torch.set_num_threads(1)  # small matrices gain nothing from more"""

DATA = """## The words

A language model predicts what comes next. Ours predicts the next *character* of a name. The names are those of
Karpathy's makemore, 32,033 of them; without a network, those that come with the package `rungwise`."""

READ = '''def read_names():
    """The article's names; where they cannot be had, the list that comes with rungwise."""
    if importlib.util.find_spec("rungwise"):
        from rungwise.data import words

        return list(words.load("auto"))
    from urllib.request import urlopen

    address = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
    return urlopen(address).read().decode().split()


names = read_names()
order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
held_out = len(names) // 10
test, train = ([names[i] for i in part] for part in (order[:held_out], order[held_out:]))
print(f"{len(names):,} names: {len(train):,} to train on, {len(test):,} to test on")
print("Some of them:", *train[:10])'''

NUMBERS = """Every character gets a number. Two more are needed: 1 ends a name, and 0 fills up short names, so that a
batch is a rectangle. The model reads the characters and predicts, at each of them, the next one or the end."""

ENCODE = '''letters = sorted(set("".join(names)))
PAD, END, VOCABULARY = 0, 1, len(letters) + 2
number = {letter: i for i, letter in enumerate(letters, 2)}


def batch(some):
    """Inputs and what comes next, (names, longest) each."""
    longest = max(map(len, some))
    inputs = [[number[c] for c in name] + [PAD] * (longest - len(name)) for name in some]
    targets = [[number[c] for c in name[1:]] + [END] + [PAD] * (longest - len(name)) for name in some]
    return torch.tensor(inputs), torch.tensor(targets)


print(train[0], "is read as", batch(train[:1])[0][0].tolist(), "and", batch(train[:1])[1][0].tolist(), "is to come")'''

TRAINING = """## Training

A model gives a score for each character that may come next; softmax makes probabilities of the scores. The loss is the
mean of minus the logarithm of what the right characters got. AdamW changes the parameters a little at each step, so
that the loss of 32 random names falls. The test loss is exact: over all test names."""

TRAIN = '''def loss_of(model, some):
    inputs, targets = batch(some)
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=PAD)


@torch.no_grad()
def test_loss(model):
    total = tokens = 0
    for first in range(0, len(test), 500):
        some = test[first : first + 500]
        n = sum(map(len, some))  # each name has as many predictions as letters
        total, tokens = total + loss_of(model, some).item() * n, tokens + n
    return total / tokens


@torch.no_grad()
def generate(model, n):
    """Names, letter by letter; the first letters are those of names."""
    chance = torch.Generator().manual_seed(1)
    found = []
    for _ in range(n):
        name = train[torch.randint(len(train), (1,), generator=chance).item()][0]
        while len(name) < 15:
            scores = model(torch.tensor([[number[c] for c in name]]))[0, -1]
            scores[PAD] = -math.inf
            next_one = torch.multinomial(scores.softmax(-1), 1, generator=chance).item()
            if next_one == END:
                break
            name += letters[next_one - 2]
        found.append(name)
    return found


results = {}


def climb_to(title, build):
    """Train the model that build() makes, and compare it with those before."""
    torch.manual_seed(0)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    chance = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        loss = loss_of(model, [train[i] for i in torch.randint(len(train), (32,), generator=chance).tolist()])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    before = list(results.values())[-1] if results else math.log(VOCABULARY - 1)
    results[title] = test_loss(model)
    n = sum(p.numel() for p in model.parameters())
    print(f"{title}: {n:,} parameters, test loss {results[title]:.2f} ({results[title] - before:+.2f})")
    print("Ten names:", *generate(model, 10))
    return model'''

COMPARE = """## All together

One run of each, with one seed: differences of 0.01 or 0.02 may be luck. Several seeds tell more, and the package trains
them at once: `rungwise climb`."""

PLOT = """plt.figure(figsize=(7, 3))
plt.plot(list(results.values()), range(len(results)), "o")
plt.yticks(range(len(results)), list(results))
plt.gca().invert_yaxis()
plt.xlabel("test loss, nats a character (lower is better)")
plt.grid(axis="x")
plt.tight_layout()
plt.show()"""

INSIDE = """## A look inside

From which characters does the last model take its information? For each head of each layer: row *i* is what the
prediction after character *i* looks at. Each row sums to 1; the future, right of the diagonal, is 0."""

ATTEND = """def weights_of(head, x):
    q, k = rotate(head.query(x)), rotate(head.key(x))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf).softmax(-1)[0]


name = next(name for name in test if len(name) == 8)
with torch.no_grad():
    x = model.embedding(batch([name])[0])
    figure, axes = plt.subplots(2, 4, figsize=(9, 4.6))
    for layer, block in enumerate(model.parts):
        for h, head in enumerate(block.attention.heads):
            ax = axes[h, layer]
            ax.imshow(weights_of(head, block.attention_norm(x)), cmap="Blues", vmin=0, vmax=1)
            ax.set_xticks(range(len(name)), name)
            ax.set_yticks(range(len(name)), name)
            ax.set_title(f"layer {layer + 1}, head {h + 1}", fontsize=9)
        x = block(x)
plt.tight_layout()
plt.show()"""

NEXT = """## What next

- **Measure it**: `rungwise climb` trains each of these with several seeds, in C++, and says which steps are larger than
  chance. The findings of the project are in docs/findings.md.
- **Your own list**: put a word a line into a file, `rungwise train --data FILE`, then `rungwise sample runs/model`.
- **Higher up**: dropout, schedules, SwiGLU and more are in the chapters, docs/rungs/."""


def rung_cells(number: int, rung: Rung) -> list[tuple[str, str]]:
    """Why, the formula, the code, and the training."""
    _, formula, _, _ = chapters.written(rung.name)
    code = chapters.simplified(rung.name)
    made = re.search(r"^model = (.*)$", code, re.MULTILINE)
    assert made, rung.name
    parts = code[: made.start()].strip()
    climb = f'model = climb_to("{rung.title}", lambda: {made[1]})'
    return [
        ("markdown", f"## {number}. {rung.title}\n\n{rung.why}\n\n$${formula}$$"),
        *([("code", parts)] if parts else []),
        ("code", climb),
    ]


def cells() -> list[tuple[str, str]]:
    parts = [("markdown", START), ("code", SETUP), ("markdown", DATA), ("code", READ), ("markdown", NUMBERS)]
    parts += [("code", ENCODE), ("markdown", TRAINING), ("code", TRAIN)]
    for number, rung in enumerate(select("article"), 1):
        parts += rung_cells(number, rung)
    return [*parts, ("markdown", COMPARE), ("code", PLOT), ("markdown", INSIDE), ("code", ATTEND), ("markdown", NEXT)]


def notebook() -> dict[str, Any]:
    """nbformat 4.5, without outputs."""
    all_cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(), 1):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        all_cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": all_cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def without_outputs(whole: dict[str, Any]) -> dict[str, Any]:
    """The same, as it was written."""
    bare = {"execution_count": None, "outputs": []}
    return whole | {"cells": [cell | bare if cell["cell_type"] == "code" else cell for cell in whole["cells"]]}


def as_text(whole: dict[str, Any]) -> str:
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def with_outputs() -> dict[str, Any]:
    """Run it; of the outputs, what a machine says of itself is left out."""
    import nbformat
    from nbclient import NotebookClient

    node = nbformat.reads(as_text(notebook()), 4)
    NotebookClient(node, timeout=900).execute()
    whole = json.loads(nbformat.writes(node))
    for cell in whole["cells"]:
        cell["metadata"] = {}
        for output in cell.get("outputs", []):
            output.pop("execution_count", None)
            output.get("data", {}).pop("text/plain", None) if "image/png" in output.get("data", {}) else None
        cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"] if "outputs" in cell else None
        if cell["outputs"] is None:
            del cell["outputs"]
    return whole | {"metadata": notebook()["metadata"], "nbformat_minor": 5}


if __name__ == "__main__":
    FILE.write_text(as_text(with_outputs()), encoding="utf-8", newline="\n")

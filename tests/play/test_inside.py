"""Inside, number by number: every vector that the page shows is the model's, and its code is the source's."""

from __future__ import annotations

import inspect
import math
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from play_runs import made_up, save_untrained
from rungwise.data.words import END
from rungwise.ladder import RUNGS, TRANSFORMERS
from rungwise.model.layers import Residual, SwiGLU
from rungwise.play import inside
from rungwise.play.collect import collect, find
from rungwise.play.page import build

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'rungwise[dev]')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of every rung that there is, with weights in float32, and the models."""
    if not CHROMIUM:
        pytest.skip("needs Chromium (apt-get install chromium)")
    folder = tmp_path_factory.mktemp("ladder")
    found = find(save_untrained(folder, made_up(40)))
    (folder / "page.html").write_text(build(collect(found, None, "float32")), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto((folder / "page.html").as_uri())
        yield page, {kept.run.info["rung"]: kept.run for kept in found}
        browser.close()


class Hooks:
    """What PyTorch's modules read and give in one forward pass over (1, T) tokens, by the names of the page's trace."""

    def __init__(self, model: Any, tokens: list[int]) -> None:
        self.config, self.found, self.handles = model.config, {}, []
        self.written("embedding", model.embedding)
        self.written("place", model.positions, lambda before, after: after - before)
        self.written("start", model.positions)
        self.written("final_norm", model.final_norm)
        for layer, block in enumerate(model.blocks):
            self.attention(f"{layer}.attention", block.attention)
            if model.config.mlp != "none":
                self.mlp(f"{layer}.mlp", block.mlp)
        with torch.no_grad():
            self.logits = model(torch.tensor([tokens]))[0]
        for handle in self.handles:
            handle.remove()

    def written(self, name: str, module: Any, of: Any = lambda before, after: after) -> None:
        def hook(module: Any, read: Any, written: Tensor) -> None:
            self.found[name] = of(read[0], written)[0].detach()

        self.handles.append(module.register_forward_hook(hook))

    def read(self, name: str, module: Any) -> None:
        self.written(name, module, lambda before, after: before)

    def attention(self, name: str, join: Any) -> None:
        heads, size = self.config.n_head, self.config.head_width
        for i, part in enumerate("qkv"):  # (B, T, 3 * H * K): queries, keys, values, each head by head
            these = slice(i * heads * size, (i + 1) * heads * size)
            self.written(f"{name}.{part}", join.f.qkv, lambda _, after, these=these: after[..., these])

        def turned(module: Any, read: Any, after: Tensor) -> None:  # (B, H, T, K)
            part = "turned_q" if f"{name}.turned_k" in self.found else "turned_k"  # keys are turned first
            self.found[f"{name}.{part}"] = after[0].transpose(0, 1).flatten(1).detach()

        self.handles.append(join.f.position.register_forward_hook(turned))
        self.read(f"{name}.weights", join.f.dropout)  # (H, T, S)
        self.read(f"{name}.mixed", join.f.projection)
        self.written(f"{name}.projection", join.f.projection)
        self.sublayer(name, join)

    def mlp(self, name: str, join: Any) -> None:
        self.written(f"{name}.up", join.f.up)
        if isinstance(join.f, SwiGLU):
            self.written(f"{name}.gate", join.f.gate)
        self.read(f"{name}.hidden", join.f.down)
        self.sublayer(name, join)

    def sublayer(self, name: str, join: Any) -> None:
        self.written(f"{name}.norm", join.norm)
        self.written(f"{name}.out", join.f)
        self.written(f"{name}.x", join, lambda before, after: after)

    def at(self, name: str, t: int) -> np.ndarray:
        """The vector of one position. Scores are no module's: they are worked out from queries and keys."""
        if not name.endswith(("scores", "weights")):
            return self.found[name][t].numpy()
        if name.endswith("weights"):
            return self.found[name][:, t, : t + 1].flatten().numpy()
        q, k = (
            self.found[name.replace("scores", f"turned_{part}")].unflatten(1, (self.config.n_head, -1)) for part in "qk"
        )
        return (torch.einsum("hk,shk->hs", q[t], k[: t + 1]) / math.sqrt(self.config.head_width)).flatten().numpy()


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_vector_is_the_one_in_pytorch(ladder: Any, name: str) -> None:
    page, model = ladder[0], ladder[1][name].model
    vocab = model.config.vocab_size
    tokens = [END, *(int(i) for i in np.random.default_rng(1).integers(2, vocab, model.config.block_size - 1))]
    truth = Hooks(model, tokens)
    traces = page.evaluate("([name, tokens]) => rungwise.trace(name, tokens)", [name, tokens])
    logits = page.evaluate("([name, tokens]) => rungwise.logits(name, tokens)", [name, tokens])
    assert np.abs(np.array(logits) - truth.logits.numpy()).max() < 1e-4
    for t, trace in enumerate(traces):
        for part, values in trace.items():
            expected = truth.at(part, t)
            assert len(values) == len(expected), part
            assert np.abs(np.array(values) - expected).max() < 1e-4, (part, t)


WALK = """total => Array.from({ length: total }, () => {
    const text = (query) => document.querySelector(`#inside-step ${query}`)?.textContent ?? "";
    const cells = document.querySelectorAll("#inside-step :is(.cell, .arcs)").length;
    const step = [text("h3"), text(".say"), cells, text("pre mark"), text("pre")];
    document.getElementById("inside-next").click();
    return step;
})"""


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_rung_takes_the_steps_that_its_configuration_has(ladder: Any, name: str) -> None:
    """Each with a sentence, numbers, and the lines of the source that compute it; after the last, the first."""
    page, model = ladder[0], RUNGS[name].model
    page.goto(f"{page.url.split('#')[0]}#view=inside&rung={name}&word=kaelmi")
    total = int(page.inner_text("#inside-number").split()[-1])
    mlp, norms = model.mlp != "none", (model.norm != "none") * (1 + (model.mlp != "none"))
    a_block = 5 + norms + (model.position == "rope") + model.projection + 4 * mlp
    assert total == 3 + (model.position == "learned") + model.final_norm + model.n_layer * a_block
    seen = page.evaluate(WALK, total)
    for title, sentence, cells, lit, code in seen:
        assert title and sentence.endswith(".") and cells and lit.strip() and "def " in code
        assert not any(bad in sentence for bad in ("undefined", "NaN", "null")), sentence
    titles = {title for title, *_ in seen}
    assert ("Block 1: residual sum" in titles) == model.residual
    assert ("Block 1: RoPE" in titles) == (model.position == "rope")
    assert page.inner_text("#inside-number") == f"Step 1 of {total}"


def test_the_place_is_kept_when_the_rung_changes(ladder: Any) -> None:
    page = ladder[0]
    page.goto(f"{page.url.split('#')[0]}#view=inside&rung=gelu&word=kaelmi&step=2.attention.scores&at=3")
    assert page.inner_text("#inside-step h3") == "Block 3: scores"
    assert page.locator("#inside-step .heads tbody td").count() == 2 * 4, "two heads, four characters"
    page.focus("#rung")
    page.keyboard.press("Home")
    assert page.inner_text("#inside-step h3") == "Block 1: scores"


def test_code_is_the_sources_and_each_mark_is_in_it() -> None:
    for name, parts in inside.steps().items():
        for (function, marked), shown in zip(inside.STEPS[name], parts, strict=True):
            assert [line.strip() for line in shown["text"].splitlines()] == [
                line.strip() for line in inspect.getsource(function).splitlines()
            ]
            lines = shown["text"].split("\n")
            assert shown["lit"] and all(marked in lines[i] for i in shown["lit"]), f"{name}: nothing says {marked!r}"
    assert inside.STEPS["residual"][0][0] is Residual.forward

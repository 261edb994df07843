"""The chapters and the notebook: their code is the model's, their commands run, and the notebook is as generated."""

import functools
import json
import math
import re
import shlex

import pytest
import torch
import torch.nn.functional as F
from scripts import chapters, notebook
from torch import nn

from rungwise.cli.main import parse
from rungwise.engine.loop import learning_rate
from rungwise.ladder import RUNGS, get_rung, select
from rungwise.model.transformer import Transformer, count_parameters
from rungwise.play.collect import CHAPTERS

VOCABULARY, BLOCK_SIZE = 29, 13
MODELS = [name for name in chapters.CHAPTERS if re.search(r"^model = ", chapters.simplified(name), re.MULTILINE)]


def path_to(name):
    """The rungs from the lowest to this one."""
    rung = get_rung(name)
    return [*(path_to(rung.on) if rung.on else []), name]


@functools.cache
def built(name):
    """The chapters' code up to a rung, run in order; its last model."""
    space = {"torch": torch, "nn": nn, "F": F, "math": math, "VOCABULARY": VOCABULARY, "rotate": lambda x: x}
    torch.manual_seed(3)
    for rung in path_to(name):
        exec(compile(chapters.simplified(rung), f"{rung}.py", "exec"), space)
    return space["model"]


def its_state(model, config):
    """The package's state_dict from a chapter's model."""
    state = {"embedding.weight": model.embedding.weight}

    def norm(theirs, ours):
        state[f"{theirs}.weight"] = ours.gain
        if hasattr(ours, "shift"):
            state[f"{theirs}.bias"] = ours.shift

    for n, part in enumerate(model.parts):
        attention = getattr(part, "attention", part)
        heads = getattr(attention, "heads", [attention])
        name = f"blocks.{n}.attention.f"
        kinds = ([getattr(head, kind).weight for head in heads] for kind in ("query", "key", "value"))
        state[f"{name}.qkv.weight"] = torch.cat([weight for kind in kinds for weight in kind])
        if config.projection:
            state |= {f"{name}.projection.{k}": v for k, v in attention.projection.named_parameters()}
        if config.norm != "none":
            norm(f"blocks.{n}.attention.norm", part.attention_norm)
            norm(f"blocks.{n}.mlp.norm", part.mlp_norm)
        if config.mlp != "none":
            state |= {f"blocks.{n}.mlp.f.{k}": v for k, v in part.mlp.named_parameters()}
    if config.final_norm:
        norm("final_norm", model.norm)
    if config.position == "learned":
        state["positions.weight"] = model.positions[:BLOCK_SIZE]
    if hasattr(model, "head"):
        state |= {f"head.{k}": v for k, v in model.head.named_parameters()}
    return state


@pytest.mark.parametrize("name", MODELS)
def test_a_chapters_code_is_the_models(name):
    config = RUNGS[name].model.replace(vocab_size=VOCABULARY, block_size=BLOCK_SIZE, dropout=0.0)
    ours, theirs = Transformer(config).eval(), built(name).eval()
    state = its_state(theirs, config)
    missing = ours.load_state_dict({k: v.detach() for k, v in state.items()}, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= ({"head.weight"} if config.tie_embeddings else set())
    spare = (16 - BLOCK_SIZE) * config.n_embd * (config.position == "learned")
    assert sum(p.numel() for p in theirs.parameters()) - spare == count_parameters(ours)
    tokens = torch.randint(2, VOCABULARY, (5, BLOCK_SIZE), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-5)


def test_every_rung_that_changes_the_model_has_code():
    assert {name for name in chapters.CHAPTERS if RUNGS[name].group == "article"} <= set(MODELS)
    assert {"final-norm", "no-head-bias", "learned-positions", "tied", "rmsnorm", "swiglu", "scaled"} <= set(MODELS)


def test_the_schedule_and_the_clipping_of_the_chapter():
    space = {"math": math, "torch": torch}
    exec(chapters.simplified("final"), space)
    config = RUNGS["final"].train
    for step in (0, 7, 199, 200, 201, 9_999, 19_999):
        assert space["learning_rate"](step) == pytest.approx(learning_rate(config, step))
    gradients = [torch.full((3,), 2.0), torch.full((2, 2), -1.0)]
    clipped = space["clip"](gradients)
    assert torch.cat([g.flatten() for g in clipped]).norm() == pytest.approx(1)
    assert space["clip"]([g / 100 for g in gradients])[0][0] == pytest.approx(0.02)


def test_the_chapters_windows():
    space = {"torch": torch}
    exec(chapters.simplified("stream"), space)
    inputs, targets = space["windows"]([[2, 3], [4], [5, 6, 7]], length=3)
    assert inputs.tolist() == [[2, 3, 1], [4, 1, 5]] and targets.tolist() == [[3, 1, 4], [1, 5, 6]]


@pytest.mark.parametrize("name", chapters.CHAPTERS)
def test_a_chapter_teaches(name):
    text = chapters.chapter(RUNGS[name])
    prose = re.sub(r"```.*?```|!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    assert 300 <= len(prose.split()) <= 700
    for part in ("## The problem", f"]({name}.svg)", "```math", "## What was measured", "<details", "```sh\nrungwise "):
        assert part in text, part
    assert not re.search(r"\{\w+", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("name", chapters.CHAPTERS)
def test_no_measured_number_is_typed(name):
    """Losses have three digits behind the point; those of the article have two."""
    written = (chapters.HERE / f"text/{name}.md").read_text(encoding="utf-8")
    assert not re.search(r"\d\.\d{3}(?!\d*e)", written.replace("0.002", "").replace("0.01", ""))


def test_every_chapter_that_the_page_links_to_is_there():
    assert set(chapters.CHAPTERS) == set(CHAPTERS)


@pytest.mark.parametrize("name", chapters.CHAPTERS)
def test_what_a_chapter_tries_can_be_tried(name):
    given = parse(shlex.split(chapters.CHAPTERS[name][1])[1:])
    assert not hasattr(given, "rungs") or name in [rung.name for rung in select(given.rungs)]


def test_the_notebook_is_as_generated_and_shows_its_outputs():
    """Its text and code; what it printed is that of the machine that ran it."""
    kept = json.loads(notebook.FILE.read_text(encoding="utf-8"))
    assert notebook.without_outputs(kept) == notebook.notebook(), "run python -m scripts.notebook"
    outputs = [o for cell in kept["cells"] for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 2
    printed = "".join("".join(o.get("text", "")) for o in outputs)
    for rung in select("article"):
        assert rung.published and f"{rung.title}: {rung.published.n_params:,} parameters, test loss " in printed
    assert not re.search(r"/home|/root|/tmp|Warning|\d ms", printed)

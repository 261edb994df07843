"""The tables of docs/scale.md, from what scripts/scale_model.py measured. Every number is marked by its kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from scripts import scale_model as model

SHAPES = [(1, 28), (4, 44), (4, 140), (6, 364), (12, 828)]
"""Layers and width of models of about 10^4, 10^5, ..., 10^8 parameters."""
LISTS = [10**n for n in range(4, 10)]
BATCH = 128
BYTES_A_PARAMETER = 16
"""Weight, gradient and AdamW's two moments, four bytes each."""
NAMES = {
    "dispatch": "dispatch",
    "layers": "dispatch, layer by layer",
    "passes": "passes over activations",
    "products": "matrix products",
    "update": "AdamW: memory traffic",
}


def _two_digits(x: float) -> str:
    return f"{float(f'{x:.2g}'):,g}"


def duration(seconds: float) -> str:
    for limit, unit, size in (
        (1e-3, "µs", 1e-6),
        (1, "ms", 1e-3),
        (120, "s", 1),
        (7200, "min", 60),
        (172_800, "h", 3600),
    ):
        if seconds < limit:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def size(n_bytes: float) -> str:
    for limit, unit, one in ((1e6, "kB", 1e3), (1e9, "MB", 1e6), (1e12, "GB", 1e9)):
        if n_bytes < limit:
            return f"{_two_digits(n_bytes / one)} {unit}"
    return f"{n_bytes / 1e12:,.1f} TB"


def check(measured: dict[str, Any]) -> str:
    """Measured beside modelled."""
    lines = ["| what | measured | model | off |", "|---|--:|--:|--:|"]
    for what, seconds, said in model.compared(measured):
        lines.append(f"| {what} | {seconds * 1000:.2f} ms | {said * 1000:.2f} ms | {said / seconds - 1:+.0%} |")
    return "\n".join(lines) + "\n"


def memory(measured: dict[str, Any], engine: str) -> tuple[float, float]:
    """A process's bytes without a model, and bytes an activation (places * layers * width), fitted to its peaks."""
    x, y = [], []
    for layers, width, batch in model.PEAKS:
        known = BYTES_A_PARAMETER * model.parameters(layers, width)
        x.append([1.0, measured["places"][str(batch)][engine] * layers * width])
        y.append(measured["peaks"][f"{engine} {(layers, width, batch)}"] - known)
    from scipy.optimize import nnls

    base, each = nnls(np.array(x), np.array(y))[0]
    return float(base), float(each)


def models(measured: dict[str, Any]) -> str:
    """A row a size of model."""
    lines = [
        "| parameters | layers x width | native | torch | distributed, alone | most of a native step | most of a "
        "distributed one | memory, distributed | checkpoint | adding up, 2 processes |",
        "|--:|:-:|--:|--:|--:|---|---|--:|--:|--:|",
    ]
    latency, slope = model.adding(measured)
    base, each = memory(measured, "distributed")
    places = measured["places"][str(BATCH)]
    for layers, width in SHAPES:
        p = model.parameters(layers, width)
        parts = {e: model.terms(layers, width, places[e]) * model.fit(measured, e) for e in model.ENGINES}
        most = " | ".join(_most(parts[engine]) for engine in ("native", "distributed"))
        held = base + BYTES_A_PARAMETER * p + each * places["distributed"] * layers * width
        saved, seconds = 12 * p, 12 * p / measured["checkpoint_bytes_s"]
        together = 2 * latency + slope * p
        half = float(model.terms(layers, width, places["distributed"] / 2) @ model.fit(measured, "distributed"))
        steps = " | ".join(duration(parts[engine].sum()) for engine in model.ENGINES)
        lines.append(
            f"| {p:,} | {layers} x {width} | {steps} | "
            f"{most} | {size(held)} | {size(saved)}, {duration(seconds)} | "
            f"{duration(together)} ({together / (together + half):.0%} of a step) |"
        )
    return "\n".join(lines) + "\n"


def _most(parts: np.ndarray) -> str:
    return f"{NAMES[model.TERMS[int(parts.argmax())]]} ({parts.max() / parts.sum():.0%})"


def lists(measured: dict[str, Any]) -> str:
    """A row a length of list; what a word costs is the larger measurement's."""
    a_word = measured["lists"][str(max(model.WORDS))]
    lines = [
        "| words | read into memory | the list itself | in shards: read once | streamed, an epoch | shards on disk |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {n:,} | {duration(n * a_word['read_us'] / 1e6)} | {size(n * a_word['memory_bytes'])} | "
        f"{duration(n * a_word['survey_us'] / 1e6)} | {duration(n * a_word['stream_us'] / 1e6)} | "
        f"{size(n * a_word['disk_bytes'])} |"
        for n in LISTS
    ]
    found = ", ".join(
        f"{n:,} words: {values['read_us']:.2f} / {values['survey_us']:.2f} / {values['stream_us']:.2f}"
        for n, values in ((n, measured["lists"][str(n)]) for n in model.WORDS)
    )
    return "\n".join(lines) + f"\n\nMeasured, microseconds a word to read / read once in shards / stream: {found}.\n"


def grid(measured: dict[str, Any]) -> str:
    """One epoch on one core: the length of the list by the size of the model."""
    places, constants = measured["places"][str(BATCH)]["native"], model.fit(measured, "native")
    steps = [float(model.terms(layers, width, places) @ constants) for layers, width in SHAPES]
    heads = [f"{model.parameters(layers, width):,}" for layers, width in SHAPES]
    lines = ["| words | " + " | ".join(heads) + " |", "|--:|" + "--:|" * len(heads)]
    lines += [f"| {n:,} | " + " | ".join(duration(step * n / BATCH) for step in steps) + " |" for n in LISTS]
    return "\n".join(lines) + "\n"


def blocks() -> dict[str, str]:
    measured = json.loads(model.RESULTS.read_text(encoding="utf-8"))
    return {f"scale {f.__name__}": f(measured) for f in (check, models, lists, grid)}

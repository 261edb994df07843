"""What a run costs, as a model with few constants, and how well it holds: python -m scripts.scale_model

Prints what the model says next to what bench_scale.py measured. The tables of docs/scale.md are made here, too.

A step of an engine is

    dispatch + layers * layer + places * layers * width * pass + 6 * parameters * places * product + parameters * update

where places are what the engine computes: distinct beginnings of words (native) or padded positions (torch, and
distributed with one process: the same model without torch.func). The five constants are fitted, by relative error and
none below zero, to the points of FIT alone; CHECK holds larger models, which the fit has not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rungwise.config import ModelConfig
from rungwise.model.cost import n_parameters
from rungwise.util.files import read_json
from scripts import common
from scripts.bench_scale import CHECK, ENGINES, FILE, FIT, FLOATS, PEAKS, WORDS

TERMS = ("dispatch", "layers", "passes", "products", "update")
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


def parameters(layers: int, width: int) -> int:
    """Of the article's final model of this size, with 28 tokens."""
    return n_parameters(ModelConfig(28, 1, layers, n_head=1, n_embd=width))


def terms(layers: int, width: int, n_places: float) -> np.ndarray:
    p = parameters(layers, width)
    return np.array([1.0, layers, n_places * layers * width, 6.0 * p * n_places, p])


def fit(measured: dict[str, Any], engine: str) -> np.ndarray:
    """The five constants, in seconds."""
    from scipy.optimize import nnls

    y = np.array([measured["steps"][f"{engine} {point}"] for point in FIT])
    x = np.stack([terms(*point[:2], measured["places"][str(point[2])][engine]) for point in FIT])
    return nnls(x / y[:, None], np.ones(len(y)))[0]


def adding(measured: dict[str, Any], clock: str = "add_s") -> tuple[float, float]:
    """Two processes on one machine add up n floats in latency + n * slope seconds; of a process: add_cpu_s."""
    n, y = np.array(FLOATS, dtype=float), np.array([measured["two"][clock][str(n)] for n in FLOATS])
    slope, latency = np.polyfit(n, y, 1, w=1 / y)
    return max(float(latency), float(y.min())), float(slope)


def compared(measured: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What, measured seconds, the model's seconds. The last rows are those the fit has not seen."""
    rows = []
    for engine in ENGINES:
        constants = fit(measured, engine)
        for layers, width, batch in (*FIT, *CHECK):
            modelled = float(terms(layers, width, measured["places"][str(batch)][engine]) @ constants)
            seen = "" if (layers, width, batch) in FIT else ", not in the fit"
            what = f"{engine}, {layers} x {width}, batch {batch}: {parameters(layers, width):,} parameters{seen}"
            rows.append((what, measured["steps"][f"{engine} {(layers, width, batch)}"], modelled))
    layers, width, batch = measured["two"]["point"]
    latency, slope = adding(measured, "add_cpu_s")
    half = measured["places"][str(batch)]["distributed"] / 2
    modelled = float(terms(layers, width, half) @ fit(measured, "distributed"))
    modelled += latency * 2 + slope * parameters(layers, width)
    what = f"one of two processes, {layers} x {width}, batch {batch}, not in the fit"
    rows.append((what, measured["two"]["step_cpu_s"], modelled))
    return rows


# ------------------------------------------------------------------------------------------------------ the tables


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
    """Measured, and as the model has it."""
    rows = (
        (what, f"{seconds * 1000:.2f} ms", f"{modelled * 1000:.2f} ms", f"{modelled / seconds - 1:+.0%}")
        for what, seconds, modelled in compared(measured)
    )
    return common.table({"what": "---", "measured": "--:", "model": "--:", "off": "--:"}, rows)


def memory(measured: dict[str, Any], engine: str) -> tuple[float, float]:
    """A process's bytes without a model, and bytes an activation (places * layers * width), fitted to its peaks."""
    x, y = [], []
    for layers, width, batch in PEAKS:
        known = BYTES_A_PARAMETER * parameters(layers, width)
        x.append([1.0, measured["places"][str(batch)][engine] * layers * width])
        y.append(measured["peaks"][f"{engine} {(layers, width, batch)}"] - known)
    from scipy.optimize import nnls

    base, each = nnls(np.array(x), np.array(y))[0]
    return float(base), float(each)


def models(measured: dict[str, Any]) -> str:
    """A row a size of model."""
    latency, slope = adding(measured)
    base, each = memory(measured, "distributed")
    places, rows = measured["places"][str(BATCH)], []
    for layers, width in SHAPES:
        p = parameters(layers, width)
        parts = {e: terms(layers, width, places[e]) * fit(measured, e) for e in ENGINES}
        held = base + BYTES_A_PARAMETER * p + each * places["distributed"] * layers * width
        saved, seconds = 12 * p, 12 * p / measured["checkpoint_bytes_s"]
        together = 2 * latency + slope * p
        half = float(terms(layers, width, places["distributed"] / 2) @ fit(measured, "distributed"))
        rows.append(
            (
                f"{p:,}",
                f"{layers} x {width}",
                *(duration(parts[engine].sum()) for engine in ENGINES),
                *(_most(parts[engine]) for engine in ("native", "distributed")),
                size(held),
                f"{size(saved)}, {duration(seconds)}",
                f"{duration(together)} ({together / (together + half):.0%} of a step)",
            )
        )
    columns = {"parameters": "--:", "layers x width": ":-:", "native": "--:", "torch": "--:"}
    columns |= {"distributed, alone": "--:", "most of a native step": "---", "most of a distributed one": "---"}
    columns |= {"memory, distributed": "--:", "checkpoint": "--:", "adding up, 2 processes": "--:"}
    return common.table(columns, rows)


def _most(parts: np.ndarray) -> str:
    return f"{NAMES[TERMS[int(parts.argmax())]]} ({parts.max() / parts.sum():.0%})"


def lists(measured: dict[str, Any]) -> str:
    """A row a length of list; what a word costs is the larger measurement's."""
    a_word = measured["lists"][str(max(WORDS))]
    columns = ("words", "read into memory", "the list itself", "in shards: read once", "streamed, an epoch")
    rows = (
        (
            f"{n:,}",
            duration(n * a_word["read_us"] / 1e6),
            size(n * a_word["memory_bytes"]),
            duration(n * a_word["survey_us"] / 1e6),
            duration(n * a_word["stream_us"] / 1e6),
            size(n * a_word["disk_bytes"]),
        )
        for n in LISTS
    )
    shown = ", ".join(
        f"{n:,} words: {values['read_us']:.2f} / {values['survey_us']:.2f} / {values['stream_us']:.2f}"
        for n, values in ((n, measured["lists"][str(n)]) for n in WORDS)
    )
    lines = common.table(dict.fromkeys([*columns, "shards on disk"], "--:"), rows)
    return f"{lines}\nMeasured, microseconds a word to read / read once in shards / stream: {shown}.\n"


def grid(measured: dict[str, Any]) -> str:
    """One epoch on one core: the length of the list by the size of the model."""
    places, constants = measured["places"][str(BATCH)]["native"], fit(measured, "native")
    steps = [float(terms(layers, width, places) @ constants) for layers, width in SHAPES]
    columns = ["words", *(f"{parameters(layers, width):,}" for layers, width in SHAPES)]
    rows = ((f"{n:,}", *(duration(step * n / BATCH) for step in steps)) for n in LISTS)
    return common.table(dict.fromkeys(columns, "--:"), rows)


def blocks() -> dict[str, str]:
    measured = read_json(FILE)
    return {f"scale {f.__name__}": f(measured) for f in (check, models, lists, grid)}


def main() -> None:
    for what, measured, modelled in compared(read_json(FILE)):
        off = modelled / measured - 1
        print(f"{what}: measured {measured * 1000:.2f} ms, model {modelled * 1000:.2f} ms ({off:+.0%})")


if __name__ == "__main__":
    main()

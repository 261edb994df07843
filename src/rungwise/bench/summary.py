"""A benchmark's figures as text, and its ratios. No torch."""

from __future__ import annotations

from statistics import median
from typing import Any

TRAINED = {
    "scaled_8": ("scaled", 8),
    "scaled_1": ("scaled", 1),
    "dropout_1": ("dropout-5k", 1),
    "gelu_8": ("gelu", 8),
    "gelu_1": ("gelu", 1),
}
"""What is trained in every round: rung and replicas."""
RATIOS = {
    "train_ratio_makemore": ("scaled_8", "makemore", "scaled"),
    "train_ratio_makemore_one_seed": ("scaled_1", "makemore", "scaled"),
    "train_ratio_makemore_small": ("gelu_8", "makemore", "gelu"),
    "train_ratio_makemore_small_one_seed": ("gelu_1", "makemore", "gelu"),
    "train_ratio_microgpt_c": ("scaled_8", "microgpt_c", "scaled"),
    "generate_ratio_makemore": ("names", "makemore", "names"),
    "generate_ratio_microgpt_c": ("names", "microgpt_c", "names"),
}
"""Ours, who, theirs; above 1: we are faster."""
CLIMB_RATIO = "climb_ratio_makemore"
WHOLE = 5_000
"""Steps for which makemore trains its one model while the ladder is climbed."""


def ratios(measured: dict[str, dict[str, list[float]]], once: dict[str, Any]) -> dict[str, Any]:
    """Medians over rounds by name, None where not measured, and under "spread" their lowest, highest and number."""
    by_name = {}
    for name, (mine, who, theirs) in RATIOS.items():
        pairs = list(zip(measured["rungwise"][mine], measured.get(who, {}).get(theirs, []), strict=False))
        by_name[name] = [a / b if mine == "names" else b / a for a, b in pairs]
    for what, theirs in measured.get("eemicrogpt", {}).items():
        by_name[f"eemicrogpt, {what}"] = [b / a for a, b in zip(measured["rungwise"][what], theirs, strict=False)]
    steps = [once["makemore_full_ms"]] if "makemore_full_ms" in once else measured.get("makemore", {}).get("scaled", [])
    by_name[CLIMB_RATIO] = [ms * WHOLE / 1000 / once["climb"]["seconds_of_a_whole_climb"] for ms in steps]
    spread = {name: {"low": min(x), "high": max(x), "n": len(x)} for name, x in by_name.items() if x}
    return {**{name: median(x) if x else None for name, x in by_name.items()}, "spread": spread}


def about(values: list[float], digits: int = 2) -> str:
    """Median and what it spans."""
    low, middle, high = (f"{x:,.{digits}f}" for x in (min(values), median(values), max(values)))
    return f"{middle} ({low} to {high})" if len(values) > 1 else middle


def title(bench: dict[str, Any], what: str) -> str:
    rung, seeds = TRAINED[what]
    dropout = ", dropout" if rung == "dropout-5k" else ""
    return f"{bench['n_params']['rungwise'][rung]:,} parameters{dropout}, {seeds} seed{'s' * (seeds > 1)}"


def text(bench: dict[str, Any]) -> str:
    """All of it, a screen or two."""
    parts = [_machine(bench), _training(bench), _limits(bench), _rest(bench), _compared(bench)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _machine(bench: dict[str, Any]) -> list[str]:
    m = bench["machine"]
    return [
        f"{m['cpu']}; {m['cores']} cores; {', '.join(m['caches'])}; {m['memory_gb']} GB; {m['system']}",
        f"rungwise {m['rungwise']}, torch {m['torch']}, numpy {m['numpy']}, Python {m['python']}",
        f"Engine {bench['engine']}, list {bench['data']}, protocol {bench['protocol']}, one thread a core; "
        f"medians of {bench['rounds']} interleaved rounds (lowest to highest)",
    ]


def _training(bench: dict[str, Any]) -> list[str]:
    lines, mine, tokens = ["Training, ms a step and seed"], bench["measured"]["rungwise"], bench["work"]["tokens"]
    for what in TRAINED:
        speed = tokens / median(mine[what]) * 1000
        lines.append(f"  {title(bench, what):42} {about(mine[what])}; {speed:,.0f} real tokens a second")
    cost = [d / s - 1 for d, s in zip(mine["dropout_1"], mine["scaled_1"], strict=True)]
    lines.append(f"  dropout costs {about([100 * x for x in cost], 0)} % of a step")
    return lines


def _limits(bench: dict[str, Any]) -> list[str]:
    work, limits = bench["work"], bench["limits"]
    ms = median(bench["measured"]["rungwise"]["scaled_1"])
    core = limits.get("multiply_add_peak_gflops")  # older measurements, and those without the native engine, have none
    peak, of_what = core or limits["sgemm_peak_gflops"], "the core's multiply-add" if core else "torch's sgemm"
    least = work["mflop"] / peak
    state_ms = limits["state_mb"] * 7 / 4 * 2**20 / limits["copy_state_gb_s"] / 1e6  # 4 read, 3 written of 4 arrays
    return [
        "Limits of that step of one seed, one thread",
        f"  arithmetic: {work['mflop']:,.0f} MFLOP of products over the {work['rows']:.0f} distinct beginnings of "
        f"{work['tokens']:.0f} real tokens",
        f"    at {of_what} peak ({peak:.0f} GFLOP/s{'' if core else ', 1024 x 1024'}): {least:.2f} ms; we reach "
        f"{least / ms:.0%} of it",
        f"    torch's sgemm on these very products, without attention's: {limits['products_ms']:.2f} ms",
        f"  memory: a large copy moves {limits['copy_memory_gb_s']:.0f} GB/s, one of the size of parameters, gradient "
        f"and moments ({limits['state_mb']:.1f} MB) {limits['copy_state_gb_s']:.0f} GB/s",
        f"    AdamW's reading and writing at that speed: {state_ms:.2f} ms",
    ]


def _rest(bench: dict[str, Any]) -> list[str]:
    climb, names = bench["climb"], bench["measured"]["rungwise"]["names"]
    whole = "estimated from its steps' speed" if climb["estimated"] else "measured"
    peak, workers = climb["peak_memory_mb"], bench["workers_peak_mb"]
    return [
        f"Generation: {about(names, 0)} names a second, {bench['mean_length']['rungwise']:.1f} characters each",
        f"Start-up: rungwise --help {bench['help_cpu_seconds']:.2f} s of CPU; first step done after "
        f"{bench['first_step_seconds']:.1f} s",
        f"Climb of {climb['rungs']}, {climb['seeds']} seeds: {climb['seconds_of_a_whole_climb']:.0f} s ({whole}); peak "
        f"memory {f'{peak:,.0f} MB, all processes together' if peak else 'not known on this system'}",
        *([f"Memory of a training process: {max(workers):,.0f} MB at most"] if workers else []),
    ]


def _compared(bench: dict[str, Any]) -> list[str]:
    names = {
        **{name: title(bench, mine) for name, (mine, _, _) in RATIOS.items() if mine != "names"},
        "generate_ratio_makemore": "names a second",
        "generate_ratio_microgpt_c": "names a second",
        CLIMB_RATIO: f"its {WHOLE:,} steps of one model / our whole climb",
    }
    lines = []
    for who in ("makemore", "microgpt_c", "eemicrogpt"):
        if who not in bench["measured"]:
            continue
        lines.append(f"Compared with {who.replace('_', '-')} (ratios, above 1: we are faster)")
        for name, spread in bench["spread"].items():
            if who in name:
                shown = f"{bench[name]:.2f}x ({spread['low']:.2f} to {spread['high']:.2f}, n = {spread['n']})"
                lines.append(f"  {names.get(name, name):54} {shown}")
        for what, values in bench["measured"][who].items():
            unit = "us a word" if who == "eemicrogpt" else "names a second" if what == "names" else "ms a step"
            if who == "eemicrogpt":
                unit += f", ours {about(bench['measured']['rungwise'][what])}"
            lines.append(
                f"  {who.replace('_', '-')} itself, {what}: {about(values, 0 if what == 'names' else 2)} {unit}"
            )
    return lines + notes(bench) if lines else []


def notes(bench: dict[str, Any]) -> list[str]:
    """How the projects that are compared differ."""
    lines, params = [], bench["n_params"]
    if params["makemore"]:
        theirs = ", ".join(f"{n:,}" for n in params["makemore"].values())
        lines += [
            f"  makemore's own script, as many threads as it takes, {theirs} parameters (positions as parameters, "
            "a final norm); the step times that it prints, without evaluation and samples.",
            "  Its generate() draws all places of every word; ours leaves a word at its end.",
        ]
        if "makemore_full_ms" not in bench:
            lines.append(f"  Its {WHOLE:,} steps are extrapolated from its step time; --full runs them.")
    if params["microgpt_c"]:
        lines += [
            f"  microgpt-c: {params['microgpt_c']['scaled']:,} parameters (no biases, RMSNorm without weights, ReLU, "
            "positions as parameters), built by its own CMake with our sizes and temperature 1; a process a core side "
            f"by side, times by its own clock, waiting added; its names have {bench['mean_length']['microgpt_c']:.1f} "
            "characters. It draws one word after the other.",
        ]
    if params.get("eemicrogpt"):  # older measurements have none
        theirs = ", ".join(f"{n:,}" for n in params["eemicrogpt"].values())
        lines += [
            f"  eemicrogpt: {theirs} parameters (one block, no biases, RMSNorm without weights, once more before the "
            "block, ReLU, positions as parameters), the program as its user built it; one process and one thread each; "
            "the average step that it prints, drawing of batches included, as in ours.",
        ]
    return lines

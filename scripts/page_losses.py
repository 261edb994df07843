"""How far runs in the page part from native ones, and native ones from each other: python -m scripts.page_losses

Every rung trains on given-names in Chromium and with the native engine, which is compiled several times: as it is on
this machine, with shorter vectors, and without fused multiply-add. Builds of one source differ in rounding alone, so
what parts them is what parts the page. Writes results/performance/page-losses.json: the largest difference of a step's
loss, of which write_docs.py makes a table.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.engine.loop import train
from rungwise.engine.native_engine import NativeEngine
from rungwise.ladder import RUNGS, TRANSFORMERS, Rung
from rungwise.play import speed
from rungwise.play.page import build
from rungwise.play.trainable import EMPTY_PROTOCOL, empty
from rungwise.util.files import read_json
from rungwise.util.provenance import describe_machine
from scripts import common

FILE = common.PERFORMANCE / "page-losses.json"
STEPS = 1000
TOLERANCE = 1e-5
"""Nats a scored token: how near the losses of the page come to the command line's where rounding does not part runs."""
NATIVE = ""
BUILDS = {
    "vectors of 8 floats": "-march=x86-64-v3",
    "no fused multiply-add": "-ffp-contract=off",
    "vectors of 4 floats, no fused multiply-add": "-march=x86-64-v2",
}
"""CXXFLAGS of the native engine, to be compared with what it is without any."""


def natively(rung: Rung, steps: int, flags: str = NATIVE, seed: int = 0) -> np.ndarray:
    """Losses before each step, (steps,) nats a scored token, with the native engine as these CXXFLAGS make it."""
    listed, protocol = words.load("given-names"), get_protocol(EMPTY_PROTOCOL)
    tape = Tape.of(listed, words.split(listed, protocol).train, protocol)
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    losses: list[np.ndarray] = []
    with _compiled(flags):
        engine = NativeEngine(model, rung.trained(steps), tape, (seed,))
        train(engine, rung.trained(steps), lambda _, block: losses.append(block[:, 0]))
    return np.concatenate(losses)


@contextmanager
def _compiled(flags: str) -> Iterator[None]:
    before = os.environ.get("CXXFLAGS")
    os.environ["CXXFLAGS"] = flags
    try:
        yield
    finally:
        del os.environ["CXXFLAGS"]
        if before is not None:
            os.environ["CXXFLAGS"] = before


def in_the_page(rungs: Sequence[str], steps: int) -> tuple[dict[str, np.ndarray], str]:
    """{rung: losses (steps,)} of runs side by side in Chromium, under seed 0; and its version."""
    with tempfile.TemporaryDirectory() as folder, speed.chromium() as browser:
        path = Path(folder) / "page.html"
        path.write_text(build(empty()), encoding="utf-8")
        page = speed.trained(browser, path, rungs, steps)
        return {name: np.array(page.evaluate("name => rungwise.losses(name)", name)) for name in rungs}, browser.version


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of a step's loss."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


def measure(rungs: Sequence[str], steps: int) -> dict[str, Any]:
    found: dict[str, dict[str, float]] = {}
    paged, version = in_the_page(rungs, steps)
    for name in rungs:
        native = natively(RUNGS[name], steps)
        others = {build: natively(RUNGS[name], steps, flags) for build, flags in BUILDS.items()}
        found[name] = {"page": apart(paged[name], native)}
        found[name] |= {build: apart(losses, native) for build, losses in others.items()}
        print(name, {key: f"{value:.1e}" for key, value in found[name].items()}, flush=True)
    return {"steps": steps, "apart": found, "chromium": version, "machine": describe_machine()}


def parting(apart: Mapping[str, float]) -> float:
    """How far two native builds came apart at most."""
    return max(apart[build] for build in BUILDS)


def allowed(name: str) -> float:
    """How far a step's loss in the page may be from the command line's: nothing but rounding may part them."""
    found = read_json(FILE)["apart"]
    most = parting(found[name]) if name in found else 0.0
    return TOLERANCE if most < TOLERANCE else 2 * most


def table() -> str:
    """The rungs whose runs part, a row each, and how near all others come."""
    found = read_json(FILE)
    far = {name: apart for name, apart in found["apart"].items() if parting(apart) >= TOLERANCE}
    near = [apart for name, apart in found["apart"].items() if name not in far]
    columns = {"rung": "---", "the page": "--:"} | {f"native, {build}": "--:" for build in BUILDS}
    rows = [(RUNGS[name].title, *(f"{apart[key]:.4f}" for key in ("page", *BUILDS))) for name, apart in far.items()]
    page, native = max(apart["page"] for apart in near), max(map(parting, near))
    return common.table(columns, rows) + (
        f"\nThe largest difference of a step's loss from that of the native engine as it is compiled here, nats a "
        f"character, over {found['steps']:,} steps on given-names; Chromium {found['chromium']}; "
        f"{found['machine']['cpu']}. In the other {len(near)} rungs the page comes within {page:.0e} of it, the other "
        f"native builds within {native:.0e}.\n"
    )


def main() -> None:
    out = common.parser(__doc__, FILE).parse_args().out
    common.keep(out, measure(list(TRANSFORMERS), STEPS))


if __name__ == "__main__":
    main()

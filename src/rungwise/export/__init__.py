"""Trained models in other people's formats: one run directory in, one new directory out, checked as it is written.

Every format is a file of this folder with a function `write(run, folder)`: it writes its files, has the format's own
library read them back, and returns a `Made`, which has the largest difference of the logits.
Imports experiment, training and what lies below.
"""

import importlib
from pathlib import Path
from typing import Literal

from rungwise.export.card import model_card
from rungwise.export.check import Made
from rungwise.training.run_dir import load as load_run
from rungwise.util.files import new_folder, require_utf8, write_text
from rungwise.util.loading import need

Format = Literal["onnx", "hf"]
PACKAGES: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "hf": ("transformers", "tokenizers"),
}
"""What each format takes; the extra that brings them has the format's name."""


def export(run_dir: Path, to: Format, out: Path | None = None) -> tuple[Path, Made]:
    """Write a run in another format to `out` (default: a folder in the run's directory, named as the format)."""
    for package in PACKAGES[to]:
        need(package, f"--format {to} needs", to)
    run, out = load_run(run_dir), out or run_dir / to
    if to == "hf":
        require_utf8(out, "transformers")
    with new_folder(out) as folder:
        made: Made = importlib.import_module(f"rungwise.export.{to}").write(run, folder)
        write_text(folder / "README.md", model_card(run, run_dir, made))
    return out, made

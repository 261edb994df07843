"""The notebook runs from top to bottom, on a few steps; that it is as generated, test_docs.py says."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from rungwise.ladder import select

NOTEBOOK = Path(__file__).parent.parent / "notebooks/step_by_step.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    """An error in a cell is raised here. Each rung shows its code, its table, its picture and ten names."""
    monkeypatch.setenv("RUNGWISE_NOTEBOOK_STEPS", "17")
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {cell.source: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    for rung in select("article"):
        outputs = shown[f'climb_to("{rung.name}")']
        table, picture = outputs[0].data["text/markdown"], outputs[1].data["image/png"]
        assert f"| {rung.title} |" in table
        assert rung.published and f"{rung.published.n_params:,}" in table  # with 26 letters, as both lists have
        assert len(picture) > 10_000
        assert outputs[2].text.startswith("Ten names")
    assert sum("image/png" in getattr(o, "data", {}) for outputs in shown.values() for o in outputs) == 9
    assert "class RoPE(" in str(shown["source(layers.RoPE)"])

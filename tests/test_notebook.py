"""The notebook runs from top to bottom, on a few steps, without anything but PyTorch and matplotlib."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient
from scripts import notebook

from rungwise.ladder import select


def test_the_notebook_runs(tmp_path, monkeypatch):
    """An error in a cell is raised here. Each rung prints its parameters, its loss and ten names."""
    monkeypatch.setenv("RUNGWISE_NOTEBOOK_STEPS", "5")
    book = nbformat.reads(notebook.as_text(notebook.notebook()), as_version=4)
    nbformat.validate(book)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    for rung in select("article"):
        assert rung.published and f"{rung.title}: {rung.published.n_params:,} parameters" in printed
    assert printed.count("Ten names:") == 8
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs) == 2
    imported = "".join(cell.source for cell in cells)
    assert imported.count("rungwise") == 3  # only where its list of names is taken, if it is installed

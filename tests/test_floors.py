"""Rooms import downward only, and no file is in a circle of imports: every file under src/, every kind of import."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys

import pytest
from scripts import floors

FLOOR = {name: number for number, floor in enumerate(floors.FLOORS) for name in floor}


def test_every_file_has_its_floor() -> None:
    assert {floors.room(module) for module in floors.modules()} == set(FLOOR)


@pytest.mark.parametrize("module", floors.modules())
def test_a_room_imports_only_from_floors_below(module: str) -> None:
    own = floors.room(module)
    upward = [other for other in floors.imports(module) if floors.room(other) not in ("__init__", own)]
    assert [other for other in upward if FLOOR[floors.room(other)] >= FLOOR[own]] == []


def test_no_file_is_in_a_circle_of_imports() -> None:
    graph = {module: floors.imports(module) - {floors.PACKAGE} for module in floors.modules()}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import rungwise.data.words", "data.words"),
        ("def f():\n    from rungwise.data import words", "data.words"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rungwise.data.words import WordList",
            "data.words",
        ),
        ("from .words import WordList", "data.words"),
        ("import importlib\nimportlib.import_module('rungwise.data.words')", "data.words"),
        ("COMMANDS = {'data': 'rungwise.data.words:load'}", "data.words"),
    ],
)
def test_every_kind_of_import_is_seen(text: str, expected: str, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "rungwise" / "data"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py", folder / "words.py"):
        path.write_text("")
    (folder / "asking.py").write_text(text)
    monkeypatch.setattr(floors, "SRC", tmp_path)
    floors.imports.cache_clear()
    assert floors.imports("rungwise.data.asking") == {f"rungwise.{expected}"}
    floors.imports.cache_clear()


def test_functions_can_be_held_in_ones_head_and_no_type_is_ignored() -> None:
    lines: dict[str, int] = {}
    for module, path in floors.modules().items():
        text = path.read_text(encoding="utf-8")
        assert "type: ignore" not in text, module
        functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        lines |= {f"{module}.{f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert {name: n for name, n in lines.items() if n > 50} == {}


def test_each_room_says_what_it_holds_and_may_import() -> None:
    """One paragraph in each folder's __init__.py."""
    for module, path in floors.modules().items():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            assert len(text) > 60, module
            if module != floors.PACKAGE and module.count(".") == 1:
                assert "mport" in text, f"{module} does not say what it may import"


NO_TORCH = ("errors", "config", "util", "data", "ladder", "analysis", "judge", "report")


@pytest.mark.parametrize("module", [m for m in floors.modules() if floors.room(m) in NO_TORCH] + ["rungwise.cli.main"])
def test_what_only_reads_and_shows_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

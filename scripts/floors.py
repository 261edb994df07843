"""The floors of src/rungwise, lowest first, and what its files import: for their test and for floors_picture.py.

A room is a folder or a file at the top of the package. A room imports only rooms on floors below its own, and rooms on
one floor import nothing of each other. Inside a room, files import each other without a circle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"
PACKAGE = "rungwise"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("config", "util"),
    ("data", "model"),
    ("ladder",),
    ("engine",),
    ("inference", "judge"),
    ("training",),
    ("experiment",),
    ("analysis",),
    ("bench", "export", "play", "report"),
    ("api",),
    ("cli",),
    ("__init__", "__main__"),
)


def modules() -> dict[str, Path]:
    """Every Python file of the package, by its dotted name."""
    paths = {}
    for path in sorted((SRC / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def room(module: str) -> str:
    """The room of a module: rungwise.data.words is in data."""
    _, _, inside = module.partition(".")
    return inside.split(".")[0] or "__init__"


@cache
def imports(module: str) -> frozenset[str]:
    """The package's modules that a module imports: at its top, in functions, for type checkers, by name in a string."""
    there = modules()
    return frozenset(
        name
        for node in ast.walk(ast.parse(there[module].read_text(encoding="utf-8")))
        for name in _named(node, module, there)
        if name != module
    )


def _named(node: ast.AST, module: str, there: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (_module(alias.name, there) for alias in node.names if _ours(alias.name))
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:  # relative
            package = module if there[module].name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
        if _ours(base):
            yield from (_module(f"{base}.{alias.name}", there) for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        named = re.fullmatch(rf"({PACKAGE}(?:\.\w+)+)(?::\w+)?", node.value)  # "rungwise.cli.climb:climb"
        if named and named[1] in there:
            yield named[1]


def _ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


def _module(name: str, there: dict[str, Path]) -> str:
    """The module that an imported name is, or is defined in."""
    while name not in there:
        name = name.rpartition(".")[0]
    return name


def arrows() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Which rooms import which: {(importing room, imported room): {(importing module, imported module), ...}}."""
    pairs: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for module in modules():
        for other in imports(module):
            if room(other) not in ("__init__", room(module)):
                pairs.setdefault((room(module), room(other)), set()).add((module, other))
    return pairs

"""The house keeps its order: who may import whom, and what answers without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/rungwise"
ROOMS = sorted(SOURCE.rglob("*.py"))
ENGINE = {
    "config",
    "hints",
    "rules",
    "words",
    "counts",
    "layers",
    "model",
    "batches",
    "evaluate",
    "train",
    "engines",
    "torch_engine",
    "native_engine",
    "compiling",
    "masks",
    "progress",
    "drawing",
    "generate",
    "runs",
    "native",
    "files",
    "hashing",
    "distributed",
    "world",
    "shards",
    "stream",
    "known",
    "sources",
}
LABORATORY = {
    f"lab.{room}" for room in ("ladder", "stats", "collect", "evidence", "findings", "report", "tables", "results")
}
NO_TORCH = {"config", "hints", "rules", "words", "counts", "cli", "commands", "shards", "stream"} | LABORATORY


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Rooms of ours that a file imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rungwise"):
            inner = node.module.removeprefix("rungwise").removeprefix(".")
            found |= {inner} if inner and inner != "lab" else {f"{inner}.{a.name}".strip(".") for a in node.names}
    return found


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_the_engine_never_imports_laboratory_or_leaves(path):
    if name_of(path).split(".")[0] in ENGINE:
        outside = {room for room in imports(path) if room.split(".")[0] not in ENGINE}
        assert not outside, f"{name_of(path)} imports {outside}"


@pytest.mark.parametrize("room", sorted(NO_TORCH & {name_of(path) for path in ROOMS}))
def test_answers_without_torch(room):
    code = f"import sys, rungwise.{room}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_import_graph_has_no_cycles_in_the_engine():
    graph = {name_of(p): {i for i in imports(p) if i in ENGINE} for p in ROOMS if name_of(p) in ENGINE}

    def visit(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, f"{' -> '.join([*path, room])}"
        for below in graph.get(room, ()):
            visit(below, (*path, room))

    for room in graph:
        visit(room, ())

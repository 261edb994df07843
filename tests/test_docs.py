"""README and documentation say what the code does: their commands run, their numbers are generated."""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import floors, floors_picture, write_docs

from conftest import make_words
from rungwise.cli.main import main, parse
from rungwise.ladder import RUNGS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
FLOOR_NAMES = [name for floor in floors.FLOORS[:-1] for name in floor]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    """Lines of the README's shell blocks that call rungwise."""
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("rungwise "):
                yield line.split("#")[0].strip()


def test_the_readmes_commands_run(tmp_path, monkeypatch, capsys):
    """In their order, in an empty folder, on a list of one's own; training is cut to a few steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towns.txt").write_text("".join(f"{word}\n" for word in make_words()), encoding="utf-8")
    found = list(commands())
    assert len(found) >= 3
    for command in found:
        _, verb, *options = shlex.split(command)
        options = [option.replace("runs/names-article", "runs/towns-article-3") for option in options]
        short = {"train": ["--steps", "3"], "climb": ["--steps", "3", "--seeds", "2"]}.get(verb, [])
        main([verb, *options, *short])
        if verb == "sample":
            assert len(capsys.readouterr().out.splitlines()) == 20
        capsys.readouterr()


def test_generated_documentation_is_what_the_code_generates():
    for path, text in write_docs.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run python -m scripts.write_docs"


MADE = {ROOT / page for page in re.findall(r"--out (docs/\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))}
"""Pages that `make docs` writes for the site."""
MARKDOWN = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_in_the_documentation_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (path.parent / target).exists() or path.parent / target in MADE, target


def test_every_home_and_format_was_measured_and_agrees():
    """What docs/export.md quotes: no row is missing, logits agree to 1e-5, and words are equal without exception."""
    from rungwise.export.homes import HOMES

    rows = {
        row["to"]: row for row in json.loads((ROOT / "results/round-trips.json").read_text(encoding="utf-8"))["rows"]
    }
    fits = {f"{home.name}, rung {name}" for home in HOMES for name, r in RUNGS.items() if not home.unmet(r.model)}
    assert fits | {"run directory", "ONNX, rung gelu", "TensorBoard", "makemore, its own transformer"} <= rows.keys()
    for row in rows.values():
        assert row["error"] <= 1e-5, row
        assert row["spelled"] is None or row["spelled"][0] == row["spelled"][1] > 100, row


@pytest.mark.long
def test_the_round_trips_are_measured_by_the_script(tmp_path):
    """Short, without the peer that is not ours to ship."""
    line = [sys.executable, "-m", "scripts.round_trips", "--steps", "20", "--out", str(tmp_path / "found.json")]
    subprocess.run(line, check=True, capture_output=True)
    committed = json.loads((ROOT / "results/round-trips.json").read_text(encoding="utf-8"))["rows"]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["rows"]
    assert [row["to"] for row in found] == [row["to"] for row in committed if "makemore" not in row["to"]]
    assert all(row["error"] <= 1e-5 for row in found)


# ------------------------------------------------------- what docs/architecture.md and CONTRIBUTING.md name exists

GUIDES = ["docs/architecture.md", "CONTRIBUTING.md"]
FILE = r"[\w/.-]+\.(?:py|js|cpp|h|md|toml|svg|j2)"


def prose(path):
    """A guide as one line a paragraph, without its blocks of code."""
    text = re.sub(r"```.*?```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    return [re.sub(r"\s+", " ", paragraph) for paragraph in re.split(r"\n\n|\n(?=\d+\. |- )", text)]


def located(file, folder=""):
    """Where a guide's file lies: in the room that the paragraph is about, in the package, or in the repository."""
    package = ROOT / "src/rungwise"
    places = [package / folder / file, *(package / folder).glob(f"*/{file}")] if folder else []
    return next((path for path in [*places, package / file, ROOT / file, ROOT / "docs" / file] if path.exists()), None)


def definitions(path):
    """Names that a file defines: functions, classes, fields and variables, alone and with their class before them."""
    if path.suffix != ".py":
        return set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    found = set()

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                names.append(child.name)
                walk(child, f"{prefix}{child.name}.")
            found.update(f"{prefix}{name}" for name in names)

    walk(ast.parse(path.read_text(encoding="utf-8")), "")
    return found | {name.rpartition(".")[2] for name in found}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_file_that_a_guide_names_exists(guide):
    named = 0
    for paragraph in prose(guide):
        room = re.match(r"\*\*`(\w+)/`\*\*", paragraph)
        for file in re.findall(rf"`({FILE}|[\w/]+/)`", paragraph):
            assert located(file, room[1] if room else "") or "results.jsonl" in file, f"{guide} names {file}"
            named += 1
    assert named > 15


@pytest.mark.parametrize("guide", GUIDES)
def test_every_function_that_a_guide_names_is_in_its_file(guide):
    """`name` in `file`, or `name` (`file`); a name alone is somewhere in the package or in scripts/."""
    everywhere = {*RUNGS}
    for path in [*(ROOT / "src/rungwise").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        everywhere |= {path.stem} | definitions(path)
    for paragraph in prose(guide):
        for name, file in re.findall(rf"`([\w.]+)` (?:in |\()`({FILE})`", paragraph):
            assert name in definitions(located(file)), f"{guide}: {name} is not in {file}"
        for name in re.findall(r"`([A-Za-z_]\w*(?:\.\w+)*)`", paragraph):
            if not re.fullmatch(FILE, name) and not name.startswith("rungwise"):
                assert name in everywhere, f"{guide}: nothing is called {name}"


def test_the_architecture_names_every_file_in_the_paragraph_of_its_room():
    paragraphs = {}
    for paragraph in prose("docs/architecture.md"):
        if room := re.match(r"\*\*`(\w+(?:/|\.py))`\*\*", paragraph):
            paragraphs[room[1].rstrip("/")] = paragraph
    for path in sorted([*(ROOT / "src/rungwise").rglob("*.py"), *(ROOT / "src/rungwise").rglob("*.js")]):
        room = path.relative_to(ROOT / "src/rungwise").parts[0]
        if not path.name.startswith("__"):
            assert f"`{path.name}`" in paragraphs.get(room, ""), f"docs/architecture.md, {room}: no {path.name}"


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_that_a_guide_gives_exist(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    for name in re.findall(r"python -m scripts\.([a-z_]+)", text):
        assert (ROOT / f"scripts/{name}.py").exists(), name
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("rungwise "):
                parse(shlex.split(line.split("#")[0])[1:])  # SystemExit where a flag is unknown


def test_the_picture_shows_every_room_and_what_it_imports():
    """An arrow is drawn, or follows from those that are; none is drawn that no file imports."""
    drawn = set(floors_picture.needed())

    def reached(room):
        return {b for a, b in drawn if a == room}.union(*(reached(b) for a, b in drawn if a == room))

    imported = {pair for pair in floors.arrows() if not pair[0].startswith("__")}
    assert drawn <= imported <= {(a, b) for a in FLOOR_NAMES for b in reached(a)}
    picture = (ROOT / "docs/floors.svg").read_text(encoding="utf-8")
    assert picture.count("marker-end") == len(drawn)
    for name in FLOOR_NAMES:
        assert f">{name}/<" in picture or f">{name}.py<" in picture, name

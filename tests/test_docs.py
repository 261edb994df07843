"""README and documentation say what the code does: their commands run, their numbers are generated."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import write_docs

from conftest import make_words
from rungwise.cli.main import main, parse
from rungwise.ladder import select
from rungwise.play.collect import CHAPTERS

ROOT = Path(__file__).parent.parent
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


def test_every_chapter_that_the_page_links_to_is_there():
    assert set(write_docs.chapters.CHAPTERS) == set(CHAPTERS)


def test_what_the_chapters_try_can_be_tried():
    for name, chapter in write_docs.chapters.CHAPTERS.items():
        for command in chapter.tries:
            given = parse(shlex.split(command)[1:])
            assert not hasattr(given, "rungs") or name in [rung.name for rung in select(given.rungs)], command


def test_generated_documentation_is_what_the_code_generates():
    for path, text in write_docs.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run python -m scripts.write_docs"


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/lab-notes.md",
        "docs/export.md",
        "docs/scale.md",
        "CHANGELOG.md",
        "LICENSE",
    ],
)
def test_links_in_the_documentation_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert ((ROOT / path).parent / target).exists(), target


def test_every_home_and_format_was_measured_and_agrees():
    """What docs/export.md quotes: no row is missing, logits agree to 1e-5, and words are equal without exception."""
    from rungwise.export.homes import HOMES
    from rungwise.ladder import RUNGS

    rows = {row["to"]: row for row in json.loads((ROOT / "results/round-trips.json").read_text(encoding="utf-8"))["rows"]}
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


def named(text: str) -> list[tuple[str, str]]:
    """`function` in room/file.py, as the walks have it."""
    return re.findall(r"`([A-Za-z_.]+)` (?:in |\()\s*([a-z_]+/[a-z_]+\.py)", re.sub(r"\s+", " ", text))


def test_the_architecture_names_every_file_and_what_it_names_is_there():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "src/rungwise").rglob("*.py")):
        room = path.relative_to(ROOT / "src/rungwise")
        if not room.name.startswith("__") and room.parts[0] not in ("play", "export"):
            assert room.name in text, f"docs/architecture.md does not name {room}"
    found = named(text)
    assert len(found) > 15
    for name, file in found:
        source = (ROOT / "src/rungwise" / file).read_text(encoding="utf-8")
        assert re.search(rf"(def|class) {name.split('.')[-1]}\b", source), (name, file)

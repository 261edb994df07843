"""What `pip install` gives: the built archives hold what they should, and the installed package works without us."""

from __future__ import annotations

import ast
import email
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
EXTRAS = {"browser", "hf", "judge", "molecules", "onnx", "track", "ray", "stream", "graphemes", "dev"}
NOT_IN_DEV = {"rdkit"}  # 164 MB: its tests run where it is installed


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel, made from the sdist as an installer would, and the sdist."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def ours() -> set[str]:
    """Every file of the package as git knows it: modules, scripts of the page, C++, templates, lists, py.typed."""
    listed = subprocess.run(["git", "ls-files", "-z", "src/rungwise"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("no git checkout")
    return {name.removeprefix("src/") for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    held = {name for name in zipfile.ZipFile(built[0]).namelist() if ".dist-info/" not in name}
    assert (
        held >= ours() >= {"rungwise/py.typed", "rungwise/engine/native/engine.cpp", "rungwise/report/report.html.j2"}
    )
    assert {name.partition("/")[0] for name in held} == {"rungwise"}
    assert {Path(name).suffix for name in held} <= {Path(name).suffix for name in ours()}


def test_the_sdist_holds_what_the_wheel_is_made_of(built):
    with tarfile.open(built[1]) as archive:
        sizes = {member.name.partition("/")[2]: member.size for member in archive.getmembers() if member.isfile()}
    besides = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore", "hatch_build.py"}
    assert sizes.keys() >= {f"src/{name}" for name in ours()} | (besides - {".gitignore"})
    assert {name for name in sizes if not name.startswith("src/rungwise/")} <= besides
    assert sum(sizes.values()) < 2e6


def test_extras_are_named_and_what_they_ask_for_is_what_we_test_with(built):
    archive = zipfile.ZipFile(built[0])
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    about = email.message_from_bytes(archive.read(name))
    assert set(about.get_all("Provides-Extra", [])) == EXTRAS
    for line in about.get_all("Requires-Dist", []):
        wanted = Requirement(line)
        if wanted.name not in {"rungwise", *NOT_IN_DEV}:  # dev asks for the other extras
            assert wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True), line
    assert about["License-Expression"] == "MIT"
    assert about["Requires-Python"] == ">=3.11"


def imported() -> set[str]:
    """Every package that a file of ours imports, in a function or for type checkers, too."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"rungwise", "__future__"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {Requirement(line).name.replace("-", "_") for line in project["dependencies"]}
    optional = {Requirement(line).name for name in EXTRAS - {"dev"} for line in project["optional-dependencies"][name]}
    assert imported() <= required | optional | {"triton"}  # which torch brings for a GPU
    assert required <= imported(), "a dependency that nothing imports"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(built[0])], check=True, timeout=600)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = sysconfig.get_path("purelib")
    (site / "lent.pth").write_text(f"{lent}\n")  # a plain path: the .pth of an editable rungwise there is not read
    return folder / "bin"


@pytest.mark.long
def test_the_installed_package_works_in_an_empty_folder(installed, tmp_path):
    outside = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RUNGWISE_DATA_DIR")}
    work, cache = tmp_path / "work", tmp_path / "cache"
    work.mkdir()

    def ran(*command: str) -> str:
        environment = {**outside, "XDG_CACHE_HOME": str(cache)}
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    rungwise, python = str(installed / "rungwise"), str(installed / "python")
    where = ran(python, "-c", "import rungwise; print(rungwise.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    for command in ([rungwise], [python, "-m", "rungwise"]):
        assert "climb" in ran(*command, "--help")
    ran(rungwise, "train", "--data", "given-names", "--rung", "baseline", "--steps", "20", "--out", "one")
    assert len(ran(rungwise, "sample", "one", "-n", "5").splitlines()) == 5
    ran(rungwise, "climb", "--data", "given-names", "--rungs", "baseline,2-heads", "--seeds", "2", "--steps", "20")
    (climbed,) = (work / "runs").iterdir()
    ran(rungwise, "report", str(climbed))
    ran(rungwise, "play", str(climbed))
    for page in ("report.html", "play.html"):
        assert "</html>" in (climbed / page).read_text(encoding="utf-8")
    why_not = ran(python, "-c", "from rungwise.engine import native; print(native.why_not())").strip()
    assert (why_not == "None") == bool(list(cache.glob("rungwise/engine-*.so")))  # compiled from the installed sources
    result = json.loads((climbed / "results.jsonl").read_text().splitlines()[0])
    assert result["git_revision"] is None

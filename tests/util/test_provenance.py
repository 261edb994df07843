"""Results tell the revision of the source that made them, and never that of somebody else's repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rungwise
from rungwise.util.provenance import describe_machine, provenance

git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


@git
@pytest.mark.parametrize(("place", "known"), [("src", True), ("lib", False)])
def test_the_revision_is_known_where_the_source_is_a_checkout(tmp_path, place, known):
    """And not where the package was installed into another project's repository."""
    shutil.copytree(Path(rungwise.__file__).parent, tmp_path / place / "rungwise")
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    code = "from rungwise.util.provenance import provenance; print(provenance()['git_revision'])"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / place), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == (head[:12] if known else "None")


def test_versions_are_the_same_wherever_they_are_told():
    machine, versions = describe_machine(), provenance()["versions"]
    assert versions.keys() == {"python", "rungwise", "torch", "numpy"}
    assert {name: machine[name] for name in versions} == versions
    assert machine["cores"] >= 1 and machine["memory_gb"] > 0

"""The command line that users have: each command, its flags, their types and defaults. And that options are data."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from helpers import command
from rungwise.cli import options
from rungwise.cli.main import COMMANDS

FROZEN = json.loads((Path(__file__).parent / "command_line.json").read_text(encoding="utf-8"))
"""{command: {flag and type: default, "required", or None where help names none}}, of version 0.1.0 and since."""


def flags(help_: str) -> dict[str, str | None]:
    """The table in a command's help, at 80 columns."""
    entries: list[str] = []
    for row in (line.strip("│").rstrip() for line in help_.splitlines() if line.startswith("│")):
        if re.match(r" [-\[A-Z{]", row):
            entries.append(row.strip())
        elif row.startswith("    "):
            entries[-1] += f"  {row.strip()}"
    found = {}
    for entry in entries:
        flag, _, text = entry.partition("  ")
        default = re.search(r"\((default: [^()]*|required)\)(?: \(default: (?:None)?\))?$", " ".join(text.split()))
        found[flag] = default[1].removeprefix("default: ") if default else None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_are_those_that_users_have(name, monkeypatch):
    """A flag may come; one that goes, or changes its type or default, breaks scripts. Then say so in CHANGELOG.md."""
    monkeypatch.setenv("COLUMNS", "80")
    assert flags(command(name, "--help").out) == FROZEN[name]


def test_no_command_is_lost():
    assert FROZEN.keys() == COMMANDS.keys()


def test_options_are_data():
    for node in ast.parse(inspect.getsource(options)).body:
        if isinstance(node, ast.ClassDef):
            assert not [part.name for part in node.body if isinstance(part, ast.FunctionDef)], node.name
    assert not [node for node in ast.walk(ast.parse(inspect.getsource(options))) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_function_of_its_options(name):
    kind, home = COMMANDS[name]
    module, _, function = home.partition(":")
    takes = inspect.signature(getattr(importlib.import_module(module), function), eval_str=True)
    assert dataclasses.is_dataclass(kind)
    assert [parameter.annotation for parameter in takes.parameters.values()] == [kind]

"""One's own ladder: a TOML file of rungs and questions, which a climb measures and its report answers. No torch here.

    [[rung]]
    name = "deeper"
    on = "gelu"
    changes = { n_layer = 6 }
    why = "Two more layers."

    [[question]]
    after = "deeper"
    before = "gelu"
    margin = 0.01

A climb keeps the file in its directory, so that whatever reads it later knows its rungs.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from rungwise.config import ModelConfig, TrainConfig
from rungwise.config.fields import FINITE, check
from rungwise.config.settings import FROM_THE_LIST
from rungwise.errors import UserError, require_known
from rungwise.ladder import RUNGS, Rung
from rungwise.util.files import read_object

LADDER_FILE = "ladder.toml"
"""In a climb's directory."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RungTable:
    """A [[rung]] of the file."""

    __pydantic_config__: ClassVar = FINITE
    name: str
    on: str
    changes: dict[str, bool | int | float | str]
    why: str = ""


@dataclass(frozen=True)
class Question:
    """A [[question]] of the file: is the second rung better than the first, worse, or the same within a margin?"""

    __pydantic_config__: ClassVar = FINITE
    after: str
    before: str
    margin: float = 0.01
    """Nats a character."""


@dataclass(frozen=True)
class LadderFile:
    rungs: Sequence[Rung] = ()
    questions: Sequence[Question] = field(default_factory=tuple)

    @property
    def measured(self) -> list[str]:
        """The rungs that the file needs: its own, those that they build on, and those of its questions."""
        own = [name for rung in self.rungs for name in (str(rung.on), rung.name)]
        return list(dict.fromkeys([*own, *(name for q in self.questions for name in (q.before, q.after))]))


def load(path: Path) -> LadderFile:
    """Read a file and put its rungs on the ladder, in group "own"; UserError where a field is unknown or does not fit.

    A name that the ladder has already is refused, but for a file's own, which is read again."""
    try:
        found = read_object(path, tomllib.loads)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"No file at {path}.") from None
    for name in found:
        require_known(name, ("rung", "question"), f"{path}: unknown table")
    own = {name: RUNGS.pop(name) for name in [name for name, rung in RUNGS.items() if rung.group == "own"]}
    try:
        rungs = []
        for number, table in enumerate(_tables(found, "rung", path), 1):
            rungs.append(_rung(_read(RungTable, table, f"{path}: rung {number}"), f"{path}: rung {number}"))
            RUNGS[rungs[-1].name] = rungs[-1]
        questions = [
            _question(_read(Question, table, f"{path}: question {number}"), f"{path}: question {number}")
            for number, table in enumerate(_tables(found, "question", path), 1)
        ]
    except UserError:
        for name in [name for name, rung in RUNGS.items() if rung.group == "own"]:
            del RUNGS[name]
        raise
    finally:
        for name, rung in own.items():
            RUNGS.setdefault(name, rung)
    if not rungs and not questions:
        raise UserError(f"{path} has neither a [[rung]] nor a [[question]].")
    return LadderFile(rungs, questions)


def of_climb(folder: Path) -> LadderFile:
    """The file that a climb's directory keeps; empty where there is none."""
    path = folder / LADDER_FILE
    return load(path) if path.exists() else LadderFile()


def _tables(found: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    tables = found.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: write each {name} as a table [[{name}]].")
    return tables


def _read(kind: type, table: dict[str, Any], where: str) -> Any:
    for name in table:
        require_known(name, (f.name for f in fields(kind)), f"{where}: unknown field")
    return check(kind, table, where)


def _rung(table: RungTable, where: str) -> Rung:
    if not NAME.fullmatch(table.name):
        raise UserError(f"{where}: name must be of letters, digits, '.', '_' and '-', but is {table.name!r}.")
    if table.name in RUNGS:
        raise UserError(f"{where}: the ladder has a rung {table.name!r} already; give it another name.")
    require_known(table.on, RUNGS, f"{where}: on: unknown rung")
    known = [name for name in (*ModelConfig.fields(), *TrainConfig.fields()) if name not in FROM_THE_LIST]
    for name in table.changes:
        require_known(name, known, f"{where}: changes: unknown field")
    below = RUNGS[table.on]
    for kind, base in ((ModelConfig, below.model), (TrainConfig, below.train)):
        mine = {name: value for name, value in table.changes.items() if name in kind.fields()}
        kind.from_dict(base.to_dict() | mine, f"{where}: changes")
    return Rung(table.name, table.name, "own", table.on, table.changes, table.why, "own")


def _question(question: Question, where: str) -> Question:
    for name, rung in (("after", question.after), ("before", question.before)):
        require_known(rung, RUNGS, f"{where}: {name}: unknown rung")
    if question.after == question.before:
        raise UserError(f"{where}: after and before are the same rung.")
    if question.margin <= 0:
        raise UserError(f"{where}: margin must be above 0, but is {question.margin}.")
    return question

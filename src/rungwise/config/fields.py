"""What all configurations share, and how JSON-like values are checked: one-line errors that say where and what."""

import dataclasses
import functools
import json
import reprlib
from collections.abc import Mapping
from typing import Any, Self, get_args

from rungwise.errors import UserError, require_known

FINITE = {"allow_inf_nan": False}
"""`__pydantic_config__` of a dataclass of which `check` shall take no NaN and no Infinity."""


def check(kind: type, value: Any, where: str, within: str = "") -> Any:
    """A dataclass made from JSON-like values: "32" is no number and 1 is no flag, but 1 is a float.

    UserError where they do not fit: says `where`, which field (`within` another), and what it holds. Fields that the
    dataclass does not have are ignored.
    """
    from pydantic import ValidationError

    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")  # a path may hold bytes that are no UTF-8
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in (within, *first["loc"]) if part != "")
        message = first["msg"]
        if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
            message = str(cause)
        elif first["type"] == "missing":
            message += "."
        else:
            message += f", but is {reprlib.repr(first['input'])}."
        raise UserError(": ".join(filter(None, (where, field, message)))) from None


@functools.cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of configurations: checks, and reading from a mapping with unknown fields refused."""

    def _require(self, field: str, ok: bool, what: str) -> None:
        if not ok:
            raise UserError(f"{field} must be {what}, but is {getattr(self, field)!r}.")

    def _require_choice(self, field: str, choices: Any) -> None:
        require_known(getattr(self, field), get_args(choices), f"Unknown {field}")

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        return tuple(f.name for f in dataclasses.fields(cls))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> Self:
        """Read from JSON-like values: types checked, unknown fields refused with the nearest known name."""
        given: dict[str, Any] = {}
        for name, value in values.items():
            require_known(name, cls.fields(), f"{where}: unknown field")
            given[name] = value.item() if getattr(value, "shape", None) == () else value  # NumPy's and torch's numbers
            if not isinstance(given[name], str | int | float | None):
                raise UserError(f"{where}: {name} must be a number, a text or True or False, but is {value!r}.")
        texts = {name: value for name, value in given.items() if isinstance(value, str)}
        return check(cls, given, where).replace(**texts)  # texts as they are: bytes that are no UTF-8 are kept

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

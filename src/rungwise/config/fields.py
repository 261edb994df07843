"""What all configurations share: checks with one-line errors, and reading from JSON-like values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self, get_args

from rungwise.errors import UserError, closest


class Config:
    """What the three configurations share: checks, and reading from a mapping with unknown fields refused."""

    def _require(self, field: str, ok: bool, what: str) -> None:
        if not ok:
            raise UserError(f"{field} must be {what}, but is {getattr(self, field)!r}.")

    def _require_choice(self, field: str, choices: Any) -> None:
        value, names = getattr(self, field), get_args(choices)
        if value not in names:
            raise UserError(f"Unknown {field} {value!r}; {closest(str(value), names)}")

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        return tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> Self:
        """Read from JSON-like values: types checked, unknown fields refused with the nearest known name."""
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in cls.fields():
                raise UserError(f"{where}: unknown field {name!r}; {closest(name, cls.fields())}")
            given[name] = value.item() if getattr(value, "shape", None) == () else value  # NumPy's and torch's numbers
            if not isinstance(given[name], str | int | float | None):
                raise UserError(f"{where}: {name} must be a number, a text or True or False, but is {value!r}.")
        from pydantic import TypeAdapter, ValidationError

        try:  # JSON and strict: "32" is no number and 1 is no flag, but 1 is a float
            told = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace")
            found = TypeAdapter(cls).validate_json(told, strict=True)
            texts = {name: value for name, value in given.items() if isinstance(value, str)}
            return found.replace(**texts)  # as they are: pydantic takes no path with bytes that are no UTF-8
        except ValidationError as error:
            first = error.errors()[0]
            if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
                raise UserError(f"{where}: {cause}") from None
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{where}: {field}: {first['msg']}, but is {first['input']!r}.") from None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

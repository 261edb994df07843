"""What a user can mend, said in one line."""

from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Something that a user can mend: one line that says what, where and what to do. The command exits with 2."""


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the nearest known name, or all of them where none is near."""
    import difflib  # only where something is wrong

    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(known)}."


def require_known(name: Any, known: Iterable[str], what: str) -> None:
    """UserError where a name is not among those that are known; `what` it is begins the line."""
    if name not in (known := list(known)):
        raise UserError(f"{what} {name!r}; {closest(str(name), known)}")

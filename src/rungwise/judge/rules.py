"""Rules that words should keep, by what a user writes: `regex:[a-z]+`, `python:my_rules.is_valid` or `smiles`."""

import importlib
import re
import sys
from collections.abc import Callable

from rungwise.errors import UserError
from rungwise.judge import molecules


def rule(text: str) -> Callable[[str], bool]:
    """The rule that a text names. UserError where it names none, or where it fails on a word."""
    kind, _, what = text.partition(":")
    if kind == "regex":
        try:
            pattern = re.compile(what)
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(f"--valid: {what!r} is not a regular expression: {error}.") from None
        return lambda word: pattern.fullmatch(word) is not None
    if kind == "python":
        return _function(what)
    if text == "smiles":
        molecules.rdkit("Chem")
        return molecules.is_valid
    raise UserError(f"--valid must be regex:PATTERN, python:MODULE.FUNCTION or smiles, but is {text!r}.")


def _function(path: str) -> Callable[[str], bool]:
    module, _, name = path.rpartition(".")
    if "" not in sys.path:  # the user's own module lies in the working directory, as with python -m
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except Exception as error:  # the user's module may do anything as it is imported
        raise UserError(f"--valid: {path!r} cannot be imported: {type(error).__name__}: {error}.") from None
    if not callable(found):
        raise UserError(f"--valid: {path!r} must be MODULE.FUNCTION, a function of one word.")

    def valid(word: str) -> bool:
        try:
            return bool(found(word))
        except Exception as error:
            raise UserError(f"--valid: {path} fails on {word!r}: {type(error).__name__}: {error}.") from None

    return valid

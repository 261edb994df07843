"""Flags made from the fields of the configurations, so that a new field needs no word here. No torch."""

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from rungwise.config import Config
from rungwise.config.settings import KINDS, fields


def documentation(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass and of those that it extends: {"n_embd": "Width of the ...", ...}."""
    found: dict[str, str] = {}
    for base in (base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)):
        for field, text in itertools.pairwise(_classes(base.__module__)[base.__name__].body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = " ".join(words.split())
    return found


@functools.cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


BOOLEANS = {
    field.name for kind in KINDS.values() for field in dataclasses.fields(kind) if isinstance(field.default, bool)
}


def default(text: str) -> Any:
    """For a flag that is None by default: what its help says None stands for."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


def flags(section: str) -> type:
    """A dataclass with the same fields, all None until they are given: what tyro makes flags of."""
    kind = KINDS[section]
    texts = documentation(kind)
    hints, made = get_type_hints(kind), []
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name in fields(kind):
        hint = hints[name]
        if get_origin(hint) is Literal:  # read as text: an unknown one is answered by us, with the nearest known
            metavar, hint = "{" + ",".join(get_args(hint)) + "}", str
        else:
            plain = next((t for t in get_args(hint) if t is not type(None)), hint)
            metavar = "{True,False}" if plain is bool else plain.__name__.upper()
        text = texts[name].replace("None:", "default:")
        if defaults[name] is not None:
            text += f" (default: {defaults[name]})"
        annotation = Annotated[hint | None, tyro.conf.arg(help=text, help_behavior_hint="", metavar=metavar)]
        made.append((name, annotation, dataclasses.field(default=None)))
    titles = {"list": "the list", "run": "the run", "model": "the model", "train": "the training"}
    return dataclasses.make_dataclass(f"{section.title()}Flags", made, namespace={"__doc__": titles[section]})


def with_values(arguments: list[str]) -> list[str]:
    """`train --lowercase` is `train --lowercase True`: the fields that are true or false are None until given."""
    if arguments[:1] != ["train"]:
        return arguments
    found: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        bare = argument.removeprefix("--").replace("-", "_") in BOOLEANS and argument.startswith("--")
        found += [argument, "True"] if bare and following.startswith("-") else [argument]
    return found


def configured(kind: type[Config], options: Any, **others: Any) -> Any:
    """A configuration of the options of the same names, and of others; of what no option says, the default."""
    return kind(**{name: value for name, value in vars(options).items() if name in kind.fields()} | others)


def given(*flag_values: Any) -> dict[str, Any]:
    """The fields that were given on the command line."""
    return {
        name: value for part in flag_values for name, value in dataclasses.asdict(part).items() if value is not None
    }


def changed(options: Any, defaults: Any) -> list[str]:
    """The flags with which `options` differ from `defaults`, in the fields that these have, for a command to print."""
    found: list[str] = []
    for name, value in vars(defaults).items():
        if (mine := getattr(options, name)) != value:
            values = mine if isinstance(mine, tuple) else () if mine is True else (mine,)
            found += [f"--{name.replace('_', '-')}", *map(str, values)]
    return found

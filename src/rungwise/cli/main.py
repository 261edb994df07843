"""The command: options from what was typed, the function that takes them, one line where something goes wrong. No torch
here."""

import contextlib
import importlib
import io
import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro

from rungwise.cli import options
from rungwise.cli.flags import with_values
from rungwise.errors import UserError, closest
from rungwise.util import interrupt

DESCRIPTION = """From one attention head to a full transformer, one measured rung at a time.

Trains on any list of words.

Start with: rungwise climb"""
COMMANDS: dict[str, tuple[type, str]] = {
    "climb": (options.ClimbCommand, "rungwise.cli.climb:climb"),
    "train": (options.TrainCommand, "rungwise.cli.train:train"),
    "sample": (options.SampleCommand, "rungwise.cli.sample:sample"),
    "eval": (options.EvalCommand, "rungwise.cli.evaluate:evaluate"),
    "data": (options.DataCommand, "rungwise.cli.data:data"),
    "judge": (options.JudgeCommand, "rungwise.cli.judge:judge"),
    "report": (options.ReportCommand, "rungwise.cli.report:report"),
    "ladder": (options.LadderCommand, "rungwise.cli.ladder:ladder"),
    "play": (options.PlayCommand, "rungwise.cli.play:play"),
    "export": (options.ExportCommand, "rungwise.cli.export:export"),
    "bench": (options.BenchCommand, "rungwise.cli.bench:bench"),
}
"""Each command's name, its options, and the function that takes them, imported when it runs."""
NARROWEST, WIDEST = 20, 1000
"""Columns of help: with 6, tyro never ends."""


def parse(arguments: Sequence[str]) -> Any:
    """The command that is asked for. tyro's boxed errors become one line; its help is left as it is."""
    told, arguments = io.StringIO(), with_values(list(arguments)) or ["--help"]
    try:
        with contextlib.redirect_stderr(told), _terminal(for_help=bool({"-h", "--help"} & {*arguments})):
            return tyro.extras.subcommand_cli_from_dict(
                {name: flags for name, (flags, _) in COMMANDS.items()},
                prog="rungwise",
                description=DESCRIPTION,
                args=arguments,
            )
    except SystemExit as exit_:
        if exit_.code:
            raise UserError(_one_line(told.getvalue(), arguments)) from None
        raise


@contextlib.contextmanager
def _terminal(for_help: bool) -> Iterator[None]:
    """What tyro asks of the terminal, by the environment: a width in which its boxes come to an end, and do not break
    the words of an error; and NO_COLOR (no-color.org), of which it does not know."""
    width = min(max(shutil.get_terminal_size().columns, NARROWEST if for_help else 80), WIDEST)
    changed = {"COLUMNS": str(width)} | ({"TERM": "dumb"} if os.environ.get("NO_COLOR") else {})
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _one_line(boxed: str, arguments: Sequence[str]) -> str:
    """What a box of tyro's says, up to its first rule, and where there is help."""
    plain = re.sub("\x1b\\[[0-9;]*m", "", boxed)  # a terminal is given colours
    lines = [line.strip("│ ") for line in plain.splitlines() if line.startswith("│")]
    said = list(itertools.takewhile(lambda line: not line.startswith("─"), lines))
    command = next((name for name in arguments if name in COMMANDS), None)
    if arguments and command is None and not arguments[0].startswith("-"):
        return f"Unknown command {arguments[0]!r}; {closest(arguments[0], COMMANDS)}"
    help_ = " ".join(filter(None, ("rungwise", command, "--help")))
    text = re.sub(r"\s+", " ", " ".join(said)).strip().rstrip(".") or "These arguments cannot be read"
    if wrong := re.match(r"Error parsing (\S+): .*(INT|FLOAT|int\(\)|float).*?'([^']*)'\]?", text):
        kind = "a whole number" if wrong[2].lower().startswith("int") else "a number"
        text = f"{wrong[1]} must be {kind}, but is {wrong[3]!r}"
    return f"{text}; see {help_}"


def run(asked: Any) -> None:
    """Run the command whose options these are."""
    from rungwise.util import loading, machine  # what help does not need

    machine.prepare()
    loading.watch()
    module, _, function = dict(COMMANDS.values())[type(asked)].partition(":")
    getattr(importlib.import_module(module), function)(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. What a user can mend is one line on standard error and exit status 2, never a traceback."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who called us (>&-): there is nobody to tell
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # words hold any character; a terminal shows what it can
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace", newline="\n")  # on Windows, too
    try:
        run(parse(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UserError as error:
        _exit(2, f"error: {' '.join(str(error).splitlines())}")
    except KeyboardInterrupt as error:
        _stopped(getattr(error, "exit_status", interrupt.STATUS), str(error) or interrupt.MESSAGE)
    except BrokenPipeError:  # the reader of our output (head, say) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail at the end
        sys.exit(0)
    except MemoryError as error:
        _exit(2, f"error: Not enough memory. {str(error).splitlines()[0] if str(error) else ''}".rstrip())
    except OSError as error:  # files' own errors are UserErrors: this is standard output, or a library (no errno)
        if error.errno is None:
            _unexpected(error)
        _exit(2, f"error: Cannot write: {error.strerror or error}.")
    except RuntimeError as error:
        if "allocate memory" not in str(error) or TRACEBACK in os.environ:
            _unexpected(error)
        _exit(2, "error: Not enough memory: try a smaller batch_size, n_embd or n_layer.")
    except Exception as error:
        _unexpected(error)


TRACEBACK = "RUNGWISE_TRACEBACK"


def _unexpected(error: Exception) -> NoReturn:
    """A package that cannot be loaded, or a mistake of ours. Users get a line, not a traceback; developers get theirs
    when they ask."""
    if os.environ.get(TRACEBACK):
        raise error
    from rungwise.util import loading

    if line := loading.explain(error):
        _exit(2, f"error: {line}")
    first_line = next(iter(str(error).splitlines()), "")
    _exit(1, f"internal error: {type(error).__name__}: {first_line} ({TRACEBACK}=1 shows where; please report it)")


def _stopped(status: int, message: str) -> NoReturn:
    interrupt.ending(status)
    if not interrupt.is_follower():
        print(f"\nrungwise: {message}", file=sys.stderr)  # behind the terminal's ^C
    _leave(status)


def _exit(status: int, message: str) -> NoReturn:
    if interrupt.asked:  # what Ctrl-C interrupted made another error of it
        _stopped(interrupt.STATUS, interrupt.MESSAGE)
    print(f"rungwise: {message}", file=sys.stderr)
    _leave(status)


def _leave(status: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    sys.exit(status)

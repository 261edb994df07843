"""The commands that messages print: quoted, so that they can be pasted into a shell. No torch here."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def command(*arguments: object) -> str:
    """`rungwise ARGUMENTS`, for the user's own shell."""
    return f"{program()} {quoted(*arguments)}"


def program() -> str:
    """`rungwise`, where a shell finds that; else the path by which it was called, such as .venv/bin/rungwise."""
    called = sys.argv[0]
    by_path = Path(called).name == "rungwise" and not shutil.which("rungwise")
    return shlex.quote(called) if by_path else "rungwise"


def quoted(*arguments: object) -> str:
    """Arguments as a shell takes them; a path that begins with a dash is not to be read as an option."""
    return shlex.join(f"./{a}" if isinstance(a, Path) and str(a).startswith("-") else str(a) for a in arguments)


def go_on(out: Path, data: str | None = None, track: Sequence[str] = (), train: str | None = None) -> str:
    """How to go on with a run that was stopped, as the end of a message.

    `data`: where its list lies, if not where config.json says; `-`: it has to be given on standard input again.
    `train`: how such a run is started.
    """
    more = [*(("--data", data) if data else ()), *(f"--{name}" for name in track)]
    how = ", with the list on standard input" if data == "-" else ""
    return f"Go on{how}: {train or command('train')} {quoted('--out', out, '--resume', *more)}"

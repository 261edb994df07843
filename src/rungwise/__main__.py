"""The process of a command: `rungwise`, and `python -m rungwise`."""

import os
import sys

from rungwise.util import interrupt


def main() -> None:
    interrupt.watch()
    from rungwise.cli.main import main as command

    status = 0
    try:
        command()
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    interrupt.ending(status)
    _end(status)


def _end(status: int) -> None:
    """Where processes of a distributed run were lost, threads still wait for them, in C++: they can neither be ended
    nor joined, and one that wakes while the interpreter goes away aborts the process."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()

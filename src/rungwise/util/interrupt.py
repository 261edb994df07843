"""Ctrl-C ends a command with one line and status 130, whenever it comes.

Python's KeyboardInterrupt lets a command tidy up. Where a module is being imported it goes wrong: it is swallowed, or
becomes an ImportError. So there the process ends at once, as it does at a second Ctrl-C. Nothing is lost: files appear
whole or not at all, and worker processes end with their parent.

This is at work before anything heavy is imported, so it imports next to nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

STATUS = 130
MESSAGE = "stopped; what is done is kept."

asked = False
"""Has Ctrl-C been pressed?"""
_ending: int | None = None
"""The exit status, once there is nothing more to say."""


def watch() -> None:
    """Take Ctrl-C from now on. For the process of a command, not for a library in somebody else's."""
    sys.warnoptions.append("ignore:resource_tracker")  # of child processes: the system takes back what we leave
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script: it is not for us
        return
    signal.signal(signal.SIGINT, _hear)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the last callback: the interpreter goes away
    sys.excepthook = lambda kind, error, at: _left_over(error) or sys.__excepthook__(kind, error, at)
    sys.unraisablehook = lambda found: _left_over(found.exc_value) or sys.__unraisablehook__(found)


def ending(status: int) -> None:
    """What there is to say is said, or about to be: from now on Ctrl-C only hastens the end."""
    global _ending
    _ending = status


def leave() -> NoReturn:
    """End now."""
    if _ending is None:
        ending(STATUS)
        shown = "" if is_follower() else f"{SHOW_CURSOR if os.isatty(2) else ''}\nrungwise: {MESSAGE}\n"
        try:
            os.write(2, shown.encode())
            sys.stdout.flush()
        except Exception:  # they are closed, or it is they who are interrupted
            pass
    os._exit(_ending or 0)


SHOW_CURSOR = "\x1b[?25h"
"""A live table hides it."""


def is_follower() -> bool:
    """Is this a process of a distributed run that leaves it to rank 0 to speak?"""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys() and os.environ["RANK"] != "0"


def _hear(number: int, frame: FrameType | None) -> None:
    global asked
    again, asked = asked, True
    if again or _ending is not None or _importing(frame):
        leave()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _left_over(error: Any) -> None:
    """A KeyboardInterrupt that nobody takes, or that Python would ignore."""
    if isinstance(error, KeyboardInterrupt):
        leave()

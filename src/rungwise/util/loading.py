"""Packages that cannot be loaded, as one line: too little memory, broken, or missing. No torch here."""

import contextlib
import importlib
import sys
import traceback
from typing import Any

from rungwise.errors import UserError

NEEDED = {"numpy": 160 << 20, "torch": 800 << 20}
"""Bytes of address space (measured) with less of which a library in C may end the process by itself."""
NO_MEMORY = (
    "failed to map segment", "annot allocate memory", "Unable to allocate", "can't start new thread", "bad_alloc",
)  # fmt: skip
"""What the errors of libraries in C say."""


def need(module: str, who_needs: str, extra: str) -> Any:
    """A module of a package that not everybody has. UserError where it is missing: the extra of ours that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UserError(f"{who_needs} the package {package}: pip install 'rungwise[{extra}]'") from None


class _Limit:
    """Refuses to load a package where too little memory is allowed (ulimit -v)."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if self.allowed < (needed := NEEDED.get(fullname, 0)):
            raise MemoryError(
                f"{fullname} needs {needed >> 20} MiB, and {self.allowed >> 20} are allowed (ulimit -v): allow more."
            )


def watch() -> None:
    """Refuse what cannot be loaded, where memory is limited."""
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
        if allowed != resource.RLIM_INFINITY:
            sys.meta_path.insert(0, _Limit(allowed))


def explain(error: Exception) -> str | None:
    """What to tell of a package that could not be loaded; None where the error is something else."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if short := next((line for line in lines if any(text in line for text in NO_MEMORY)), None):
        return f"Not enough memory: {short.rstrip('.')}."
    line = lines[0]
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not isinstance(error, ImportError) and not (isinstance(error, OSError) and error.errno is None):
        return None
    names = [getattr(error, "name", None) or "", *frames]
    packages = [name.partition(".")[0] for name in names]
    ours = {"", "__main__", "rungwise", *sys.stdlib_module_names}
    package = next((name for name in packages if name not in ours), None)
    if package is None or packages[0] == "rungwise":
        return None
    return f"The package {package} cannot be loaded ({line}); install it again: pip install --force-reinstall {package}"

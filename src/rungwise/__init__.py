"""rungwise: from one attention head to a full transformer, one measured rung at a time.

from rungwise import generate, train

run = train("names", steps=2000)
for word in generate(run, 10, temperature=0.8, new_only=True):
    print(word.text)
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # typing takes longer to import than all that comes before Ctrl-C is ours (interrupt.py)
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from rungwise.api import Run, Word, generate, load, train
    from rungwise.config import ModelConfig, Protocol, TrainConfig
    from rungwise.errors import UserError
    from rungwise.model.transformer import Transformer

__all__ = [
    "ModelConfig", "Protocol", "Run", "TrainConfig", "Transformer", "UserError", "Word", "generate", "load", "train",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(("ModelConfig", "Protocol", "TrainConfig"), "config"),
    "UserError": "errors",
    "Transformer": "model.transformer",
    **dict.fromkeys(("Run", "Word", "generate", "load", "train"), "api"),
}
"""Where each name lives. It is imported when it is asked for, so that `import rungwise` does not wait for torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rungwise' has no attribute {name!r}")
    from rungwise.util.machine import prepare

    prepare()
    return getattr(importlib.import_module(f"rungwise.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


_MOVED = {
    "files": "util.files",
    "layers": "model.layers",
    "runs": "training.run_dir",
    "words": "data.words",
    "lab": None,
    "lab.baselines": "experiment.baselines",
    "lab.climb": "experiment.climb",
    "lab.ladder": "ladder",
    "lab.results": "experiment.results",
    "lab.stats": "analysis.stats",
    "lab.tables": "analysis.tables",
}
"""Modules that the notebook of version 0.1.0 imported, and where they are. Version 0.2 is the last that knows them."""


class _Moved:
    """Imports a module of _MOVED from where it is, with a warning. It is asked after all other finders."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != "rungwise" or old not in _MOVED:
            return None
        from importlib.machinery import ModuleSpec

        loader: Any = self
        return ModuleSpec(name, loader, is_package=_MOVED[old] is None)

    def create_module(self, spec: ModuleSpec) -> None: ...

    def exec_module(self, module: ModuleType) -> None:
        import warnings

        if home := _MOVED[module.__name__.partition(".")[2]]:
            warnings.warn(f"{module.__name__} is now rungwise.{home}.", DeprecationWarning, stacklevel=2)
            sys.modules[module.__name__] = importlib.import_module(f"rungwise.{home}")


sys.meta_path.append(_Moved())

"""rungwise: from one attention head to a full transformer, one measured rung at a time.

from rungwise import generate, train

run = train("names", steps=2000)
for word in generate(run, 10, temperature=0.8, new_only=True):
    print(word.text)
"""

from __future__ import annotations

import importlib
import sys
import types

TYPE_CHECKING = False  # typing takes longer to import than all that comes before Ctrl-C is ours (interrupt.py)
if TYPE_CHECKING:
    from typing import Any

    from rungwise.config import ModelConfig, Protocol, TrainConfig, UserError
    from rungwise.generate import Word
    from rungwise.model import Transformer
    from rungwise.practice import generate, train
    from rungwise.runs import Run, load

__all__ = [
    "ModelConfig",
    "Protocol",
    "Run",
    "TrainConfig",
    "Transformer",
    "UserError",
    "Word",
    "generate",
    "load",
    "train",
]

_HOMES = {
    **dict.fromkeys(("ModelConfig", "Protocol", "TrainConfig", "UserError"), "config"),
    "Transformer": "model",
    "Word": "generate",
    **dict.fromkeys(("Run", "load"), "runs"),
    **dict.fromkeys(("generate", "train"), "practice"),
}
"""Where each name lives. It is imported when it is asked for, so that `import rungwise` does not wait for torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rungwise' has no attribute {name!r}")
    from rungwise.machine import prepare

    prepare()
    return getattr(importlib.import_module(f"rungwise.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(types.ModuleType):
    """`rungwise.train` and `rungwise.generate` are the functions, whether or not the files of these names (which
    hold the training loop and the sampler) were imported: Python would put a file in its function's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

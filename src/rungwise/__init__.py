"""rungwise: from one attention head to a full transformer, one measured rung at a time.

from rungwise import generate, train

run = train("names", steps=2000)
for word in generate(run, 10, temperature=0.8, new_only=True):
    print(word.text)
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing takes longer to import than all that comes before Ctrl-C is ours (interrupt.py)
if TYPE_CHECKING:
    from typing import Any

    from rungwise.api import Run, Word, generate, load, train
    from rungwise.config import ModelConfig, Protocol, TrainConfig
    from rungwise.errors import UserError
    from rungwise.model.transformer import Transformer

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

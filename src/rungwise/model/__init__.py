"""The transformer: its layers, Block and Transformer; the families that stand in attention's place; and the masks of
dropout, a function of the seed, the step, the place and what was read. Written for one model and one batch; who trains
it is not known here. Imports config and util.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """rungwise.model.Transformer, as the notebook of version 0.1.0 had it. Version 0.2 is the last that knows it."""
    if name != "Transformer":
        raise AttributeError(f"module 'rungwise.model' has no attribute {name!r}")
    import warnings

    from rungwise.model.transformer import Transformer

    warnings.warn("rungwise.model.Transformer is now rungwise.Transformer.", DeprecationWarning, stacklevel=2)
    return Transformer

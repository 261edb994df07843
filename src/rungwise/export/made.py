"""What every format returns of the files that it wrote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Made:
    """The files of one export."""

    what: str
    """In a few words, for the line that the command prints and for the model card."""
    library: str
    """The hub's name for the library that reads it."""
    code: str
    """Python that uses these very files, run in their directory."""
    notes: tuple[str, ...]
    """What one should know of them."""
    error: float
    """The largest difference between the library's logits and ours."""

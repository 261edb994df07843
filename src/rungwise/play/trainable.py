"""What a page needs to train by itself: the ladder's configurations, the words of a list, and engine.wasm."""

import base64
import gzip
from importlib import resources
from typing import Any

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.tokens import CHARS
from rungwise.data.words import WordList
from rungwise.ladder import RUNGS
from rungwise.play import inside
from rungwise.play.collect import changes, code, describe, settings

MOST_BYTES = 1 << 20
"""Of a packed list: the page of a longer one holds no words to train on."""
EMPTY_PROTOCOL = "strict"
"""What a page without models begins with: it holds validation words out, which the curves show."""

TRAINED = {name: rung for name, rung in RUNGS.items() if rung.train.targets == "words" and not rung.train.teachers}
"""What a page can train: it has the words, and no teacher."""


def trainable(listed: WordList | None) -> dict[str, Any]:
    """JSON values: the rungs, the list's words where it is at hand and short enough, and the engine, packed."""
    engine = resources.files("rungwise.engine.native").joinpath("engine.wasm").read_bytes()
    sources: list[dict[str, str]] = []  # each once, however many rungs it belongs to
    rungs = []
    for rung in TRAINED.values():
        found = code(rung)
        sources += [source for source in found if source not in sources]
        rungs.append(
            {
                **{name: getattr(rung, name) for name in ("name", "title", "group", "on", "why", "source")},
                "changes": changes(rung, settings(rung), None),
                "code": [sources.index(source) for source in found],
                "model": rung.model.to_dict(),
                "train": rung.train.to_dict(),
            }
        )
    return {"ladder": rungs, "sources": sources, "words": listed and _words(listed), "engine": _packed(engine)}


def empty() -> dict[str, Any]:
    """What a page shows that has no model yet: the bundled list."""
    listed, protocol = words.load("given-names"), get_protocol(EMPTY_PROTOCOL)
    about = describe(listed, words.split(listed, protocol), protocol)
    return {"list": about, "precision": "float32", "rungs": [], "inside": inside.steps(), "train": trainable(listed)}


def _words(listed: WordList) -> dict[str, Any] | None:
    data = _packed("\n".join(listed).encode())
    plain = listed.vocabulary.tokens == CHARS and not listed.vocabulary.conditions  # the page trains on characters
    fits = len(data) <= MOST_BYTES and plain
    return {"name": listed.name, "sha256": listed.sha256, "data": data} if fits else None


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()

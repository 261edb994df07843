"""engine.wasm: the committed module is what its sources give, it asks nothing of a page, and it is small."""

from __future__ import annotations

import gzip

import pytest
from scripts import build_wasm


def test_the_committed_module_is_what_its_sources_give() -> None:
    if wrong := build_wasm.why_not():
        pytest.skip(wrong)
    assert build_wasm.build() == build_wasm.WASM.read_bytes(), "make wasm, then commit engine.wasm"


def test_the_module_imports_nothing_and_is_small() -> None:
    module = build_wasm.WASM.read_bytes()
    assert 2 not in dict(_sections(module)), "section 2 holds imports"
    assert len(module) < 135_000 and len(gzip.compress(module, 9)) < 53_000


def _sections(module: bytes) -> list[tuple[int, int]]:
    """(id, size) of each section."""
    assert module[:8] == b"\0asm\1\0\0\0"
    at, found = 8, []
    while at < len(module):
        kind, size, shift = module[at], 0, 0
        at += 1
        while True:
            byte = module[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        found.append((kind, size))
        at += size
    return found

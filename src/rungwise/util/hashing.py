"""Hashes: of words, to find repeated ones and to tell new ones from known ones; of scripts. No torch here."""

import base64
import hashlib
import zlib

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX64 = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Factors of SplitMix64's finaliser."""
WORDS_A_BLOCK = 1 << 16


def mix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): uint64 -> uint64, well mixed, without state."""
    x = (x ^ (x >> np.uint64(30))) * MIX64[0]
    x = (x ^ (x >> np.uint64(27))) * MIX64[1]
    return x ^ (x >> np.uint64(31))


def hash_words(codes: np.ndarray, offsets: np.ndarray, salt: int = 0) -> np.ndarray:
    """(words,) uint64: a hash of each word codes[offsets[i] : offsets[i + 1]], by its token ids.

    Two given words that differ agree with probability 2^-64. Another salt gives another hash.
    """
    found = np.empty(len(offsets) - 1, dtype=np.uint64)
    for first in range(0, len(found), WORDS_A_BLOCK):
        starts = offsets[first : first + WORDS_A_BLOCK + 1]
        lengths, starts = np.diff(starts), starts[:-1]
        hashes = mix64(np.full(len(starts), salt + 1, dtype=np.uint64) * GOLDEN)
        for t in range(int(lengths.max(initial=0))):
            longer = np.flatnonzero(lengths > t)
            token = codes[starts[longer] + t].astype(np.uint64) + np.uint64(1)
            hashes[longer] = mix64(hashes[longer] + token * GOLDEN)
        found[first : first + len(starts)] = hashes
    return found


def derive_seed(seed: int, purpose: str) -> int:
    """A 32-bit seed of its own for each purpose, so that what one part draws never shifts another's draws.

    Batches, initialisation, dropout and sampling each take theirs from the run's one seed: the same seed then
    meets the same batches on every rung, and differences between rungs pair.
    """
    return zlib.crc32(f"{seed}/{purpose}".encode())


def policy_hash(text: str) -> str:
    """How a content security policy names a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""Figures of molecules written as SMILES, as MOSES defines them (Polykovskiy et al. 2020). Needs RDKit. No torch."""

import importlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from rungwise.errors import UserError
from rungwise.judge import estimates
from rungwise.judge.estimates import ROUNDS, Estimate
from rungwise.judge.figures import Figure, Lists

MOST = 3_000
"""Molecules whose similarities are computed, from each side."""
AT_ONCE = 500
BITS = 1024
FEWEST_RINGS = 2
"""Of a scaffold that counts."""


@cache
def rdkit(part: str) -> Any:
    """A module of RDKit's, such as "Chem". UserError where it is not installed."""
    try:
        importlib.import_module("rdkit.RDLogger").DisableLog("rdApp.*")  # a line for each molecule that is not valid
        return importlib.import_module(f"rdkit.{part}")
    except ImportError:
        raise UserError("--valid smiles needs the package RDKit: pip install rdkit.") from None


def is_valid(smiles: str) -> bool:
    return bool(smiles) and rdkit("Chem").MolFromSmiles(smiles) is not None


def similarities(molecules: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) Tanimoto similarities of fingerprints, (n, bits) and (m, bits) float32."""
    both = molecules @ others.T
    either = molecules.sum(axis=1)[:, None] + others.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """(n, BITS) float32: Morgan's, radius 2."""
    morgan = rdkit("Chem.rdFingerprintGenerator").GetMorganGenerator(radius=2, fpSize=BITS)
    rows = [morgan.GetFingerprintAsNumPy(rdkit("Chem").MolFromSmiles(s)) for s in smiles]
    return np.array(rows, dtype=np.float32).reshape(len(rows), BITS)


def scaffold(smiles: str) -> str | None:
    """Bemis and Murcko's, as SMILES; None where it has fewer than two rings."""
    molecule = rdkit("Chem").MolFromSmiles(smiles)
    found = rdkit("Chem.Scaffolds.MurckoScaffold").GetScaffoldForMol(molecule)
    return rdkit("Chem").MolToSmiles(found) if found.GetRingInfo().NumRings() >= FEWEST_RINGS else None


def nearest(molecules: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) similarity of each to its nearest neighbour among the others. SNN is its mean."""
    parts = [similarities(molecules[i : i + AT_ONCE], others).max(axis=1) for i in range(0, len(molecules), AT_ONCE)]
    return np.concatenate(parts)


def dissimilar(molecules: np.ndarray, power: int) -> np.ndarray:
    """(n,) 1 - the mean of similarity^power to all, itself included, ^(1 / power). IntDiv_power is its mean."""
    parts = [similarities(molecules[i : i + AT_ONCE], molecules) ** power for i in range(0, len(molecules), AT_ONCE)]
    return 1 - np.concatenate([part.mean(axis=1) for part in parts]) ** (1 / power)


def cosine(scaffolds: Counter[str], others: Counter[str]) -> float | None:
    """Similarity of two counts; None where one is empty."""
    if not scaffolds or not others:
        return None
    both = sum(n * others[s] for s, n in scaffolds.items())
    lengths = (sum(n * n for n in counts.values()) ** 0.5 for counts in (scaffolds, others))
    return both / float(np.prod(list(lengths)))


def add(of: Lists) -> None:
    """Similarities to held-out molecules; their floor is that of training molecules, which are as real."""
    kinds = {"samples": of.samples, "training": of.train, "held out": of.held_out}
    some = {name: of.some([s for s in smiles if is_valid(s)], MOST) for name, smiles in kinds.items()}
    if not all(some.values()):
        return
    prints = {name: fingerprints(smiles) for name, smiles in some.items()}

    def mean(values: np.ndarray) -> Estimate:
        return estimates.mean(values, None, of.rng)

    for power in (1, 2):
        own, real = (mean(dissimilar(prints[name], power)) for name in ("samples", "held out"))
        of.figures.append(Figure(f"int_div_{power}", f"Internal diversity, p = {power}", "1 - Tanimoto", own, real))
    own, real = (mean(nearest(prints[name], prints["held out"])) for name in ("samples", "training"))
    of.figures.append(Figure("snn", "Nearest held-out molecule (beside: of training ones)", "Tanimoto", own, real))
    scaffolds = {name: [scaffold(s) for s in smiles] for name, smiles in some.items()}
    own, real = (_alike(of, scaffolds[name], scaffolds["held out"]) for name in ("samples", "training"))
    of.figures.append(Figure("scaf", "Scaffolds like held-out ones (beside: of training ones)", "cosine", own, real))


def _alike(of: Lists, scaffolds: Sequence[str | None], others: Sequence[str | None]) -> Estimate | None:
    reference, n = Counter(filter(None, others)), len(scaffolds)

    def one(chosen: Sequence[str | None]) -> float | None:
        return cosine(Counter(filter(None, chosen)), reference)

    if (value := one(scaffolds)) is None:
        return None
    again = [one([scaffolds[i] for i in of.rng.integers(n, size=n)]) for _ in range(ROUNDS)]
    return estimates.around(value, np.array([x for x in again if x is not None]), 0.0, 1.0)

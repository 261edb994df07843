"""Figures of molecules against the values that MOSES publishes for a small set, and against its definitions, written
out as loops over RDKit's similarities."""

from collections import Counter

import numpy as np
import pytest

from rungwise.judge.judgement import judge
from rungwise.judge.rules import rule

pytest.importorskip("rdkit")
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem
from rdkit.Chem.Scaffolds import MurckoScaffold

from rungwise.judge import molecules

RINGS = ["c1ccc2ccccc2c1", "c1ccc(-c2ccccc2)cc1", "C1CCC2CCCCC2C1", "c1ccc2[nH]ccc2c1", "c1ccc2ncccc2c1", "c1ccccc1"]
TAILS = ["", "C", "O", "N", "CC", "CO", "CCN", "C(=O)O", "Cl", "F", "S", "CCC"]
MADE = [f"{tail}{ring}" for ring in RINGS for tail in TAILS] + ["CCO", "CC(=O)O", "C"]
HELD_OUT, TRAIN, SAMPLES = MADE[::3], MADE[1::3], [*MADE[2::3], "CClC", "c1ccc2ccccc2c1", "(("]


def tanimoto(a: str, b: str) -> float:
    one, other = (AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(s), 2, nBits=1024) for s in (a, b))
    return DataStructs.TanimotoSimilarity(one, other)


def scaffolds(smiles):
    """MOSES: Murcko scaffolds of two rings at least, counted."""
    found = [MurckoScaffold.GetScaffoldForMol(Chem.MolFromSmiles(s)) for s in smiles]
    return Counter(Chem.MolToSmiles(m) for m in found if m.GetRingInfo().NumRings() >= 2 and Chem.MolToSmiles(m))


def test_figures_are_those_of_moses():
    found = {f.name: f for f in judge(TRAIN, HELD_OUT, SAMPLES, valid=rule("smiles")).figures}
    good = [*SAMPLES[:-3], SAMPLES[-2]]
    assert found["valid"].samples.value == len(good) / len(SAMPLES) and found["valid"].floor.value == 1
    alike = np.array([[tanimoto(a, b) for b in good] for a in good])
    assert found["int_div_1"].samples.value == pytest.approx(1 - alike.mean(), abs=1e-6)
    assert found["int_div_2"].samples.value == pytest.approx(1 - np.sqrt((alike**2).mean(axis=0)).mean(), abs=1e-6)
    for value, some in ((found["snn"].samples, good), (found["snn"].floor, TRAIN)):
        expected = np.mean([max(tanimoto(a, b) for b in HELD_OUT) for a in some])
        assert value.value == pytest.approx(expected, abs=1e-6) and value.low <= value.value <= value.high
    own, real = scaffolds(good), scaffolds(HELD_OUT)
    keys = sorted({*own, *real})
    a, b = (np.array([c[k] for k in keys], dtype=float) for c in (own, real))
    assert found["scaf"].samples.value == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_a_small_set_gets_the_values_that_moses_publishes_for_it():
    """The set and the values of molecularsets/moses, tests/test_metrics.py (Polykovskiy et al. 2020)."""
    test = ["Oc1ccccc1-c1cccc2cnccc12", "COc1cccc(NC(=O)Cc2coc3ccc(OC)cc23)c1"]
    drawn = ["CNC", test[0], "INVALID", "CCCP", "Cc1noc(C)c1CN(C)C(=O)Nc1cc(F)cc(F)c1", "Cc1nc(NCc2ccccc2)no1-c1ccccc1"]
    found = {f.name: f.samples for f in judge(["CCO"], test, drawn, valid=rule("smiles")).figures}
    published = {"valid": 2 / 3, "snn": 0.3152585653588176, "scaf": 0.5, "int_div_1": 0.7189187309761661}
    for name, value in published.items():
        assert found[name].value == pytest.approx(value, abs=1e-6), name


def test_without_scaffolds_there_is_no_such_figure():
    found = {f.name: f for f in judge(["CCO", "C"], ["CC"], ["CCC", "CN"], valid=rule("smiles")).figures}
    assert found["scaf"].samples is None and found["snn"].samples is not None
    assert not molecules.is_valid("") and molecules.is_valid("CC")

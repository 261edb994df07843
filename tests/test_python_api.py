"""train() and generate() take what Python users have, and answer what they get wrong in one line, as commands do."""

import ast
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts import floors

import rungwise
from helpers import TINY, WORDS, tiny_run
from rungwise import UserError, generate, load, train
from rungwise.data.words import from_words


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(tiny_run(tmp_path_factory.mktemp("run")))


class Strange:
    def __repr__(self):
        return "<strange>"


@pytest.mark.parametrize(
    ("data", "fields", "line"),
    [
        ([*WORDS, math.nan], {}, "words: each must be a string, but number 41 is nan."),
        ([*WORDS, None], {}, "words: each must be a string, but number 41 is None."),
        (np.array([*WORDS, 5], dtype=object), {}, "words: each must be a string, but number 41 is 5."),
        ({*WORDS, 3}, {}, "words: each must be a string, but number "),
        (b"anna", {}, "words: each must be a string, but number 1 is 97."),
        (7, {}, "words must be many strings, but is 7."),
        (None, {}, "words must be many strings, but is None."),
        (["anna", "bea"], {}, "words holds 2 distinct words; protocol strict needs at least 3 "),
        (WORDS, {"max_length": None}, "train(): max_length: Input should be a valid integer, but is None."),
        (WORDS, {"max_length": "9"}, "train(): max_length: Input should be a valid integer, but is '9'."),
        (WORDS, {"n_embd": None}, "train(): n_embd: Input should be a valid integer, but is None."),
        (WORDS, {"n_embd": 8.0}, "train(): n_embd: Input should be a valid integer"),
        (WORDS, {"n_embd": np.float64(8)}, "train(): n_embd: Input should be a valid integer"),
        (WORDS, {"n_embd": [8]}, "train(): n_embd must be a number, a text or True or False, but is [8]."),
        (WORDS, {"n_embd": np.array([8])}, "train(): n_embd must be a number, a text or True or False, but is array("),
        (WORDS, {"n_embd": Strange()}, "train(): n_embd must be a number, a text or True or False, but is <strange>."),
        (WORDS, {"steps": True}, "train(): steps: Input should be a valid integer, but is True."),
        (WORDS, {"n_embed": 8}, "train(): unknown field 'n_embed'; did you mean 'n_embd'?"),
        (WORDS, {"mlp": "gleu"}, "train(): mlp: Input should be 'none', 'relu', 'gelu' or 'swiglu', but is 'gleu'."),
        (Path("none.txt"), {}, "No word list at 'none.txt'; "),
    ],
)  # fmt: skip
def test_what_train_cannot_take(tmp_path, data, fields, line):
    with pytest.raises(UserError) as caught:
        train(data, tmp_path / "run", **fields)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"temperature": "hot"}, "generate(): temperature: Input should be a valid number, but is 'hot'."),
        ({"temperature": None}, "generate(): temperature: Input should be a valid number, but is None."),
        ({"temperature": math.nan}, "generate(): temperature must be at least 0 and finite, but is nan."),
        ({"top_k": 1.5}, "generate(): top_k: Input should be a valid integer"),
        ({"prefix": 5}, "generate(): prefix: Input should be a valid string, but is 5."),
        ({"prefix": b"an"}, "generate(): prefix must be a number, a text or True or False, but is b'an'."),
        ({"unique": "yes"}, "generate(): unique: Input should be a valid boolean, but is 'yes'."),
        ({"uniqe": True}, "generate(): unknown field 'uniqe'; did you mean 'unique'?"),
        ({"max_length": 0}, "generate(): max_length must be at least 1, but is 0."),
        ({"n": "5"}, "generate(): n must be a whole number, but is '5'."),
        ({"n": 5.0}, "generate(): n must be a whole number, but is 5.0."),
        ({"n": -1}, "n must be at least 0, but is -1."),
        ({"seed": None}, "generate(): seed must be a whole number, but is None."),
    ],
)
def test_what_generate_cannot_take(run, fields, line):
    with pytest.raises(UserError) as caught:
        generate(run, **fields)
    assert str(caught.value) == line or (line[-1] != "." and str(caught.value).startswith(line))


def test_numbers_of_numpy_and_torch_are_numbers(run, tmp_path):
    theirs = {"n_embd": np.int32(8), "steps": torch.tensor(20), "dropout": np.float64(0.25), "residual": np.bool_(True)}
    ours = {"n_embd": 8, "steps": 20, "dropout": 0.25, "residual": True}
    for name, fields in (("theirs", theirs), ("ours", ours)):
        train(np.array(WORDS), tmp_path / name, **TINY | fields | {"seed": np.int64(3)})
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("theirs", "ours")]
    assert configs[0]["model"] == configs[1]["model"] and configs[0]["run"] == configs[1]["run"]
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("theirs", "ours"))
    assert one == other
    drawn = list(generate(run, np.int64(9), seed=np.int16(4), top_k=np.uint8(3), temperature=np.float32(0.5)))
    assert drawn == list(generate(run, 9, seed=4, top_k=3, temperature=0.5))


def test_a_set_of_words_is_the_same_list_in_every_process():
    script = f"from rungwise.data.words import from_words; w = from_words({{*{WORDS!r}}}); print(w.sha256, *w)"
    told = {
        subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    expected = from_words(sorted(WORDS))
    assert told == {f"{expected.sha256} {' '.join(sorted(WORDS))}\n"}
    assert list(from_words(frozenset(WORDS))) == sorted(WORDS)
    assert list(from_words(dict.fromkeys(WORDS))) == list(WORDS)  # a dictionary has an order of its own


# ----------------------------------------------------------------------------------------------------- modules


@pytest.mark.parametrize("name", floors.modules())
def test_a_module_is_had_by_its_name(name):
    """`import rungwise.x as y` gives the module: no attribute of a package hides it."""
    module = importlib.import_module(name)
    found = rungwise
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    assert found is module


def bound(path: Path) -> set[str]:
    """Names that a package gives to anything but its modules."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            outer = [alias for alias in node.names if f"{node.module}.{alias.name}" not in floors.modules()]
            names.update(alias.asname or alias.name for alias in outer)
    return names


def test_no_package_gives_the_name_of_a_module_to_something_else():
    """Else what `import rungwise.x as y` gives depends on what was imported before."""
    for name, path in floors.modules().items():
        if path.name == "__init__.py":
            modules = {other.rpartition(".")[2] for other in floors.modules() if other.rpartition(".")[0] == name}
            assert not (bound(path) | (set(rungwise.__all__) if name == "rungwise" else set())) & modules, name


LAB = ("baselines", "climb", "ladder", "results", "stats", "tables")


def test_modules_that_the_notebook_of_version_0_1_0_imported_are_still_had():
    old = ["files", "layers", "runs", "words", *(f"lab.{name}" for name in LAB)]
    code = (
        "import importlib, sys, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    homes = [importlib.import_module('rungwise.' + name).__name__ for name in sys.argv[1:]]\n"
        "print(*homes, *(f'{w.category.__name__}: {w.message}' for w in caught), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code, *old], capture_output=True, text=True, check=True)
    homes, warned = done.stdout.splitlines()[: len(old)], done.stdout.splitlines()[len(old) :]
    assert set(homes) <= set(floors.modules())
    assert warned == [f"DeprecationWarning: rungwise.{a} is now {b}." for a, b in zip(old, homes, strict=True)]
    with pytest.deprecated_call(match=r"rungwise\.model\.Transformer is now rungwise\.Transformer"):
        from rungwise import model

        assert model.Transformer is rungwise.Transformer

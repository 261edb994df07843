"""ONNX: onnxruntime computes what the model computes, on any shape, and numpy can spell with it."""

import functools
import json
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from helpers import ROOT

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from exports import BLOCK_SIZE, SHAPES, logits_of, model_of, random_run, saved, tokens_of  # noqa: E402
from rungwise.config import ModelConfig  # noqa: E402
from rungwise.export import export  # noqa: E402
from rungwise.inference.sample import Sampling, generate  # noqa: E402
from rungwise.ladder import RUNGS  # noqa: E402
from rungwise.model.cost import RECURRENT  # noqa: E402
from rungwise.training import run_dir  # noqa: E402

EXAMPLE = ROOT / "docs/examples/onnx_generate.py"
QUICK = ("baseline", "layernorm", "learned-positions", "swiglu", "tied", "lstm", "mingru", "conv")
"""Between them every component; each export takes seconds."""


@functools.cache
def exported(config: ModelConfig, protocol: str = "strict") -> Path:
    """Rungs of one model share its export."""
    folder = Path(tempfile.mkdtemp(prefix="rungwise-tests-"))
    run_dir.save(folder / "run", random_run(config, protocol), ["anna"])
    return export(folder / "run", "onnx")[0]


@pytest.mark.parametrize("rung", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in RUNGS])
def test_logits_are_the_models_on_every_rung_and_shape(rung):
    config = model_of(rung)
    session = onnxruntime.InferenceSession(exported(config) / "model.onnx")
    run = random_run(config)
    fixed = config.family in (*RECURRENT, "mingru")  # so many steps as the longest word has
    for shape in (*SHAPES, *([(2, 29)] if config.position != "learned" and not fixed else [])):
        tokens = tokens_of(shape, config)
        behind = BLOCK_SIZE - tokens.shape[1] if fixed else 0
        (theirs,) = session.run(["logits"], {"tokens": np.pad(tokens, ((0, 0), (0, behind)))})
        np.testing.assert_allclose(theirs[:, : tokens.shape[1]], logits_of(run, tokens), atol=1e-5, rtol=0)


def test_more_places_than_a_model_learned_are_an_error_never_other_logits():
    config = model_of("learned-positions")
    session = onnxruntime.InferenceSession(exported(config) / "model.onnx")
    with pytest.raises(Exception, match="broadcast"):  # onnxruntime's classes are not public
        session.run(["logits"], {"tokens": tokens_of((2, BLOCK_SIZE + 1), config)})


def test_the_file_is_plain_whole_and_tells_no_paths():
    packed = (exported(model_of("swiglu")) / "model.onnx").read_bytes()
    model = onnx.load_from_string(packed)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.name, [d.dim_param for d in i.type.tensor_type.shape.dim]) for i in model.graph.input] == [
        ("tokens", ["batch", "time"])
    ]
    assert {o.domain for o in model.opset_import} <= {"", "ai.onnx"}
    assert not model.functions
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
    for path in (ROOT, Path(sys.prefix), Path.home()):
        assert str(path).encode() not in packed
    assert sorted(p.name for p in exported(model_of("swiglu")).iterdir()) == ["README.md", "model.onnx"]


@pytest.mark.parametrize("prefix", ["", "e", "ann"])
def test_the_example_spells_the_word_that_the_model_spells(prefix):
    path = exported(model_of("swiglu")) / "model.onnx"
    run = random_run(model_of("swiglu"))
    (ours,) = generate(run.model, run.vocabulary, 1, None, Sampling(temperature=0, prefix=prefix))
    spelled = runpy.run_path(str(EXAMPLE))["generate"](str(path), 3, temperature=0, prefix=prefix)
    assert spelled == [ours.text] * 3


def test_the_example_runs_with_numpy_and_onnxruntime_alone():
    """As a command, on a model without a start token, where torch and rungwise cannot be imported."""
    path = exported(model_of("learned-positions"), "article") / "model.onnx"
    code = (
        "import runpy, sys\nfor name in ('torch', 'rungwise', 'transformers'): sys.modules[name] = None\n"
        f"sys.argv = ['example', {str(path)!r}, '-n', '23']\nrunpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split("\n")[:-1]
    assert len(words) == 23
    assert all(1 <= len(word) < BLOCK_SIZE for word in words)


def test_sampled_first_characters_are_the_models_probabilities():
    """The example draws from softmax: 4,000 first characters against the model's own probabilities."""
    run = random_run(model_of("swiglu"))
    path = exported(model_of("swiglu")) / "model.onnx"
    words = runpy.run_path(str(EXAMPLE))["generate"](str(path), 4000)
    logits = logits_of(run, np.array([[1]]))[0, 0, 2:].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    seen = np.array([sum(word[0] == c for word in words) for c in run.vocabulary.characters]) / len(words)
    assert np.abs(seen - expected).max() < 4.5 * 0.5 / np.sqrt(len(words))


def test_the_metadata_tells_what_it_takes(tmp_path):
    session = onnxruntime.InferenceSession(exported(model_of("learned-positions"), "article") / "model.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["rungwise"])
    run = random_run(model_of("learned-positions"), "article")
    assert about["characters"] == run.vocabulary.characters
    assert about["firsts"] == run.firsts.tolist()
    assert (about["start_token"], about["block_size"], about["protocol"]) == (False, BLOCK_SIZE, "article")


def test_the_command_is_quiet(tmp_path):
    """What was written and what is next, and nothing on standard error, even where warnings are asked for."""
    line = [sys.executable, "-W", "default", "-m", "rungwise", "export", str(saved("baseline")), "--format", "onnx"]
    done = subprocess.run([*line, "--out", str(tmp_path / "new")], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("\n") == 2
    assert done.stdout.startswith(f"Wrote {tmp_path / 'new'}: one ONNX file, model.onnx. Its logits differ ")

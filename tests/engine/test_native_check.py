"""No flag and no compiler changes a loss: the engine keeps its arithmetic, and a library that is wrong is not used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_words
from helpers import WORDS, command
from rungwise.config import MLP, Family, ModelConfig, Norm, Position, get_protocol
from rungwise.data.batches import Tape
from rungwise.engine import native
from rungwise.engine.native import build, check
from rungwise.inference.score import score
from rungwise.ladder import RUNGS
from rungwise.model.transformer import Transformer

pytestmark = pytest.mark.skipif(native.why_not() is not None, reason=str(native.why_not()))
CXX = build.compiler()[0] if native.why_not() is None else ""


@pytest.fixture(scope="module")
def scored():
    """A model, what it is scored on, and its loss by PyTorch in float64."""
    listed = make_words(97)
    tape = Tape.of(listed, np.arange(len(listed)), get_protocol("strict"))
    model = Transformer(RUNGS["final"].model.replace(vocab_size=len(listed.vocabulary)), seed=3).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)  # an untrained model's attention and GELU see hardly more than zero
        inputs, targets = (torch.from_numpy(x) for x in tape.padded(tape.starts, tape.lengths, int(tape.lengths.max())))
        loss = F.cross_entropy(model.double()(inputs).flatten(0, 1), targets.flatten(), ignore_index=0)
    return model.float(), tape, loss.item()


@pytest.mark.parametrize(
    ("variable", "flags"),
    [
        ("CXXFLAGS", "-Ofast"),
        ("CXXFLAGS", "-O1 -ffast-math"),
        ("CXXFLAGS", "-O1 -funsafe-math-optimizations"),
        ("CXXFLAGS", "-O1 -fassociative-math -fno-signed-zeros -freciprocal-math -ffinite-math-only"),
        ("CXX", f"{CXX} -Ofast"),
    ],
)
def test_flags_that_allow_other_arithmetic_change_nothing(scored, monkeypatch, variable, flags):
    monkeypatch.setenv(variable, flags)
    model, tape, loss = scored
    assert native.why_not() is None  # they are taken back, not refused
    assert score(model, tape, "native").loss == pytest.approx(loss, rel=1e-6)
    with torch.no_grad():
        next(model.parameters())[3, 0], kept = torch.nan, next(model.parameters())[3, 0].item()
    assert np.isnan(score(model, tape, "native").loss)  # a diverged run still shows
    with torch.no_grad():
        next(model.parameters())[3, 0] = kept


@pytest.mark.parametrize("asked", ["", "-ffast-math", "-fmath-errno -ftrapping-math"])
def test_no_flag_takes_back_what_makes_the_engine_fast(monkeypatch, asked):
    """GCC's -fno-fast-math turns errno and trapping arithmetic on again: steps took 1.25 times as long."""
    monkeypatch.setenv("CXXFLAGS", asked)
    found = build.compiler()
    version = subprocess.run([*found, "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in version:
        pytest.skip("GCC alone tells which options are in force")
    command = [*found, *build.flags(version), "-Q", "--help=common"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    on = {line.split()[0] for line in told.splitlines() if line.endswith("[enabled]")}
    assert "-fsigned-zeros" in on
    slow = {"-fmath-errno", "-ftrapping-math"}
    wrong = {"-funsafe-math-optimizations", "-fassociative-math", "-freciprocal-math", "-ffinite-math-only"}
    assert not on & (slow | wrong)


def test_no_library_changes_how_the_process_rounds():
    """-Ofast, given to a linker, sets a whole process to round the smallest numbers to 0."""
    script = "import numpy as np; from rungwise.engine import native; native.load()\n"
    script += "print(np.float32(1e-38) * np.float32(0.1))"
    environment = {**os.environ, "CXXFLAGS": "-Ofast"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0


def test_the_check_meets_every_component_on_and_off():
    fields = {"mlp": get_args(MLP), "norm": get_args(Norm), "position": get_args(Position), "family": get_args(Family)}
    fields |= dict.fromkeys(("projection", "residual", "final_norm", "head_bias", "tie_embeddings"), (True, False))
    for field, values in fields.items():
        assert {getattr(config, field) for config in check.CASES} == set(values), field
    assert {(config.dropout > 0, config.dropout_of_weights > 0) for config in check.CASES} == {
        (on, of_weights) for on in (True, False) for of_weights in (True, False)
    }
    sizes = {"vocab_size", "block_size", "n_layer", "n_head", "n_embd", "head_size", "mlp_ratio", "reach"}
    known = {*fields, *sizes, "dropout", "attention_dropout"}
    assert set(ModelConfig.__dataclass_fields__) == known  # a new component must be met, too


WRONG = {
    "GELU": ("layers.h", "q = q * t - 0.23699500911f", "q = q * t + 0.23699500911f", "loss of"),
    "the norm's gradient": ("layers.h", "- mean_d - unit", "- mean_d + unit", "gradient of"),
    "RoPE's gradient": ("attention.h", "turn_head(x, b.position[n], -1)", "turn_head(x, b.position[n], 1)", "grad"),
    "attention's gradient": ("attention.h", "+ block) - total) * scale", "+ block) + total) * scale", "gradient of"),
    "a GRU's reset gate": ("cells.h", "save(du + 2 * A + j, dn * r)", "save(du + 2 * A + j, dn)", "gradient of"),
    "a tap": ("cells.h", "b.before(row, tap * dilation(block))", "b.before(row, dilation(block))", "gradient of"),
    "dropout": ("passes.h", "dropout.site(3 * i + 2)", "dropout.site(3 * i + 1)", "loss with dropout"),
    "weight decay": ("adamw.h", "float(1 - learning_rate", "float(1 + learning_rate", "loss in training"),
}
RELU = "layers.h", "slope = x > zero ? one : zero", "slope = x > zero ? zero - one : zero"


def build_wrong(monkeypatch, tmp_path, file, right, wrong) -> None:
    """From now on the engine is compiled from a copy in which this is different."""
    copies = [Path(shutil.copy(str(path), tmp_path)) for path in build.SOURCES]
    (copy,) = [path for path in copies if path.name == file]
    assert copy.read_text().count(right) == 1
    copy.write_text(copy.read_text().replace(right, wrong))
    monkeypatch.setattr(build, "SOURCES", copies)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXXFLAGS", "-O0")
    native._tell.cache_clear()  # one test may make the mistake of another


def test_a_library_that_hides_a_nan_is_refused(monkeypatch, tmp_path):
    build_wrong(monkeypatch, tmp_path, "layers.h", "y = x < zero ? zero : x", "y = x > zero ? x : zero")
    assert "is wrong: it hides that a model has diverged" in (native.why_not() or "")


@pytest.mark.parametrize(("file", "right", "wrong", "what"), WRONG.values(), ids=WRONG)
def test_a_library_that_computes_anything_else_is_refused(monkeypatch, tmp_path, capfd, file, right, wrong, what):
    build_wrong(monkeypatch, tmp_path, file, right, wrong)
    for _ in range(2):
        assert f"is wrong: its {what}" in (native.why_not() or "")
    told = capfd.readouterr().err
    assert told == f"rungwise: {native.why_not()} PyTorch is used.\n"  # once
    assert not list(tmp_path.glob("cache/rungwise/*.so"))


def test_where_the_library_is_wrong_pytorch_is_used_and_one_line_says_why(monkeypatch, tmp_path, scored, capfd):
    build_wrong(monkeypatch, tmp_path, *RELU)
    model, tape, loss = scored
    assert score(model, tape).loss == pytest.approx(loss, rel=1e-6)
    assert len(capfd.readouterr().err.splitlines()) == 1
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    train = ["train", "--data", tmp_path / "list.txt", "--steps", 5]
    done = command(*train, "--out", tmp_path / "run")
    assert done.status == 0
    assert "engine torch;" in done.out
    done = command(*train, "--out", tmp_path / "native", "--engine", "native")
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert "gradient of embedding.weight differs from PyTorch's in a model with mlp relu" in done.err
    kept = set(tmp_path.glob("cache/rungwise/*"))
    assert [path.suffix for path in kept] == [".refused"]
    native._found.cache_clear()  # as another process: it need not compile again to know
    monkeypatch.setattr(build, "what_is_wrong", None)
    assert "mlp relu" in (native.why_not() or "")


HEADERS = {
    "crashes": ("__attribute__((constructor)) static void crash() { __builtin_trap(); }", "it cannot be run ("),
    "rounds small numbers to 0": (
        "__attribute__((constructor)) static void flush() { __builtin_ia32_ldmxcsr(0x9fc0); }",
        "it makes the processor round small numbers to zero",
    ),
}


@pytest.mark.parametrize(("header", "line"), HEADERS.values(), ids=HEADERS)
def test_a_library_that_harms_its_process_is_refused(monkeypatch, tmp_path, capfd, header, line):
    if "ia32" in header and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("the flag of another processor")
    (tmp_path / "harm.h").write_text(header)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXXFLAGS", f"-O0 -include {tmp_path / 'harm.h'}")
    assert line in (native.why_not() or "")
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert np.float32(1e-38) * np.float32(0.1) > 0  # and we are as we were


def test_the_check_loads_no_torch_before_there_is_something_to_check():
    script = "import sys; from rungwise.engine import native; native.why_not(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

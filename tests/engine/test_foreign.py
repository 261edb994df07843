"""The engine on processors and systems that this machine lacks, emulated: its arithmetic is PyTorch's there, in two
threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rungwise.engine.native import check
from rungwise.engine.native.library import KINDS, _shape
from rungwise.model.cost import shapes
from rungwise.util.hashing import derive_seed

pytest.importorskip("hatchling")
from hatch_build import FLAGS, NATIVE
from scripts import build_wasm

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(build_wasm.why_not() is not None, reason=str(build_wasm.why_not())),
]
PROCESSORS = {  # compiled for, emulated as, what the library says of both
    "Arm": ("aarch64-linux-musl", "generic", ["qemu-aarch64"], "NEON"),
    "x86-64 of 2008": ("x86_64-linux-musl", "x86_64_v2", ["qemu-x86_64", "-cpu", "Nehalem"], "v2 SSE4.2"),
    "x86-64 of 2003": ("x86_64-linux-musl", "x86_64", ["qemu-x86_64", "-cpu", "qemu64"], "v1 SSE2"),
    "x86-64 of 2013": ("x86_64-linux-musl", "x86_64_v3", ["qemu-x86_64", "-cpu", "Haswell"], "v3 AVX2"),
    "Windows": ("x86_64-windows-gnu", "x86_64_v2", ["wine"], "SSE4.2"),
}


@pytest.fixture(scope="module", params=PROCESSORS.values(), ids=PROCESSORS)
def foreign(request, tmp_path_factory) -> tuple[list[str], str]:
    """The command that trains there, and what it tells of its processor."""
    system, model, emulator, told = request.param
    if not shutil.which(emulator[0]):
        package = "wine" if emulator[0] == "wine" else "qemu-user"
        pytest.skip(f"{emulator[0]} is missing (Debian: {package})")
    folder, zig = tmp_path_factory.mktemp("foreign"), [sys.executable, "-m", "ziglang"]
    target = ["-target", system, f"-mcpu={model}"]
    source = ["-fno-exceptions", "-I", NATIVE, "-c", Path(__file__).with_name("foreign.cpp")]
    made = "train.exe" if "windows" in system else "train"
    for command in (  # in two steps: nothing of C++'s own library needs to be compiled
        [*zig, "c++", *target, *FLAGS, *source, "-o", folder / "train.o"],
        [*zig, "cc", *target, "-static", folder / "train.o", "-o", folder / made],
    ):
        subprocess.run(command, check=True)
    return [*emulator, str(folder / made)], told


@pytest.mark.parametrize("config", check.CASES, ids=lambda config: f"{config.mlp}-{config.norm}-{config.position}")
def test_training_there_is_pytorchs(foreign, config):
    (command, told), true = foreign, check.reference(config)
    inputs, targets, lengths, inside = check._batch(config)
    parts = [check._tensors(config, kind) for kind in range(3)]
    steps, train = len(check.RATES), check.TRAIN
    given = [
        np.frombuffer(bytes(_shape(config)), np.int32),
        np.array([train.beta1, train.beta2, train.weight_decay, train.grad_clip]),
        np.array([len(parts[0]), sum(x.size for x in parts[0].values()), steps, len(lengths), inside.sum()], np.int32),
        np.array([x.size for x in parts[0].values()], np.int32),
        np.array([check.STEP, derive_seed(check.SEED, "dropout")], np.uint64),
        np.array(check.RATES),
        *(np.tile(x[inside].astype(np.int32), steps) for x in (inputs, targets)),
        np.tile(lengths.astype(np.int32), steps),
        *(x for part in parts for x in part.values()),
    ]
    done = subprocess.run(
        command, input=b"".join(x.tobytes() for x in given), capture_output=True, check=True,
        env={**os.environ, "WINEDEBUG": "-all"},
    )  # fmt: skip
    assert done.stderr.decode().rstrip().endswith(told)
    tokens = int(inside.sum())
    nats, rest = np.frombuffer(done.stdout[: 4 * tokens], np.float32), done.stdout[4 * tokens :]
    ours = {"likelihood/each token": nats, "loss in training/two batches": np.frombuffer(rest[: 8 * steps])}
    values, at = np.frombuffer(rest[8 * steps :], np.float32), 0
    for kind, name in zip(KINDS, ("change by AdamW", "first moment", "second moment"), strict=True):
        for key, shape in shapes(config).items():
            value, at = values[at : at + np.prod(shape, dtype=int)].reshape(shape), at + np.prod(shape, dtype=int)
            ours[f"{name}/{key}"] = value - parts[0][key].astype(np.float64) if kind == "param" else value
    assert check._difference(ours, {name: true[name] for name in ours}) is None

"""What test_compiling.py runs in processes of their own."""

import os
import shutil
from pathlib import Path

import numpy as np

from helpers import TINY, listed
from rungwise.config import EngineConfig, get_protocol
from rungwise.config.settings import Settings
from rungwise.data.batches import Tape
from rungwise.data.words import split
from rungwise.engine.select import make_engine
from rungwise.ladder import get_rung
from rungwise.training import run as training
from rungwise.training import run_dir, trainer
from rungwise.util.files import read_tensors


def same_losses(name, **changes):
    """Compiled steps give the losses of plain ones, to what sums in another order do."""
    words, protocol, rung = listed(), get_protocol("strict"), get_rung(name)
    model = rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size, **changes)
    config, tape = rung.train.replace(steps=5, batch_size=7), Tape.of(words, split(words, protocol).train, protocol)
    plain, made = (
        make_engine(model, config, tape, (3, 1), EngineConfig("torch", "cpu", compile=how)) for how in ("off", "on")
    )
    assert (plain.name, made.name) == ("torch", "torch compiled")
    losses = [engine.run(0, [1e-3] * config.steps) for engine in (plain, made)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-5)


def resumed(folder):
    """A run that was begun with compiled steps goes on with them, bit for bit; where it cannot, it says so."""
    folder, lines = Path(folder), []

    def begin(out, *observers):
        asked = Settings.of({**TINY, "rung": "baseline", "compile": "on", "save_every": 0, "eval_every": 20}, "test")
        return training.start(out, asked, log=lines.append, listed=listed(), observers=observers)

    def stop(event):
        if event.kind == "block" and event.step == 14:
            raise KeyboardInterrupt

    trainer.STEPS_AT_ONCE = 7
    begin(folder / "whole")
    assert "Steps are compiled, as asked." in lines
    try:
        begin(folder / "cut", stop)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("was not stopped")
    assert run_dir.load_config(folder / "cut").info["compiled"] is True
    shutil.copytree(folder / "cut", folder / "elsewhere")
    training.resume(folder / "cut", log=lines.append, listed=listed())
    assert "Going on after 7 steps." in lines
    whole, cut = (read_tensors(folder / name / run_dir.CHECKPOINT)[0] for name in ("whole", "cut"))
    assert all((whole[name] == cut[name]).all() for name in whole)
    lines.clear()
    os.environ["CXX"] = "no-such-compiler"
    training.resume(folder / "elsewhere", log=lines.append, listed=listed())
    assert lines[1] == (
        "Steps cannot be compiled: the compiler $CXX, 'no-such-compiler', was not found. "
        "The run was begun with compiled steps: the last bits may differ."
    ), lines
    other = read_tensors(folder / "elsewhere" / run_dir.CHECKPOINT)[0]
    assert all(np.allclose(whole[name], other[name], atol=1e-4) for name in whole)

"""makemore's own figure, measured exactly: python -m scripts.peer_loss PATH/TO/makemore --out results/peers.json

Its script trains as it is (default transformer, seed 3407); the checkpoint that it keeps is then scored over all of its
1,000 test words, token by token, where its own evaluation averages batch means over a sample.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from rungwise.bench.peers import load_makemore
from rungwise.data import words

SEED = 3407


def measure(folder: Path, data: Path, steps: int) -> dict[str, Any]:
    """Train with its script, then score its kept model: test loss in nats a scored character."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "makemore.py", "-i", str(data.resolve()), "-o", out, "--max-steps", str(steps + 1)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        state = torch.load(Path(out) / "model.pt", weights_only=True)
    makemore = load_makemore(folder)
    torch.manual_seed(SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        _, test = makemore.create_datasets(str(data))
    model = makemore.Transformer(
        makemore.ModelConfig(vocab_size=test.get_vocab_size(), block_size=test.get_output_length())
    )
    model.load_state_dict(state)
    model.eval()
    inputs, targets = (torch.stack(column) for column in zip(*test, strict=True))
    with torch.no_grad():
        logits, _ = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    return {
        "test_loss": loss.item(),
        "steps": steps,
        "protocol": "makemore",
        "n_params": sum(p.numel() for p in model.parameters()),
        "source": f"karpathy/makemore's script, default transformer, seed {SEED}, {steps:,} steps; the checkpoint that "
        "it keeps (best of its own evaluations), scored exactly over its 1,000 test words",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("makemore", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = measure(options.makemore, words.names_path(), options.steps)
    options.out.write_text(json.dumps({"makemore": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

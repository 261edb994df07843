"""makemore's own figure, measured exactly: python -m scripts.peer_loss PATH/TO/makemore

Its script trains as it is (default transformer, seed 3407); the checkpoint that it keeps is then scored over all of its
1,000 test words, token by token, where its own evaluation averages batch means over a sample.
Writes results/peers.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from rungwise.data import words
from scripts import common

FILE = common.RESULTS / "peers.json"


def measure(folder: Path, steps: int) -> dict[str, Any]:
    """Train with its script, then score its kept model: test loss in nats a scored character."""
    data = str(words.names_path().resolve())
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "makemore.py", "-i", data, "-o", out, "--max-steps", str(steps + 1)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        state = torch.load(Path(out) / "model.pt", weights_only=True)
    model, _, test = common.makemore(folder)
    model.load_state_dict(state)
    inputs, targets = (torch.stack(column) for column in zip(*test, strict=True))
    with torch.no_grad():
        logits, _ = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    return {
        "test_loss": loss.item(),
        "steps": steps,
        "protocol": "makemore",
        "n_params": sum(p.numel() for p in model.parameters()),
        "source": f"karpathy/makemore's script, default transformer, seed {common.MAKEMORE_SEED}, {steps:,} "
        "steps; the checkpoint that it keeps (best of its own evaluations), scored exactly over its 1,000 test words",
    }


def main() -> None:
    parser = common.parser(__doc__, FILE)
    parser.add_argument("makemore", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    measured = measure(options.makemore, options.steps)
    common.keep(options.out, {"makemore": measured})
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()

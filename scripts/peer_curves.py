"""makemore's own loss as it trains, scored exactly: python -m scripts.peer_curves PATH/TO/makemore

Its script trains as it is but for two lines: every seed trains on the split of its default seed, so that seeds can be
compared word by word, and a checkpoint is kept at every thousandth step instead of the best one by its test words.
With --held-out, a thousand of its training words are left out, to choose a step by them instead of by the test words.
--type takes another of its models (bigram, bow, mlp, rnn, gru) instead of the transformer. Each run adds a line to
results/peers/makemore.jsonl (test_loss and held_out_loss by step, nats a scored character) and a file of the nats of
each test word; runs that are there are not repeated. With --ours, our rung makemore-TYPE trains instead, on the same
words, and its lines go to results/peers/rungwise.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from rungwise.config import get_protocol
from rungwise.data import words
from rungwise.data.batches import Tape
from rungwise.engine import loop
from rungwise.engine.select import make_engine
from rungwise.inference.score import score
from rungwise.ladder import RUNGS
from rungwise.model.cost import n_parameters
from rungwise.util import files
from scripts import common

FOLDER = common.RESULTS / "peers"
EVERY = 1000
"""Steps between the checkpoints that are scored."""
CHANGES = {
    "    # init model\n": "    torch.manual_seed(args.seed)\n    # init model\n",
    "    torch.manual_seed(args.seed)\n": f"    torch.manual_seed({common.MAKEMORE_SEED})\n",
    "if best_loss is None or test_loss < best_loss:": f"if step % {EVERY} == 0:",
    '"model.pt")\n                print(f"test': 'f"{step}.pt")\n                print(f"test',
}
LEAVE_OUT = {"words[i] for i in rp[:-test_set_size]": "words[i] for i in rp[:-2 * test_set_size]"}


def changed(source: str, changes: dict[str, str]) -> str:
    """Its script with lines replaced; ValueError where one is not there exactly once."""
    for old, new in reversed(changes.items()):
        if source.count(old) != 1:
            raise ValueError(f"makemore.py is another version than the one known here: {old.strip()!r}")
        source = source.replace(old, new)
    return source


def word_nats(model: torch.nn.Module, part: Any) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each word, (words,), and its scored characters, (words,)."""
    inputs, targets = (torch.stack(column) for column in zip(*part, strict=True))
    with torch.no_grad():
        logits, _ = model(inputs)
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return nats.view(targets.shape).sum(1).numpy(), (targets != -1).sum(1).numpy()


def train(folder: Path, kind: str, seed: int, steps: int, held_out: bool) -> dict[str, Any]:
    """One run of its script, every kept checkpoint scored."""
    source = changed((folder / "makemore.py").read_text(), CHANGES | (LEAVE_OUT if held_out else {}))
    losses: dict[str, dict[int, float]] = {"test_loss": {}, "held_out_loss": {}}
    model, train_words, test_words = common.makemore(folder, kind)
    parts = {"test_loss": test_words} | ({"held_out_loss": list(train_words)[-1000:]} if held_out else {})
    kept = {}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        (out / "makemore.py").write_text(source)
        data = str(words.names_path().resolve())
        command = [sys.executable, "makemore.py", "-i", data, "-o", ".", "--seed", str(seed), "-n", "0"]
        subprocess.run(
            [*command, "--type", kind, "--max-steps", str(steps + 1)], cwd=out, check=True, stdout=subprocess.DEVNULL
        )
        for step in range(EVERY, steps + 1, EVERY):
            model.load_state_dict(torch.load(out / f"{step}.pt", weights_only=True))
            for name, part in parts.items():
                nats, scored = word_nats(model, part)
                losses[name][step] = float(nats.sum() / scored.sum())
                if name == "test_loss":
                    kept[str(step)] = nats.astype(np.float32)
    if not held_out:
        name = "makemore" if kind == "transformer" else f"makemore-{kind}"
        files.write_tensors(FOLDER / f"{name}-seed{seed}.safetensors", kept)
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    n_params = sum(p.numel() for p in model.parameters())
    return {
        "type": kind,
        "seed": seed,
        "steps": steps,
        "held_out": held_out,
        "n_params": n_params,
        "protocol": "makemore",
        **{name: by_step for name, by_step in losses.items() if by_step},
        "revision": revision.stdout.strip(),
    }


def ours(folder: Path, kind: str, seed: int, steps: int) -> dict[str, Any]:
    """Our model of its size, with its training, on its words. The seed draws other weights and batches than its own."""
    rung, listed = RUNGS[f"makemore-{kind}"], words.load("names")
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    number = {word: i for i, word in enumerate(listed)}
    _, *parts = common.makemore(folder, kind)
    protocol = get_protocol("makemore")
    train_tape, test_tape = (Tape.of(listed, np.array([number[w] for w in p.words]), protocol) for p in parts)
    config = rung.trained(steps)
    engine = make_engine(model, config, train_tape, [seed])
    losses, kept = {}, {}
    for step in range(0, steps, EVERY):
        loop.train(engine, config, first_step=step, last_step=step + EVERY)
        scores = score(loop.models(engine, model, 1)[0], test_tape)
        losses[step + EVERY], kept[str(step + EVERY)] = scores.loss, scores.words.astype(np.float32)
    files.write_tensors(FOLDER / f"rungwise-{kind}-seed{seed}.safetensors", kept)
    about = {"type": kind, "seed": seed, "steps": steps, "held_out": False, "n_params": n_parameters(model)}
    return {**about, "protocol": "makemore", "test_loss": losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("makemore", type=Path)
    parser.add_argument("--type", default="transformer", choices=common.MAKEMORE_TYPES)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--ours", action="store_true")
    options = parser.parse_args()
    if options.ours and options.type == "transformer":
        parser.error("--ours has the other types; of transformers, see the rungs' own climbs")
    out = FOLDER / ("rungwise.jsonl" if options.ours else "makemore.jsonl")
    files.make_folder(FOLDER)
    lines = out.read_text().splitlines() if out.exists() else []
    there = {(r.get("type", "transformer"), r["seed"], r["held_out"]) for r in map(json.loads, lines)}
    for seed in range(common.MAKEMORE_SEED, common.MAKEMORE_SEED + options.seeds):
        if (options.type, seed, options.held_out) not in there:
            given = (options.makemore, options.type, seed, options.steps)
            lines.append(json.dumps(ours(*given) if options.ours else train(*given, options.held_out)))
            files.write_text(out, "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()

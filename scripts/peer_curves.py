"""makemore's own loss as it trains, scored exactly: python -m scripts.peer_curves PATH/TO/makemore

Its script trains as it is but for two lines: every seed trains on the split of its default seed, so that seeds can be
compared word by word, and a checkpoint is kept at every thousandth step instead of the best one by its test words.
With --held-out, a thousand of its training words are left out, to choose a step by them instead of by the test words.
--type takes another of its models (bigram, bow, mlp, rnn, gru) instead of the transformer. Each run adds a line to
results/peers/makemore.jsonl (test_loss and held_out_loss by step, nats a scored character) and a file of the nats of
each test word; runs that are there are not repeated. With --ours, our rung makemore-TYPE trains instead, or the rung
that is named, on the same words, and its lines go to results/peers/rungwise.jsonl.

Where the transformer and our rung RUNG have been trained, with held-out words, too, every call ends by pairing them
word by word into results/peers.json: after as many steps, and each at its best step, chosen by the held-out words.
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
LONG, RUNG = 20_000, "dropout-20k"
"""Steps, and the rung, of the article's comparison with makemore."""
AS_MANY, AT_BEST = "after as many steps", "each at its best step"
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


def ours(folder: Path, kind: str, name: str, seed: int, steps: int, held_out: bool) -> dict[str, Any]:
    """Our rung `name` on its words; `kind`: what its line calls it. A seed draws other weights and batches than its
    own."""
    rung, listed = RUNGS[name], words.load("names")
    model = rung.model.replace(vocab_size=len(listed.vocabulary), block_size=listed.block_size)
    number = {word: i for i, word in enumerate(listed)}
    _, *parts = common.makemore(folder)
    train_words, test_words = (np.array([number[w] for w in part.words]) for part in parts)
    protocol, tapes = get_protocol("makemore"), {}
    if held_out:
        train_words, left_out = train_words[:-1000], train_words[-1000:]
        tapes["held_out_loss"] = Tape.of(listed, left_out, protocol)
    train_tape, tapes["test_loss"] = (Tape.of(listed, part, protocol) for part in (train_words, test_words))
    config = rung.trained(steps)
    engine = make_engine(model, config, train_tape, [seed])
    losses: dict[str, dict[int, float]] = {name: {} for name in tapes}
    kept = {}
    for step in range(EVERY, steps + 1, EVERY):
        loop.train(engine, config, first_step=step - EVERY, last_step=step)
        trained = loop.models(engine, model, 1)[0]
        for part, tape in tapes.items():
            scores = score(trained, tape)
            losses[part][step], kept[part, step] = scores.loss, scores.words.astype(np.float32)
    if not held_out:
        tensors = {str(step): nats for (part, step), nats in kept.items() if part == "test_loss"}
        files.write_tensors(FOLDER / f"rungwise-{kind}-seed{seed}.safetensors", tensors)
    about = {"type": kind, "seed": seed, "steps": steps, "held_out": held_out, "n_params": n_parameters(model)}
    return {**about, "protocol": "makemore", **losses}


def lines(who: str, kind: str, held_out: bool) -> list[dict[str, Any]]:
    """The runs of 20,000 steps that were measured."""
    file = FOLDER / f"{who}.jsonl"
    every = map(json.loads, file.read_text().splitlines() if file.exists() else [])
    wanted = (kind, held_out, LONG)
    return [run for run in every if (run.get("type", "transformer"), run["held_out"], run["steps"]) == wanted]


def nats_of(who: str, kind: str, step: int) -> np.ndarray:
    """(seeds, words) nats of the test words at a step."""
    begin = who if (who, kind) == ("makemore", "transformer") else f"{who}-{kind}"
    runs = lines(who, kind, held_out=False)
    found = [files.read_tensors(FOLDER / f"{begin}-seed{run['seed']}.safetensors")[0][str(step)] for run in runs]
    return np.stack([np.asarray(nats, dtype=float) for nats in found])


def best_step(who: str, kind: str) -> int:
    """The step of the lowest mean loss on held-out words."""
    curves = [run["held_out_loss"] for run in lines(who, kind, held_out=True)]
    return min(map(int, curves[0]), key=lambda step: float(np.mean([curve[str(step)] for curve in curves])))


def pairs(folder: Path) -> dict[str, Any]:
    """What results/peers.json holds of makemore."""
    _, _, test_words = common.makemore(folder)
    characters = [len(word) + 1 for word in test_words.words]  # and the end
    theirs = lines("makemore", "transformer", held_out=False)
    chosen = {"makemore": best_step("makemore", "transformer"), "rungwise": best_step("rungwise", RUNG)}
    against = {}
    for what, steps in ((AS_MANY, dict.fromkeys(chosen, LONG)), (AT_BEST, chosen)):
        its, our = nats_of("makemore", "transformer", steps["makemore"]), nats_of("rungwise", RUNG, steps["rungwise"])
        n, total = min(len(its), len(our)), sum(characters)
        against[what] = {
            "ours": {"steps": steps["rungwise"], "test_loss": float(our[:n].mean(0).sum() / total)},
            "its": {"steps": steps["makemore"], "test_loss": float(its[:n].mean(0).sum() / total)},
            "nats": [[round(float(x), 4) for x in row] for row in our[:n] - its[:n]],
        }
    return {
        "test_loss": float(np.mean([run["test_loss"][str(LONG)] for run in theirs])),
        "steps": LONG,
        "protocol": "makemore",
        "n_params": theirs[0]["n_params"],
        "source": f"karpathy/makemore's own script at {theirs[0]['revision'][:7]}, default transformer, mean of "
        f"{len(theirs)} seeds on the split of its default seed; checkpoints scored exactly over its 1,000 test words",
        "characters": characters,
        "against": {RUNG: against},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("makemore", type=Path)
    parser.add_argument("--type", default="transformer", choices=common.MAKEMORE_TYPES)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--ours", nargs="?", const="", metavar="RUNG")
    options = parser.parse_args()
    mine, kind = options.ours is not None, options.ours or options.type
    if options.ours == "" and kind == "transformer":
        parser.error("--ours of transformers names a rung, as in --ours dropout-20k")
    out = FOLDER / ("rungwise.jsonl" if mine else "makemore.jsonl")
    files.make_folder(FOLDER)
    kept = out.read_text().splitlines() if out.exists() else []
    there = {(r.get("type", "transformer"), r["seed"], r["held_out"]) for r in map(json.loads, kept)}
    for seed in range(common.MAKEMORE_SEED, common.MAKEMORE_SEED + options.seeds):
        if (kind, seed, options.held_out) in there:
            continue
        more = (seed, options.steps, options.held_out)
        rung = options.ours or f"makemore-{options.type}"
        run = ours(options.makemore, kind, rung, *more) if mine else train(options.makemore, kind, *more)
        kept.append(json.dumps(run))
        files.write_text(out, "".join(f"{line}\n" for line in kept))
    both = (("makemore", "transformer"), ("rungwise", RUNG))
    if all(lines(*who, held_out) for who in both for held_out in (False, True)):
        common.keep(common.RESULTS / "peers.json", {"makemore": pairs(options.makemore)})


if __name__ == "__main__":
    main()

"""Draw words from an exported model with numpy and onnxruntime alone:

rungwise export runs/towns --format onnx
python docs/examples/onnx_generate.py runs/towns/onnx/model.onnx -n 20 --temperature 0.8
"""

import argparse
import json

import numpy as np
import onnxruntime

PAD, END = 0, 1
FIRST_CHARACTER = 2


def generate(path: str, n: int, temperature: float = 1.0, prefix: str = "", seed: int = 0) -> list[str]:
    """n words, side by side. `temperature` 0: always the most probable character."""
    session = onnxruntime.InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map["rungwise"])
    characters, start = about["characters"], about["start_token"]
    rng = np.random.default_rng(seed)
    given = [END] * start + [characters.index(character) + FIRST_CHARACTER for character in prefix]
    tokens = np.tile(np.array(given, dtype=np.int64), (n, 1))
    if not given:  # a model without a start token never predicts a first character: they are drawn from the list's
        firsts = np.array(about["firsts"]) / sum(about["firsts"])
        tokens = rng.choice(len(firsts), size=(n, 1), p=firsts)
    longest = about["block_size"] - 1 + start
    ended = np.zeros(n, dtype=bool)
    while tokens.shape[1] < longest and not ended.all():
        (logits,) = session.run(["logits"], {"tokens": tokens})
        last = logits[:, -1].astype(np.float64)
        last[:, PAD] = -np.inf
        if start and tokens.shape[1] == 1:
            last[:, END] = -np.inf  # a word has at least one character
        noise = rng.gumbel(size=last.shape)  # the largest of logits + noise is a draw from their softmax
        chosen = (last + temperature * noise).argmax(-1)
        chosen[ended] = PAD
        ended |= chosen == END
        tokens = np.concatenate([tokens, chosen[:, None]], axis=1)
    return ["".join(characters[i - FIRST_CHARACTER] for i in row if i >= FIRST_CHARACTER) for row in tokens]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="model.onnx")
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(*generate(options.model, options.n, options.temperature, options.prefix, options.seed), sep="\n")

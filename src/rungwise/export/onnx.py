"""A run as one ONNX file, for any runtime: token ids (batch, time) in, logits (batch, time, vocab) out.

What it takes to use the file besides the arithmetic (alphabet, protocol, longest word) travels in its metadata.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.export.check import Made, deviation, example
from rungwise.model.cost import RECURRENT
from rungwise.model.transformer import Transformer
from rungwise.training.run_dir import Run

MODEL = "model.onnx"
METADATA = "rungwise"
"""The entry of the file's metadata that is ours: JSON, see about()."""

CODE = """\
import json

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["rungwise"])
symbols = [*about["characters"], *(f"<{value}>\\n" for value in about.get("conditions", []))]
alphabet = {symbol: i for i, symbol in enumerate(symbols, 2)}  # 0 is PAD, 1 is END

word = SYMBOLS
tokens = [1] * about["start_token"] + [alphabet[character] for character in word]
(logits,) = session.run(["logits"], {"tokens": np.array([tokens])})
probability = np.exp(logits[0, -1] - logits[0, -1].max())
probability /= probability.sum()
for i in probability.argsort()[:-4:-1]:
    following = "(pad)" if i == 0 else "(end)" if i == 1 else symbols[i - 2]
    print(f"{''.join(word)!r} is followed by {following} with probability {probability[i]:.3f}")
"""


class _TokensIn(nn.Module):
    """The model with tokens as its one input."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens)


def about(run: Run) -> dict[str, Any]:
    """What a program needs to turn words into tokens and back, as the file's metadata holds it."""
    return {
        **run.vocabulary.to_json(),
        "start_token": run.word_start.end_fed,
        "firsts": run.firsts.tolist(),
        "block_size": run.model.config.block_size,
        "protocol": run.protocol.name,
    }


def write(run: Run, folder: Path) -> Made:
    """Write model.onnx: a single file, its weights inside (so up to protobuf's 2 GB)."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would keep a number of this machine in the user's home
    import onnxruntime

    packed = convert(run.model, about(run))
    (folder / MODEL).write_bytes(packed)
    session = onnxruntime.InferenceSession(packed)
    longest, padded = run.model.config.block_size, _padded(run.model)

    def logits(tokens: np.ndarray) -> np.ndarray:
        time = tokens.shape[1]
        tokens = np.pad(tokens, ((0, 0), (0, longest - time))) if padded else tokens
        return np.asarray(session.run(["logits"], {"tokens": tokens})[0])[:, :time]

    error = deviation(run.model, logits)
    length = f"at most {longest} tokens" if _longest(run.model) else "any length"
    length = f"exactly {longest} tokens, zeros behind a shorter word" if padded else length
    return Made(
        what="one ONNX file, model.onnx",
        library="onnx",
        code=example(CODE, run),
        notes=(
            f"Input `tokens`: int64 (batch, time), any batch, {length}. Output `logits`: float32 (batch, time, vocab).",
            "The model is causal: shorter words in a batch are padded on the right, and need no mask.",
            f"The file's metadata holds, as JSON under `{METADATA}`: characters (of each symbol; its id is its place "
            "plus 2; after them come those of conditions, what a word may be given), start_token (END is fed before a "
            "word), firsts (how often each id begins a training word), block_size.",
        ),
        error=error,
    )


def convert(model: Transformer, metadata: dict[str, Any]) -> bytes:
    """The model as a serialised ONNX graph with dynamic batch and time."""
    longest = model.config.block_size
    dynamic = {0: torch.export.Dim("batch")}
    if not _padded(model):
        dynamic[1] = torch.export.Dim("time", max=_longest(model))
    example = torch.ones(2, longest if _padded(model) else min(3, longest), dtype=torch.int64)
    with _quiet():
        program = torch.onnx.export(
            _TokensIn(model).eval(),
            (example,),
            dynamo=True,
            dynamic_shapes={"tokens": dynamic},
            input_names=["tokens"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    packed = program.model_proto
    graph = packed.graph
    for part in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output, graph):
        del part.metadata_props[:]  # stack traces of the export, with this machine's paths
        part.doc_string = ""
    packed.producer_name = "rungwise"
    packed.metadata_props.add(key=METADATA, value=json.dumps(metadata))
    return packed.SerializeToString()


def _padded(model: Transformer) -> bool:
    """A state goes from character to character: the graph holds so many steps as the longest word has, and no loop."""
    return model.config.family in (*RECURRENT, "mingru")


def _longest(model: Transformer) -> int | None:
    return model.config.block_size if model.config.position == "learned" else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its passes, and packages that it does not need here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

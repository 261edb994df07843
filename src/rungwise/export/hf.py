"""A run as a directory of transformers': AutoModelForCausalLM and AutoTokenizer load it with no code of ours."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rungwise.config import ModelConfig
from rungwise.data.words import END, PAD
from rungwise.errors import UserError
from rungwise.export import tokenizer
from rungwise.export.check import Made, deviation, example
from rungwise.export.homes import Home, nearest
from rungwise.ladder import RUNGS
from rungwise.training.run_dir import Run

CODE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

here = "."  # this directory, or its name on the hub
model = AutoModelForCausalLM.from_pretrained(here)
tokenizer = AutoTokenizer.from_pretrained(here)

begun = tokenizer([PREFIX] * 5, return_tensors="pt")
for word in tokenizer.batch_decode(model.generate(**begun), skip_special_tokens=True):
    print(word)
"""

WHY = {
    "final_norm": "has no final norm",
    "head_bias": "has a head with a bias",
    "projection": "has no projection of the heads' outputs",
    "residual": "has no residual connections",
    "n_embd": "has heads that are not n_embd / n_head wide",
}
"""What is wrong with a model, by the field that is; for the other fields, their value is named."""


def write(run: Run, folder: Path) -> Made:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files."""
    home = find_home(run.model.config)
    block_size, start_token, unit = run.model.config.block_size, run.word_start.end_fed, run.vocabulary.tokens.unit
    with _quiet():
        model = build(home, run)
        try:
            model.save_pretrained(folder)
        except Exception as error:  # safetensors reports a full disk in an error of its own
            if "I/O error" in str(error):
                raise OSError(str(error)) from None
            raise
        shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors' own lets no one else read
        tokenizer.save(folder, run.vocabulary, start_token, block_size)
        error = deviation(run.model, _reader(folder))
    return Made(
        what=f"a {home.name} of transformers, with its tokenizer",
        library="transformers",
        code=example(CODE, run),
        notes=(
            f"Every {unit} is one token. END (id 1, written as a line break) ends a word"
            + (" and is put before it, as in training. " if start_token else "; none is put before it. ")
            + f"A {unit} outside the alphabet is an error: no token stands for unknown ones.",
            f"`generate()` draws words as `rungwise sample` does, of at most {run.longest} {unit}s; "
            "`do_sample=False` gives the one most probable word.",
            "Dropout is 0 in config.json; set it there to train on.",
        ),
        error=error,
    )


def find_home(config: ModelConfig) -> Home:
    """The class that holds a model exactly; where there is none, the error says why, and what to train instead."""
    if config.family != "transformer":
        raise UserError(
            f"No class that we export to holds a model of family {config.family}: they are transformers. Export with "
            "--format onnx."
        )
    home, unmet = nearest(config)
    if not unmet:
        return home
    reasons = [WHY.get(field) or f"has {field}={getattr(config, field)}" for field in unmet]
    wrong = " and ".join(filter(None, [", ".join(reasons[:-1]), reasons[-1]]))
    flags = " ".join(f"--{field.replace('_', '-')} {value}" for field, value in unmet.items())
    rung = next((name for name, rung in RUNGS.items() if not home.unmet(rung.model)), None)
    raise UserError(
        f"No class that we export to holds this model exactly: for {home.name}, the nearest, it {wrong}; train with "
        f"{flags}{f' (rung {rung} fits)' if rung else ''}, or export with --format onnx."
    )


def build(home: Home, run: Run) -> Any:
    """Their model with our weights, and with generation set as `rungwise sample` draws."""
    import transformers

    config, start_token = run.model.config, run.word_start.end_fed
    bos = END if start_token else None
    their_config = getattr(transformers, home.name).config_class(
        vocab_size=config.vocab_size,
        hidden_size=config.n_embd,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        max_position_embeddings=config.block_size,
        tie_word_embeddings=config.tie_embeddings,
        bos_token_id=bos,
        eos_token_id=END,
        pad_token_id=PAD,
        **home.config(config),
    )
    with torch.random.fork_rng(devices=[]):
        model = getattr(transformers, home.name)(their_config).eval()
    ours = run.model.state_dict()
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    last = {f"{head}.weight": ours["embedding.weight" if config.tie_embeddings else "head.weight"]}
    model.load_state_dict(home.state(config, ours) | last)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=bos,
        eos_token_id=END,
        pad_token_id=PAD,
        do_sample=True,
        top_k=0,  # theirs would be 50
        max_length=config.block_size + start_token,
        forced_eos_token_id=END,  # a word of full length ends
        min_length=2 if start_token or run.vocabulary.conditions else None,  # a word has at least one character
        suppress_tokens=[PAD, *range(run.vocabulary.first_condition, config.vocab_size)],
    )
    return model


def _reader(folder: Path) -> Any:
    """tokens -> logits by the files in a directory, as a stranger would load them."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def logits(tokens: Any) -> Any:
        return model(torch.from_numpy(tokens)).logits.numpy()

    return logits


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports what it loads, in bars and lines."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

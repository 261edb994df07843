"""A vocabulary as a tokenizer of Hugging Face's: every symbol one token, with the ids that the model knows.

END is written as a line break, and PAD and what a word is given as text that ends in one: no word holds a line break,
so no word can ever be taken for any of them, whatever else is in the alphabet. A file with a word a line reads as words
parted by END. A symbol outside the alphabet has no token, and there is none that could stand for it: encoding it is an
error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rungwise.data.words import END, FIRST_CHARACTER, PAD, Vocabulary
from rungwise.export.check import symbols
from rungwise.util.files import write_json

END_TEXT, PAD_TEXT = "\n", "<pad>\n"


def native(vocabulary: Vocabulary, start_token: bool) -> Any:
    """A tokenizers.Tokenizer. `start_token`: it puts END before a word, as the model has met words in training."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    ids = {PAD_TEXT: PAD, END_TEXT: END}
    ids |= {symbol: i for i, symbol in enumerate(symbols(vocabulary), FIRST_CHARACTER)}
    special = [PAD_TEXT, END_TEXT, *symbols(vocabulary)[len(vocabulary.characters) :]]
    tokenizer = Tokenizer(models.WordLevel(ids))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.normalizer = normalizers.NFC()  # as words.read() brings a list to it
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern(vocabulary)), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if start_token:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[END_TEXT, "$A"], pair=[END_TEXT, "$A", END_TEXT, "$B"], special_tokens=[(END_TEXT, END)]
        )
    return tokenizer


def _pattern(vocabulary: Vocabulary) -> str:
    """What Tokens.split() does, as a regular expression. A grapheme that the alphabet lacks is an error or read as
    several that it holds: the library's own \\X follows an older Unicode, which parts Indic conjuncts."""
    tokens = vocabulary.tokens
    listed = vocabulary.characters if tokens.kind == "graphemes" else tokens.listed
    return "|".join([*map(re.escape, sorted(listed, key=len, reverse=True)), r"[\s\S]"])


def save(folder: Path, vocabulary: Vocabulary, start_token: bool, block_size: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, which AutoTokenizer reads."""
    write_json(folder / "tokenizer.json", json.loads(native(vocabulary, start_token).to_str()))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_TEXT,
        "pad_token": PAD_TEXT,
        "padding_side": "left",  # generation goes on at the right
        "clean_up_tokenization_spaces": False,
        "model_max_length": block_size,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json(folder / "tokenizer_config.json", about | ({"bos_token": END_TEXT} if start_token else {}))

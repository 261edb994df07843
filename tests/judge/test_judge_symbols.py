"""A list that was read in other symbols, or with a condition, is divided and judged as its run was trained."""

import json

from helpers import command
from rungwise.config import ListConfig, get_protocol
from rungwise.data import words

WORDS = ["CCl", "ClC", "BrCC", "CBr", "CClBr", "CCC", "ClCl", "BrBr", "CCBr", "ClBrC", "BrC", "CClC"]


def test_a_list_in_tokens_of_a_file_is_judged_as_it_is_trained_on(tmp_path):
    """Too long is counted in symbols, as in training; and generated words need not split into the list's."""
    atoms, listed, drawn = (tmp_path / name for name in ("atoms.txt", "list.csv", "drawn.txt"))
    atoms.write_text("Cl\nBr\nC\n")
    rows = [f"{word},{kind}" for word in WORDS for kind in ("one", "two")]
    listed.write_text("\n".join(["word,kind", *rows]) + "\n")
    drawn.write_text("CCl\nCClBr\nOOO\nCCl\n")
    how = ["--column", "word", "--tokens", atoms, "--condition", "kind", "--max-length", 3]
    found = command("judge", listed, drawn, *how, "--json")
    assert found.status == 0, found.err
    told = json.loads(found.out)
    config = ListConfig(str(listed), column="word", tokens=str(atoms), condition="kind", max_length=3)
    read = words.load(config)
    parts = words.split(read, get_protocol("strict", "kind"))
    train, held_out = ({read[i] for i in part} for part in (parts.train, [*parts.validation, *parts.test]))
    plain = words.load(config).spelled
    again = words.split(plain, get_protocol("strict"))
    assert {plain[i] for i in again.train} == train and train | held_out == set(WORDS)
    assert told["samples_from"] == "drawn.txt"
    human = command("judge", listed, drawn, *how).out.splitlines()
    assert human[0].startswith(f"list.csv: {len(train)} training and {len(held_out)} held-out words")
    assert human[1].startswith("drawn.txt: 4 words")

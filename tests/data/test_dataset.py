"""A list in memory and one in shards meet one contract: who trains on a dataset does not know which it has."""

import json
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import make_words
from helpers import listed
from rungwise.config import ListConfig, TrainConfig, WordStart, get_protocol
from rungwise.data import dataset as datasets
from rungwise.data.batches import Tape
from rungwise.data.dataset import Dataset, ListDataset, ShardedDataset

KINDS = ["list", "shards"]
STRICT = get_protocol("strict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Words, and where they lie: (the words, {kind: the list's configuration})."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    found, words = tmp_path_factory.mktemp("lists"), list(make_words(600))
    (found / "list.txt").write_text("".join(f"{word}\n" for word in words))
    (found / "shards").mkdir()
    for i in range(2):
        pq.write_table(pa.table({"name": words[i::2]}), found / "shards" / f"{i}.parquet", row_group_size=70)
    return {
        "list": ListConfig(str(found / "list.txt")),
        "shards": ListConfig(str(found / "shards"), column="name"),
    }


def load(folder, kind: str) -> tuple[Dataset, ListConfig]:
    return datasets.load(folder[kind], "strict", "words")


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_the_contract_names_is_there(folder, kind):
    """Nothing raises because it is the other kind."""
    dataset, _ = load(folder, kind)
    for name in get_type_hints(Dataset):
        getattr(dataset, name)
    assert isinstance(dataset.tape, Tape) == (kind == "list")
    assert len(dataset.firsts) == len(dataset.vocabulary)
    assert dataset.firsts.sum() == dataset.n_train > 0
    assert dataset.describe().startswith(dataset.name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_scored_and_the_parts_share_no_word(folder, kind):
    dataset, _ = load(folder, kind)
    start = WordStart.of(STRICT, TrainConfig())
    tapes = {part: dataset.scored_tape(part, start) for part in ("train", "validation", "test")}
    found = {
        part: {tape.tokens[s : s + n].tobytes() for s, n in zip(tape.starts + 1, tape.lengths - 1, strict=True)}
        for part, tape in tapes.items()
        if tape is not None
    }
    assert all(found[part] for part in tapes)
    assert not found["train"] & found["test"] and not found["validation"] & found["test"]
    evaluated = dataset.scored_tape("validation", start, datasets.EVALUATION_WORDS)
    assert evaluated is not None
    np.testing.assert_array_equal(evaluated.tokens, tapes["validation"].tokens)  # fewer than EVALUATION_WORDS


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 40), step=st.integers(0, 700), seed=st.integers(0, 9))
def test_another_process_reads_the_same_batches_from_a_description(folder, kind, batch_size, step, seed):
    dataset, source = load(folder, kind)
    config = TrainConfig(batch_size=batch_size)
    mine = dataset.batches(config, seed)
    sent = json.loads(json.dumps(dataset.description()))
    theirs = datasets.described_batches(sent, source, STRICT, config, seed)
    assert mine.mean_length == pytest.approx(theirs.mean_length)
    for one, other in zip(mine.rows(step, 0, batch_size), theirs.rows(step, 0, batch_size), strict=True):
        assert one.shape[0] == batch_size
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_directory_keeps_what_it_needs(folder, kind, tmp_path):
    dataset, _ = load(folder, kind)
    dataset.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= datasets.FILES
    if isinstance(dataset, ShardedDataset):
        again = ShardedDataset.load(tmp_path, dataset.firsts)
        assert again.description() == dataset.description()
        assert again.describe() == dataset.describe()


def test_without_validation_words_there_are_none_to_evaluate():
    protocol = get_protocol("article")
    dataset = ListDataset(listed(), protocol)
    assert dataset.scored_tape("validation", WordStart.of(protocol, TrainConfig())) is None

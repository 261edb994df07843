import numpy as np
import pytest

from helpers import expected_pairs
from rungwise.config import TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, draw
from rungwise.data.words import END, PAD
from rungwise.errors import UserError


def test_padded_batches_hold_each_word_and_pad(words, protocol):
    indices = np.random.default_rng(1).permutation(len(words))[:13]
    tape = Tape.of(words, indices, protocol)
    inputs, targets = tape.padded(tape.starts, tape.lengths, words.block_size + 2)
    for row, (fed, predicted) in enumerate(expected_pairs(words, indices, protocol)):
        assert inputs[row, : len(fed)].tolist() == fed
        assert targets[row, : len(fed)].tolist() == predicted
        assert (inputs[row, len(fed) :] == PAD).all()
        assert (targets[row, len(fed) :] == PAD).all()


def test_packed_batches_hold_the_same_tokens(words, protocol):
    tape = Tape.of(words, np.arange(17), protocol)
    chosen = np.array([[3, 1, 4], [1, 5, 9]])
    inputs, targets = tape.packed(tape.starts[chosen], tape.lengths[chosen])
    pairs = expected_pairs(words, chosen.ravel(), protocol)
    assert inputs.tolist() == [token for fed, _ in pairs for token in fed]
    assert targets.tolist() == [token for _, predicted in pairs for token in predicted]


def test_every_word_is_scored_once(words, protocol):
    tape = Tape.of(words, np.arange(len(words)), protocol)
    assert tape.n_tokens == words.lengths.sum() + len(words) * protocol.start_token


def test_windows_score_each_token_of_the_stream_once(words, protocol):
    tape = Tape.of(words, np.arange(23), protocol).windows(7)
    _, targets = tape.packed(tape.starts, tape.lengths)
    stream = [token for i in range(23) for token in [*words.vocabulary.encode(words[i]).tolist(), END]]
    assert targets.tolist() == stream[1:]


@pytest.mark.parametrize("batching", ["words", "stream"])
def test_draws_depend_on_seed_and_block_alone(words, protocol, batching):
    tape = Tape.of(words, np.arange(len(words)), protocol)
    config = TrainConfig(batching=batching, batch_size=5, window=11)
    first = draw(tape, config, seed=3, block=2)
    again = draw(tape, config.replace(learning_rate=0.5, steps=7), seed=3, block=2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0].shape == first[1].shape == (STEPS_A_BLOCK, 5)
    for other in (draw(tape, config, seed=4, block=2), draw(tape, config, seed=3, block=1)):
        assert (first[0] != other[0]).any()


def test_draws_reach_every_word_and_stay_on_the_tape(words, protocol):
    tape = Tape.of(words, np.arange(len(words)), protocol)
    starts, _ = draw(tape, TrainConfig(), seed=0, block=0)
    assert set(starts.ravel()) == set(tape.starts)
    starts, lengths = draw(tape, TrainConfig(batching="stream", window=13), seed=0, block=0)
    assert starts.min() == 1
    assert (starts + lengths).max() == len(tape.tokens) - 1


def test_a_stream_shorter_than_a_window_is_refused(words, protocol):
    tape = Tape.of(words, np.arange(1), protocol)
    with pytest.raises(UserError, match="window"):
        draw(tape, TrainConfig(batching="stream", window=64), seed=0, block=0)

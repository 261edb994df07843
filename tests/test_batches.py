import numpy as np
import pytest

from rungwise.batches import STEPS_A_BLOCK, Tape, attention_mask, draw, dropout_mask, mask_key
from rungwise.config import TrainConfig, UserError, derive_seed
from rungwise.words import END, PAD


def expected_pairs(words, indices, protocol):
    """What a loop in plain Python over unpadded words feeds and predicts."""
    pairs = []
    for i in indices:
        ids = [*([END] if protocol.start_token else []), *words.vocabulary.encode(words[i]).tolist(), END]
        pairs.append((ids[:-1], ids[1:]))
    return pairs


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


GOLDEN, ALL = 0x9E3779B97F4A7C15, (1 << 64) - 1


def splitmix64(x: int) -> int:
    """Steele et al. 2014, figure 17 (the finaliser), in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ALL
    return x ^ (x >> 31)


def documented(p, seed, step, site, word, number):
    """Is element 4 * number + 0, 1, 2, 3 kept, after reading `word`? batches.dropout_mask in plain integers."""
    state = derive_seed(seed, "dropout")
    for part in (step, site):
        state = splitmix64((state + GOLDEN * (part + 1)) & ALL)
    prefix = 0
    for token in word:
        prefix = splitmix64((prefix + GOLDEN * (token + 1)) & ALL)
    bits = splitmix64((state + prefix + GOLDEN * (number + 1)) & ALL)
    return [(bits >> (16 * lane)) & 0xFFFF >= round(p * 65536) for lane in range(4)]


def test_masks_are_the_documented_function_of_what_has_been_read():
    p, seed, step, site, width, heads = 0.3, 5, 7, 2, 11, 5
    inputs = np.random.default_rng(0).integers(1, 29, (3, 7))
    kept = dropout_mask(p, mask_key(seed, step, site), inputs, width)
    weights = attention_mask(p, mask_key(seed, step, site), inputs, heads)
    assert kept.shape == (3, 7, 11)
    assert weights.shape == (3, 5, 7, 7)
    for b, t, d in [(0, 0, 0), (1, 2, 3), (2, 4, 10), (0, 3, 7)]:
        word = inputs[b, : t + 1].tolist()
        assert (kept[b, t, d] > 0) == documented(p, seed, step, site, word, d // 4)[d % 4]
    for b, h, t, s in [(0, 0, 0, 0), (1, 4, 2, 1), (1, 3, 6, 5)]:
        word = inputs[b, : t + 1].tolist()
        assert (weights[b, h, t, s] > 0) == documented(p, seed, step, site, word, s * 2 + h // 4)[h % 4]


def test_masks_drop_their_share_and_keep_the_mean():
    words = np.random.default_rng(0).integers(1, 29, (61, 17))
    kept = dropout_mask(0.2, mask_key(0, 0, 0), words, 67)
    n = kept.size
    assert abs((kept == 0).mean() - 0.2) < 4 * (0.2 * 0.8 / n) ** 0.5
    assert abs(kept.mean() - 1) < 4 * (0.25 / n) ** 0.5
    assert abs(np.corrcoef(kept[:, :, 0].ravel(), kept[:, :, 1].ravel())[0, 1]) < 0.12
    assert abs(np.corrcoef(kept[:, 3].ravel(), kept[:, 4].ravel())[0, 1]) < 0.12


def test_masks_are_shared_as_far_as_words_begin_alike_and_no_further():
    words = np.array([[5, 6, 7, 8, 9, 0], [5, 6, 7, 3, 9, 2], [4, 6, 7, 8, 9, 1]])
    for kept in (dropout_mask(0.5, mask_key(1, 2, 3), words, 31), attention_mask(0.5, mask_key(1, 2, 3), words, 7)):
        by_time = kept if kept.ndim == 3 else kept.transpose(0, 2, 1, 3)
        assert (by_time[0, :3] == by_time[1, :3]).all()
        for other, t in ((1, 3), (1, 4), (2, 0), (2, 1), (2, 4)):
            assert (by_time[0, t] != by_time[other, t]).any()


def test_masks_do_not_move_with_trimming_or_slicing_and_differ_between_seeds_sites_and_steps():
    words = np.random.default_rng(0).integers(1, 29, (7, 13))
    for mask in (lambda x, key: dropout_mask(0.5, key, x, 5), lambda x, key: attention_mask(0.5, key, x, 5)):
        key = mask_key(1, 2, 3)
        whole = mask(words, key)
        assert (mask(words[2:5], key) == whole[2:5]).all()
        trimmed = mask(words[:, :11], key)
        assert (trimmed == whole[:, :11] if whole.ndim == 3 else trimmed == whole[:, :, :11, :11]).all()
        for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
            assert (mask(words, mask_key(*other)) != whole).any()

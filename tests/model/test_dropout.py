import numpy as np
import pytest
import torch

from rungwise.ladder import get_rung
from rungwise.model.dropout import attention_mask, dropout_mask, mask_key, masks, prefix_hashes, seed_keys, set_masks
from rungwise.model.layers import Dropout
from rungwise.model.transformer import Transformer
from rungwise.util.hashing import derive_seed


def some_words(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(1, 29, shape))


def key_of(seed, step, site):
    return mask_key(seed_keys([seed])[0], step, site)


GOLDEN, ALL = 0x9E3779B97F4A7C15, (1 << 64) - 1


def splitmix64(x: int) -> int:
    """Steele et al. 2014, figure 17 (the finaliser), in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ALL
    return x ^ (x >> 31)


def documented(p, seed, step, site, word, number):
    """Is element 4 * number + 0, 1, 2, 3 kept, after reading `word`? masks.dropout_mask in plain integers."""
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
    inputs = some_words(3, 7)
    kept = dropout_mask(p, key_of(seed, step, site), prefix_hashes(inputs), width)
    weights = attention_mask(p, key_of(seed, step, site), prefix_hashes(inputs), heads)
    assert kept.shape == (3, 7, 11)
    assert weights.shape == (3, 5, 7, 7)
    for b, t, d in [(0, 0, 0), (1, 2, 3), (2, 4, 10), (0, 3, 7)]:
        word = inputs[b, : t + 1].tolist()
        assert (kept[b, t, d] > 0) == documented(p, seed, step, site, word, d // 4)[d % 4]
    for b, h, t, s in [(0, 0, 0, 0), (1, 4, 2, 1), (1, 3, 6, 5)]:
        word = inputs[b, : t + 1].tolist()
        assert (weights[b, h, t, s] > 0) == documented(p, seed, step, site, word, s * 2 + h // 4)[h % 4]


def test_masks_drop_their_share_and_keep_the_mean():
    words = some_words(61, 17)
    kept = dropout_mask(0.2, key_of(0, 0, 0), prefix_hashes(words), 67).numpy()
    n = kept.size
    assert abs((kept == 0).mean() - 0.2) < 4 * (0.2 * 0.8 / n) ** 0.5
    assert abs(kept.mean() - 1) < 4 * (0.25 / n) ** 0.5
    assert abs(np.corrcoef(kept[:, :, 0].ravel(), kept[:, :, 1].ravel())[0, 1]) < 0.12
    assert abs(np.corrcoef(kept[:, 3].ravel(), kept[:, 4].ravel())[0, 1]) < 0.12


def test_masks_are_shared_as_far_as_words_begin_alike_and_no_further():
    words = torch.tensor([[5, 6, 7, 8, 9, 0], [5, 6, 7, 3, 9, 2], [4, 6, 7, 8, 9, 1]])
    for mask, width in ((dropout_mask, 31), (attention_mask, 7)):
        kept = mask(0.5, key_of(1, 2, 3), prefix_hashes(words), width)
        by_time = kept if kept.ndim == 3 else kept.transpose(1, 2)
        assert (by_time[0, :3] == by_time[1, :3]).all()
        for other, t in ((1, 3), (1, 4), (2, 0), (2, 1), (2, 4)):
            assert (by_time[0, t] != by_time[other, t]).any()


def test_masks_do_not_move_with_trimming_or_slicing_and_differ_between_seeds_sites_and_steps():
    words = some_words(7, 13)
    for mask in (dropout_mask, attention_mask):
        key, prefixes = key_of(1, 2, 3), prefix_hashes(words)
        whole = mask(0.5, key, prefixes, 5)
        assert (mask(0.5, key, prefix_hashes(words[2:5]), 5) == whole[2:5]).all()
        trimmed = mask(0.5, key, prefix_hashes(words[:, :11]), 5)
        assert (trimmed == whole[:, :11] if whole.ndim == 3 else trimmed == whole[:, :, :11, :11]).all()
        for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
            assert (mask(0.5, key_of(*other), prefixes, 5) != whole).any()


@pytest.mark.parametrize("name", ["2-heads", "final"])
def test_masks_of_replicas_are_those_of_each_alone(name):
    model = Transformer(get_rung(name).model.replace(head_size=None, n_embd=12, n_head=3, n_layer=2, dropout=0.3))
    words, seeds = some_words(3, 5, 7), [2, 3, 5]
    together = masks(model, seed_keys(seeds), 11, prefix_hashes(words))
    for r, seed in enumerate(seeds):
        set_masks(model, seed, 11, words[r])
        alone = {key: value for key, value in model.named_buffers() if key.endswith(".keep")}
        assert alone.keys() == together.keys()
        assert alone
        assert all((alone[key] == together[key][r]).all() for key in alone)


def test_every_place_has_a_site_of_its_own_whatever_it_is_called():
    model = Transformer(get_rung("final").model, 3)
    sites = [module.site for module in model.modules() if isinstance(module, Dropout)]
    assert sorted(sites) == list(range(3 * model.config.n_layer))
    key, prefixes = seed_keys([3])[0], prefix_hashes(torch.randint(2, 28, (5, 7)))
    other = torch.nn.ModuleDict({"called_otherwise": model})
    renamed = masks(other, key, 11, prefixes)
    for name, mask in masks(model, key, 11, prefixes).items():
        assert torch.equal(renamed[f"called_otherwise.{name}"], mask)

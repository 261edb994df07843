"""What mixes the places of a word, one file a family: attention's rivals, each small and by its paper. Each takes
attention's place in the blocks of transformer.py. Imports config and model.layers.

A family reads the stream x (B, T, D) and gives (B, T, A), A = config.attention_width or, with a projection, D. Place t
sees places 0 to t alone. Dimensions as in layers.py.
"""

from __future__ import annotations

from torch import nn

from rungwise.config import ModelConfig
from rungwise.model.families.bag import Bag
from rungwise.model.families.convolution import Convolution
from rungwise.model.families.gru import GRU
from rungwise.model.families.lstm import LSTM
from rungwise.model.families.mingru import MinGRU
from rungwise.model.families.rnn import RNN
from rungwise.model.families.window import Window
from rungwise.model.layers import Attention

FAMILIES: dict[str, type[nn.Module]] = {
    "transformer": Attention,
    "bow": Bag,
    "mlp": Window,
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "conv": Convolution,
    "mingru": MinGRU,
}
"""By ModelConfig.family; the bigram, which mixes nothing, is a block without this part."""


def make_mixer(config: ModelConfig, block: int) -> nn.Module:
    """What mixes the places of block number `block`."""
    return FAMILIES[config.family](config, block)

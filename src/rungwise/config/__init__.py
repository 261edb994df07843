"""What can be set: the model, its training, the list, the run, and the protocol by which it is measured.

Frozen dataclasses, checked on construction; every field has its reason under it and stands in config.json of every run.
rules.py holds what fields have to do with each other, settings.py what was asked for and how a file gives it. Imports
errors alone; no torch.
"""

from rungwise.config.fields import Config
from rungwise.config.model import MLP, Family, ModelConfig, Norm, Position, dropout_steps
from rungwise.config.protocol import PROTOCOLS, Protocol, WordStart, get_protocol
from rungwise.config.run import Compile, Device, EngineConfig, ListConfig, Precision, RunConfig
from rungwise.config.train import Batching, Optimizer, Schedule, Targets, TrainConfig

__all__ = [
    "MLP", "PROTOCOLS", "Batching", "Compile", "Config", "Device", "EngineConfig", "Family", "ListConfig",
    "ModelConfig", "Norm", "Optimizer", "Position", "Precision", "Protocol", "RunConfig", "Schedule", "Targets",
    "TrainConfig", "WordStart", "dropout_steps", "get_protocol",
]  # fmt: skip

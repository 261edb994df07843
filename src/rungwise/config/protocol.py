"""By which rules losses are measured: the split, which characters are scored, and how a word begins for a model."""

from __future__ import annotations

from dataclasses import dataclass

from rungwise.config.fields import Config
from rungwise.config.train import TrainConfig
from rungwise.errors import UserError, require_known


@dataclass(frozen=True)
class Protocol(Config):
    """What is scored, on which words, split how. Stored with every result and printed beside every number."""

    name: str
    start_token: bool
    """Feed END before the word and score every character; else the first character is given, never predicted."""
    distinct: bool
    """Drop repeated words before splitting. Where they stay, some test words also stand in training."""
    val_fraction: float
    """Share of the words on which choices (learning rate, early stopping) are made; 0: there are none to make."""
    test_fraction: float
    """Share of the words that only the final score sees."""
    max_test_words: int | None = None
    """At most so many test words."""
    given: str | None = None
    """The column whose value a word is given: fed in the place of END, before the first character."""

    def __post_init__(self) -> None:
        self._require("val_fraction", 0 <= self.val_fraction < 1, "at least 0 and below 1")
        leaves_words = 0 < self.test_fraction < 1 - self.val_fraction
        self._require("test_fraction", leaves_words, "above 0, and leave words to train on")

    @property
    def word_start(self) -> WordStart:
        """How a word begins for models that are trained on words."""
        return WordStart(self.start_token, self.start_token, self.given)

    @property
    def scored(self) -> str:
        """What a loss under this protocol is a mean over, for captions."""
        return self.word_start.scored


@dataclass(frozen=True)
class WordStart(Config):
    """How a word begins for a model: a property of the model, stored with it, that follows from its training.

    A model trained on words meets each word as its protocol says. A model trained on the stream has met every word
    behind the END of the word before, and takes a word without it for the middle of one: it is fed END under every
    protocol, and the same characters are scored as of the other models.
    """

    end_fed: bool
    """END is fed before the first character, which the model then predicts; else the first character is given."""
    first_scored: bool
    """The first character counts in losses and likelihoods; under a condition, it always does."""
    given: str | None = None
    """What is fed instead of END, Protocol.given: to the model it is a first character, of a word one longer."""

    def __post_init__(self) -> None:
        if self.first_scored and not self.end_fed:
            raise UserError("first_scored needs end_fed: a first character that is given cannot be scored.")

    @classmethod
    def of(cls, protocol: Protocol, train: TrainConfig) -> WordStart:
        if protocol.given is not None and train.batching == "stream":
            raise UserError("batching 'stream' runs on from word to word: with a condition, train on words.")
        return cls(protocol.start_token or train.batching == "stream", protocol.start_token, protocol.given)

    @property
    def scored(self) -> str:
        """What a loss is a mean over, for captions."""
        if self.given is not None:
            return f"every character and the end (given {self.given})"
        if self.first_scored:
            return "every character and the end"
        return "characters 2..n and the end" + ", each word behind an END" * self.end_fed


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("article", start_token=False, distinct=False, val_fraction=0, test_fraction=0.1),
        Protocol("makemore", start_token=True, distinct=False, val_fraction=0, test_fraction=0.1, max_test_words=1000),
        Protocol("strict", start_token=True, distinct=True, val_fraction=0.1, test_fraction=0.1),
    )
}


def get_protocol(name: str, given: str | None = None) -> Protocol:
    """`given`: the condition's column."""
    require_known(name, PROTOCOLS, "Unknown protocol")
    return PROTOCOLS[name] if given is None else PROTOCOLS[name].replace(start_token=False, given=given)

"""The ladder as data: every rung is a diff of the rung that it builds on. No torch here.

Nothing else knows the rungs by name: tests, climb, report and documentation pick a new entry up from here.
Published figures are from "Building a Language Transformer Step by Step" (Yi, 2026-01-28); the architectures follow
from its parameter counts, what it does not publish (learning rates, residuals) is marked as inferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rungwise.config import ModelConfig, TrainConfig
from rungwise.config.rules import fitted
from rungwise.errors import UserError, closest

Group = Literal["article", "scaling", "side", "beyond", "confound", "ablation", "family", "makemore", "recipe", "own"]


@dataclass(frozen=True)
class Published:
    """What the article reports for a rung: losses in nats a scored character, from one seed."""

    n_params: int
    train: float
    test: float


@dataclass(frozen=True)
class Rung:
    name: str
    title: str
    group: Group
    on: str | None
    """The rung that it builds on; None: the lowest, and `changes` are against the configurations' defaults."""
    changes: Mapping[str, Any]
    """Fields of ModelConfig or TrainConfig."""
    why: str
    source: str
    """Where the idea comes from."""
    published: Published | None = None
    inferred: str = ""
    """What of this rung the article does not say, and how it is known."""
    model: ModelConfig = field(init=False)
    train: TrainConfig = field(init=False)

    def __post_init__(self) -> None:
        below = get_rung(self.on) if self.on else None
        for kind, base in (
            ("model", below.model if below else ModelConfig()),
            ("train", below.train if below else TrainConfig()),
        ):
            mine = {name: value for name, value in self.changes.items() if name in base.fields()}
            object.__setattr__(self, kind, base.replace(**mine))

    def trained(self, steps: int | None) -> TrainConfig:
        """How it is trained: for its own number of steps, or for `steps` instead."""
        return fitted(self.train if steps is None else self.train.replace(steps=steps), ("steps",))


RUNGS: dict[str, Rung] = {}

YI = "Yi 2026"
INFERRED_RATE = (
    "The learning rate is not published; a constant 1e-3 is ours. docs/findings.md says how well other rates fit."
)


def _rung(
    name: str, title: str, group: Group, on: str | None, changes: Mapping[str, Any], *args: Any, **kwargs: Any
) -> None:
    assert name not in RUNGS, name
    RUNGS[name] = Rung(name, title, group, on, changes, *args, **kwargs)


Setting = tuple[str, float]
"""A field of TrainConfig or ModelConfig, and its value."""

INFERRED: dict[str, tuple[float, ...]] = {
    "learning_rate": (3e-4, 5e-4, 1e-3, 3e-3),
    "window": (8, 16, 32),
    "attention_dropout": (0.0,),
}
"""Settings that the article does not publish -> the values at which a verdict is asked again."""


def inferred(name: str) -> frozenset[str]:
    """The settings of a rung that the article does not publish: rates but the final recipe's, windows of the stream,
    and whether dropout, where there is any, drops attention's weights, too."""
    train, model = RUNGS[name].train, RUNGS[name].model
    free = {
        "learning_rate": train.schedule == "constant",
        "window": train.batching == "stream",
        "attention_dropout": bool(model.dropout),
    }
    return frozenset(setting for setting, is_free in free.items() if is_free)


def variant(rung: Rung, setting: str, value: float) -> Rung:
    """A rung at another value of a setting: RUNG@RATE, or RUNG@SETTING=VALUE; at its own value, the rung itself."""
    if value in (getattr(rung.train, setting, None), getattr(rung.model, setting, None)):
        return rung
    name = f"{rung.name}@{value:g}" if setting == "learning_rate" else f"{rung.name}@{setting}={value:g}"
    number = int(value) if setting == "window" else value
    return Rung(name, f"{rung.title}, {value:g}", rung.group, rung.name, {setting: number}, rung.why, "rungwise")


def _named_variant(name: str) -> Rung:
    """What RUNG@RATE or RUNG@SETTING=VALUE names."""
    rung, _, text = name.partition("@")
    setting, _, value = text.rpartition("=")
    try:
        if (setting := setting or "learning_rate") not in INFERRED:
            raise ValueError
        return variant(get_rung(rung), setting, float(value))
    except UserError:
        raise
    except (ValueError, OverflowError):
        raise UserError(f"Unknown variant {name!r}; say RUNG@RATE, as in gelu@3e-4, or RUNG@window=8.") from None


def get_rung(name: str) -> Rung:
    if "@" in name:
        return _named_variant(name)
    if name not in RUNGS:
        raise UserError(f"Unknown rung {name!r}; {closest(name, [*RUNGS, *SELECTIONS])}")
    return RUNGS[name]


# fmt: off
# ------------------------------------------------------------------ the article's architecture table, 5,000 steps
_rung("baseline", "baseline", "article", None,
      dict(n_layer=1, n_head=1, n_embd=32, head_size=16, projection=False, residual=False, mlp="none", norm="none",
           position="none", dropout=0.0, steps=5000, learning_rate=1e-3, schedule="constant", grad_clip=0.0),
      "One attention head between an embedding and a linear layer: the least that can look back.",
      "Vaswani et al. 2017", Published(2_908, 2.35, 2.35),
      "The count leaves no room for an output projection; the losses none for a residual. " + INFERRED_RATE)
_rung("double-embd", "double n_embd", "article", "baseline", dict(n_embd=64, head_size=32),
      "Is the single head too narrow? A side branch: the next rung builds on the baseline again.",
      YI, Published(8_860, 2.34, 2.34), INFERRED_RATE)
_rung("2-heads", "2 heads", "article", "baseline", dict(n_head=2, projection=True),
      "Two heads can look at two places at once; a linear layer mixes what they saw.",
      "Vaswani et al. 2017, section 3.2.2", Published(5_948, 2.25, 2.23),
      "The count shows that an output projection came with the second head. " + INFERRED_RATE)
_rung("4-layers", "4 layers", "article", "2-heads", dict(n_layer=4, residual=True),
      "Later layers look at what earlier layers found; residual connections keep four of them trainable.",
      "He et al. 2016", Published(18_332, 2.00, 2.04),
      "Residual connections are not mentioned, but without them four layers end far above the reported loss. "
      + INFERRED_RATE)
_rung("mlp", "+ MLP", "article", "4-layers", dict(mlp="relu"),
      "Attention moves information between positions; an MLP computes with it at each position.",
      "Vaswani et al. 2017, section 3.3", Published(51_740, 1.97, 2.02), INFERRED_RATE)
_rung("layernorm", "+ LayerNorm", "article", "mlp", dict(norm="layernorm"),
      "Each sublayer reads a stream of even scale, whatever the layers before added to it.",
      "Ba et al. 2016; before the sublayer: Xiong et al. 2020", Published(52_252, 1.96, 1.99), INFERRED_RATE)
_rung("rope", "+ RoPE", "article", "layernorm", dict(position="rope"),
      "Attention is blind to order except for its mask; rotated queries and keys tell it how far apart two are.",
      "Su et al. 2021", Published(52_252, 1.94, 1.98), INFERRED_RATE)
_rung("gelu", "+ GELU", "article", "rope", dict(mlp="gelu"),
      "A smooth gate instead of a hard one.",
      "Hendrycks & Gimpel 2016", Published(52_252, 1.94, 1.94), INFERRED_RATE)

# ------------------------------------------------------------------ the article's scaling table
_INFERRED_SLOW = (
    "The learning rate of the scaling rows is not published; a constant 3e-4 is ours, as 1e-3 ends lower than "
    "reported (rung scaled-1e-3)."
)
_rung("scaled", "64 / 4 heads", "scaling", "gelu", dict(n_embd=64, n_head=4, learning_rate=3e-4),
      "The size of makemore's default transformer.", "Karpathy, makemore", Published(202_780, 1.84, 1.92),
      _INFERRED_SLOW)
_rung("dropout-5k", "+ dropout 0.2", "scaling", "scaled", dict(dropout=0.2),
      "Training drops a fifth of what each sublayer adds, so that no feature can rely on another.",
      "Srivastava et al. 2014", Published(202_780, 1.95, 2.00),
      "Where dropout sits is not published in full; here, on attention's weights and on what attention and MLP add "
      "to the stream. " + _INFERRED_SLOW)
_rung("dropout-20k", "+ dropout, 20k steps", "scaling", "dropout-5k", dict(steps=20_000),
      "A regularised model learns more slowly and for longer.", YI, Published(202_780, 1.75, 1.85), _INFERRED_SLOW)
_rung("final", "+ schedule, clipping", "scaling", "dropout-20k",
      dict(schedule="cosine", learning_rate=1e-3, grad_clip=1.0),
      "Warm-up, a high peak, cosine decay and clipped gradients: large steps early, small ones late.",
      "Loshchilov & Hutter 2017; Pascanu et al. 2013", Published(202_780, 1.72, 1.86),
      "The recipe is published in full. Its weight decay of 0.01 is AdamW's default: it was on all along.")

# ------------------------------------------------------------------ side branches: the article's other data handling
_rung("stream", "one stream", "side", "gelu", dict(batching="stream"),
      "Windows of 16 cut anywhere from all words in a row, instead of one padded word a line.", YI, None,
      "The window's length is not published. The article reports 2.36 at best, scored on the stream itself.")
_rung("stream-equal-tokens", "one stream, equal tokens", "side", "stream", dict(batch_size=14),
      "A window has no padding: 14 of them hold as many real characters as 32 padded names (224 against about 228).",
      "rungwise")

# ------------------------------------------------------------------ what the transformers of today have, too
_rung("final-norm", "+ final norm", "beyond", "gelu", dict(final_norm=True),
      "The head, too, reads a stream of even scale, however much the blocks have added to it.",
      "Radford et al. 2019, section 2.3")
_rung("no-head-bias", "no head bias", "beyond", "final-norm", dict(head_bias=False),
      "The embedding can learn how frequent a character is; most published models do without. With it gone, this is a "
      "GPT-NeoX.", "Black et al. 2022")
_rung("learned-positions", "learned positions", "beyond", "no-head-bias", dict(position="learned"),
      "A vector for each place instead of rotated queries and keys: this is a GPT-2.",
      "Vaswani et al. 2017, section 3.5; Radford et al. 2019")
_rung("tied", "tied embeddings", "beyond", "no-head-bias", dict(tie_embeddings=True),
      "One matrix says what a character means, whether it is read or written.", "Press & Wolf 2017")
_rung("rmsnorm", "RMSNorm", "beyond", "no-head-bias", dict(norm="rmsnorm"),
      "Even scale without taking the mean away: half of LayerNorm's parameters and less work.", "Zhang & Sennrich 2019")
_rung("swiglu", "+ SwiGLU", "beyond", "rmsnorm", dict(mlp="swiglu"),
      "One half of the hidden layer gates the other. Two thirds as wide, it has as many parameters: this is a Llama.",
      "Shazeer 2020; Touvron et al. 2023")

# ------------------------------------------------------------------ a recipe that beats counting, part by part
_rung("recipe-rate", "final, peak 3e-3", "recipe", "final", dict(learning_rate=3e-3),
      "Three times the article's peak: with warm-up and clipping the model takes it.", "rungwise")
_rung("recipe-muon", "+ Muon", "recipe", "recipe-rate", dict(optimizer="muon"),
      "The momentum of each hidden matrix, made orthogonal: no direction is too small to be learned.",
      "Jordan et al. 2024; Liu et al. 2025")
_rung("recipe-smoothed", "+ smoothed targets", "recipe", "recipe-muon", dict(targets="smoothed", dropout=0.1),
      "A target is a distribution, half of it from a 6-gram model that has not seen the position. Such targets are "
      "hard to overfit, so half of the dropout is enough.", "Kneser & Ney 1995; Szegedy et al. 2016")
_rung("recipe-student", "+ one teacher", "recipe", "recipe-smoothed", dict(teachers=1),
      "What a trained model says, on words that it draws too, is more to learn from than the words of the list.",
      "Hinton et al. 2015")
_rung("recipe-four-teachers", "+ four teachers", "recipe", "recipe-student", dict(teachers=4),
      "The mean of four models is better than each, and one model can learn it.", "Hinton et al. 2015")

# ------------------------------------------------------------------ what the article changed at the same time
_rung("2-heads-no-projection", "second head alone", "confound", "baseline", dict(n_head=2),
      "The article's second head came with a projection: this is the head without it.", "rungwise")
_rung("1-head-projection", "projection alone", "confound", "baseline", dict(projection=True),
      "And this is the projection without the head.", "rungwise")
_rung("1-head-32-projection", "one head as wide as two", "confound", "1-head-projection", dict(head_size=32),
      "One head of 32 has as many parameters as two of 16: what is left between them is the second place to look at.",
      "rungwise")
_rung("2-heads-residual", "residual alone", "confound", "2-heads", dict(residual=True),
      "The article's depth came with residual connections: this is one layer with them.", "rungwise")
_rung("4-layers-no-residual", "depth alone", "confound", "2-heads", dict(n_layer=4),
      "And these are four layers without them.", "rungwise")
_rung("wide-1-layer", "64 wide, 2 heads, 1 layer", "confound", "2-heads-residual", dict(n_embd=64, head_size=32),
      "Width where depth was added: one layer, residual, twice the width, to hold against four layers.", "rungwise")
_rung("scaled-1e-3", "64 / 4 heads at 1e-3", "confound", "scaled", dict(learning_rate=1e-3),
      "The scaled rows appear to use a lower learning rate than the eight rungs: this is the scaled model at theirs.",
      "rungwise")
_rung("scaled-20k", "64 / 4 heads, 20k, no dropout", "confound", "scaled", dict(steps=20_000),
      "Longer training without dropout: what dropout alone is worth at 20,000 steps.", "rungwise")
_rung("dropout-20k-1e-3", "20k steps at a constant 1e-3", "confound", "dropout-20k", dict(learning_rate=1e-3),
      "The final recipe's rate without its schedule and its clipping.", "rungwise")
_rung("final-peak-3e-4", "final, peak 3e-4", "confound", "final", dict(learning_rate=3e-4),
      "The final row changes the learning rate too: this is its schedule at the old rate.", "rungwise")
_rung("final-no-clip", "final, no clipping", "confound", "final", dict(grad_clip=0.0),
      "What gradient clipping adds to the schedule.", "rungwise")
_rung("final-no-decay", "final, no weight decay", "confound", "final", dict(weight_decay=0.0),
      "What weight decay adds to the schedule.", "rungwise")

# ------------------------------------------------------------------ leave one out of the full model (the gelu rung)
_rung("without-heads", "1 head", "ablation", "gelu", dict(n_head=1, head_size=32),
      "The full model with one head as wide as its two.", "rungwise")
_rung("without-projection", "no projection", "ablation", "gelu", dict(projection=False),
      "The full model whose heads write straight into the stream.", "rungwise")
_rung("without-depth", "1 layer", "ablation", "gelu", dict(n_layer=1), "The full model with one layer.", "rungwise")
_rung("without-residual", "no residual", "ablation", "gelu", dict(residual=False),
      "The full model without residual connections.", "rungwise")
_rung("without-mlp", "no MLP", "ablation", "gelu", dict(mlp="none"), "The full model without MLPs.", "rungwise")
_rung("without-layernorm", "no LayerNorm", "ablation", "gelu", dict(norm="none"),
      "The full model without LayerNorm.", "rungwise")
_rung("without-rope", "no RoPE", "ablation", "gelu", dict(position="none"), "The full model without RoPE.", "rungwise")

# ------------------------------------------------------------------ attention's rivals, at the size of the full model
_ALONE = dict(n_layer=1, n_head=1, head_size=None, projection=False, residual=False, mlp="none", norm="none",
              position="none")
_INSTEAD = dict(n_head=1, head_size=None, position="none")
_rung("bigram", "bigram", "family", "gelu", dict(_ALONE, family="bigram", n_embd=28),
      "Which character follows which: a table, learned, without any memory.", "Shannon 1948; Karpathy, makemore")
for _name, _title, _changes, _widths, _why, _source in (
    ("bow", "bag of characters", dict(_INSTEAD, family="bow"), (37, 74),
     "The full model where every character counts alike, instead of attention's weights.", "Karpathy, makemore"),
    ("window", "window of 8", dict(_ALONE, family="mlp"), (77, 156),
     "A hidden layer over the last eight characters, each at a fixed place.", "Bengio et al. 2003"),
    ("rnn", "RNN", dict(_ALONE, family="rnn"), (148, 304),
     "One state, read and written anew at every character.", "Elman 1990"),
    ("gru", "GRU", dict(_ALONE, family="gru"), (88, 179),
     "Gates say how much of the state each character may change.", "Cho et al. 2014"),
    ("lstm", "LSTM", dict(_ALONE, family="lstm"), (77, 155),
     "A second state that gates protect: written to, forgotten, and read.", "Hochreiter & Schmidhuber 1997"),
    ("conv", "WaveNet", dict(_INSTEAD, family="conv", mlp="none", norm="none"), (49, 99),
     "Pairs of characters, pairs of pairs: four gated convolutions see sixteen characters.",
     "van den Oord et al. 2016"),
    ("mingru", "minGRU", dict(_INSTEAD, family="mingru"), (33, 67),
     "The full model with a linear recurrence instead of attention: gates that do not read the state.",
     "Feng et al. 2024"),
):
    _rung(_name, _title, "family", "gelu", dict(_changes, n_embd=_widths[0]), _why, _source)
    _rung(f"{_name}-large", f"{_title}, large", "family", _name, dict(n_embd=_widths[1]),
          "The same at the size of makemore's transformer.", _source)

# ------------------------------------------------------------------ makemore's own sizes and its training
_MAKEMORE = dict(learning_rate=5e-4, beta2=0.99)
for _name, _on, _title, _changes in (
    ("bigram", "bigram", "bigram", {}),
    ("bow", "bow", "bag of characters",
     dict(n_layer=1, n_embd=64, projection=False, mlp_ratio=1, norm="none", position="learned")),
    ("mlp", "window", "window of 16", dict(n_embd=64, reach=16)),
    ("rnn", "rnn", "RNN", dict(n_embd=64)),
    ("gru", "gru", "GRU", dict(n_embd=64)),
):
    _rung(f"makemore-{_name}", f"{_title}, makemore's", "makemore", _on, _changes | _MAKEMORE,
          "The size, learning rate and moments that makemore's script has by default.", "Karpathy, makemore")
# fmt: on

TRANSFORMERS = {name: rung for name, rung in RUNGS.items() if rung.model.family == "transformer"}
"""The rungs with attention."""
FULL = "gelu"
"""The model that ablations take parts from."""
LEAVE_ONE_OUT = {
    "heads": "without-heads",
    "projection": "without-projection",
    "depth": "without-depth",
    "residual": "without-residual",
    "MLP": "without-mlp",
    "LayerNorm": "without-layernorm",
    "RoPE": "without-rope",
    "GELU": "rope",  # the rung below the full model is the full model without GELU
}
"""Part -> the rung that is the full model without it."""


def _group(*groups: Group) -> list[str]:
    return [rung.name for rung in RUNGS.values() if rung.group in groups]


SELECTIONS: dict[str, list[str]] = {
    "article": _group("article"),
    "scaling": _group("scaling"),
    "all": _group("article", "scaling", "side"),
    "beyond": _group("beyond"),
    "confounds": _group("confound"),
    "recipe": ["final", *_group("recipe")],
    "ablations": [FULL, *dict.fromkeys(LEAVE_ONE_OUT.values())],
    "families": ["gelu", "scaled-1e-3", *_group("family")],
    "makemore": _group("makemore"),
    "everything": list(RUNGS),
}
"""Names for sets of rungs, as --rungs takes them."""


def select(names: str | Sequence[str]) -> list[Rung]:
    """Rungs by name or by the name of a selection, comma-separated or as a list; each once, in the ladder's order. A
    name with @VALUE: at another rate or window (see variant)."""
    parts = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    wanted: dict[str, Rung] = {}
    for part in filter(None, parts):
        name, at, value = part.partition("@")
        for one in SELECTIONS.get(name, [name]):
            rung = get_rung(f"{one}{at}{value}")
            wanted[rung.name] = rung
    if not wanted:
        raise UserError(f"No rung named; choose from: {', '.join([*SELECTIONS, *RUNGS])}.")
    order = list(RUNGS)
    return sorted(wanted.values(), key=lambda rung: order.index(rung.name.partition("@")[0]))

"""The compiled library as Python calls it, through ctypes: shapes, state, training, scores and trees of prefixes."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rungwise.config import MLP, Family, ModelConfig, Norm, Position, TrainConfig, dropout_steps
from rungwise.model.cost import shapes
from rungwise.util.hashing import derive_seed

Tensors = Mapping[str, np.ndarray]


KINDS = ("param", "exp_avg", "exp_avg_sq")
"""What training changes, as in Engine.state(): parameters, and AdamW's means of the gradients and of their squares."""
RETURNED = {
    **dict.fromkeys(("train", "score", "grow"), ctypes.c_bool),
    "gradients": ctypes.c_double,
    "tree": ctypes.c_void_p,
}
"""By the library's functions; False, -1 or null where memory ran out."""


def _shape(config: ModelConfig) -> ctypes.Array:
    """Shape in rows.h: the same numbers in the same order."""
    return (ctypes.c_int32 * 19)(
        config.vocab_size,
        config.n_layer,
        config.n_head,
        config.n_embd,
        config.head_width,
        config.mlp_hidden,
        get_args(MLP).index(config.mlp),
        get_args(Norm).index(config.norm),
        get_args(Position).index(config.position),
        config.block_size if config.position == "learned" else 0,
        config.projection,
        config.residual,
        config.final_norm,
        config.head_bias,
        config.tie_embeddings,
        dropout_steps(config.dropout),
        dropout_steps(config.dropout_of_weights),
        get_args(Family).index(config.family),
        config.reach,
    )


def _had_memory(returned: Any, function: Any, arguments: Any) -> Any:
    if returned is None or returned is False or returned == -1:
        raise MemoryError("Try a smaller batch_size, n_embd or n_layer.")
    return returned


class _Recipe(ctypes.Structure):
    """Recipe in engine.cpp."""

    _fields_ = (
        ("muon", ctypes.c_int32),
        ("teacher_weight", ctypes.c_float),
        ("teacher_rows", ctypes.c_void_p),
        ("teacher_at", ctypes.c_void_p),
    )


class Library:
    """The compiled library. It has no state: every method may be called from several threads at once.

    path: where it lies. vectors: those that it was compiled for, such as AVX2. A method that finds no memory raises
    MemoryError.
    """

    def __init__(self, library: Path) -> None:
        self.path, self._library = library, ctypes.CDLL(str(library))
        for name, kind in RETURNED.items():
            function = getattr(self._library, f"rungwise_{name}")
            function.restype, function.errcheck = kind, _had_memory
        self._library.rungwise_vectors.restype = ctypes.c_char_p
        self.vectors = self._library.rungwise_vectors().decode()
        self._library.rungwise_multiply_adds.restype = ctypes.c_double
        self.has_bf16 = bool(self._library.rungwise_has_bf16())
        """Can this CPU, and can what was compiled for it, multiply in bf16?"""

    def train_block(
        self,
        model_config: ModelConfig,
        train_config: TrainConfig,
        state: Tensors,
        inputs: np.ndarray,
        targets: np.ndarray,
        lengths: np.ndarray,
        first_step: int,
        dropout_seed: int,
        learning_rates: Sequence[float] | np.ndarray,
        threads: int = 1,
        bf16: bool = False,
        taught: tuple[np.ndarray, np.ndarray, float] | None = None,
    ) -> np.ndarray:
        """Train one replica in place for len(learning_rates) steps; each step's loss before it, (steps,) float64.

        Any number of threads gives the same bits. bf16: products of numbers rounded to 8 significant bits, where
        has_bf16; sums and weights stay float32.

        state: float32 arrays KIND/NAME, contiguous, NAME of Transformer.named_parameters(). inputs, targets: (tokens,)
        of all steps' sequences; lengths: (steps, batch). Steps count from 0 over the whole run, and so do the dropout
        masks and AdamW's bias correction. Losses are mean nats per token. taught: of smoothed targets, the teacher's
        rows (n, V) float32, which of them each target has, (tokens,) int32, and their share in it.
        """
        rates = np.ascontiguousarray(learning_rates, dtype=np.float64)
        lengths = np.ascontiguousarray(lengths, dtype=np.int32)
        if lengths.ndim != 2 or len(lengths) != len(rates):
            raise ValueError(f"lengths must be ({len(rates)} steps, batch), but are {lengths.shape}.")
        c = train_config
        batch = _checked(model_config, inputs, targets, lengths)
        parts = ({name: state[f"{kind}/{name}"] for name in shapes(model_config)} for kind in KINDS)
        losses = np.empty(len(rates))
        rows, at, weight = _checked_teacher(model_config, *taught, len(targets)) if taught else (None, None, 0.0)
        self._library.rungwise_train(
            _shape(model_config),
            (ctypes.c_double * 4)(c.beta1, c.beta2, c.weight_decay, c.grad_clip),
            *(_pointers(model_config, part) for part in parts),
            *batch,
            lengths.shape[1],
            ctypes.c_long(first_step),
            ctypes.c_long(len(rates)),
            rates.ctypes,
            ctypes.c_uint64(derive_seed(dropout_seed, "dropout")),
            losses.ctypes,
            ctypes.byref(_Recipe(c.optimizer == "muon", weight, _address(rows), _address(at))),
            threads,
            self._checked_bf16(bf16),
        )
        return losses

    def _checked_bf16(self, wanted: bool) -> int:
        if wanted and not self.has_bf16:
            raise ValueError("This library has no bf16 products.")
        return wanted

    def loss_and_gradients(
        self,
        model_config: ModelConfig,
        parameters: Tensors,
        inputs: np.ndarray,
        targets: np.ndarray,
        lengths: np.ndarray,
        dropout_seed: int = 0,
        step: int | None = None,
        threads: int = 1,
        bf16: bool = False,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Mean nats per token of one batch, lengths (batch,), and its gradients; step None: without dropout."""
        batch = _checked(model_config, inputs, targets, lengths)
        gradients = {name: np.empty(shape, np.float32) for name, shape in shapes(model_config).items()}
        loss = self._library.rungwise_gradients(
            _shape(model_config),
            _pointers(model_config, parameters),
            *batch,
            len(lengths),
            ctypes.c_long(-1 if step is None else step),
            ctypes.c_uint64(derive_seed(dropout_seed, "dropout")),
            _pointers(model_config, gradients),
            threads,
            self._checked_bf16(bf16),
        )
        return loss, gradients

    def score(
        self,
        model_config: ModelConfig,
        parameters: Tensors,
        inputs: np.ndarray,
        targets: np.ndarray,
        lengths: np.ndarray,
        threads: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """-ln p of each target, (tokens,) float32 nats, without dropout, and was it the likeliest, (tokens,) bool.

        Each distinct prefix is computed once.
        """
        batch = _checked(model_config, inputs, targets, lengths)
        nats, correct = np.empty(len(targets), np.float32), np.empty(len(targets), np.bool_)
        tensors = _pointers(model_config, parameters)
        answers = nats.ctypes, correct.ctypes
        self._library.rungwise_score(_shape(model_config), tensors, *batch, len(lengths), *answers, threads)
        return nats, correct

    def multiply_adds(self, rounds: int) -> float:
        """Multiply-adds in registers, the most that this thread can do; how many floating-point operations they are."""
        sums = np.full(64, 0.5, np.float32)
        return self._library.rungwise_multiply_adds(ctypes.c_long(rounds), sums.ctypes)

    def tree(self, model_config: ModelConfig, parameters: Tensors, rows: int, length: int) -> Tree:
        """A tree of prefixes of at most `length` tokens, `rows` at most side by side."""
        return Tree(self._library, model_config, parameters, rows, length)


class Tree:
    """Prefixes that grow by a token a step, for generation: a key-value cache, and a copy of the parameters.

    A node is a prefix; its number is its place in the cache, and a node that is numbered like an earlier one takes
    its place. One thread at a time.
    """

    def __init__(
        self, library: ctypes.CDLL, model_config: ModelConfig, parameters: Tensors, rows: int, length: int
    ) -> None:
        self._library, self._config = library, model_config
        self.rows, self.length, self.nodes = rows, length, rows * length
        if model_config.position == "learned" and length > model_config.block_size:
            raise ValueError(f"The model knows {model_config.block_size} places, not {length}.")
        tensors = _pointers(model_config, parameters)
        self._tree = ctypes.c_void_p(library.rungwise_tree(_shape(model_config), tensors, rows, length, self.nodes))
        weakref.finalize(self, library.rungwise_fell, self._tree)

    def grow(self, tokens: np.ndarray, paths: np.ndarray) -> np.ndarray:
        """Logits, (n, V) float32, after n new nodes that read tokens (n,).

        paths: (n, T), from each node's root to itself; the new ones, the last column, are numbered one by one.
        """
        tokens, paths = (np.ascontiguousarray(array, dtype=np.int32) for array in (tokens, paths))
        n, length, first = len(tokens), paths.shape[-1], int(paths[0, -1])
        if paths.shape != (n, length) or not 0 < n <= self.rows or not 0 < length <= self.length:
            raise ValueError(f"{n} prefixes of {length} tokens, of at most {self.rows} of {self.length}.")
        if paths.min() < 0 or paths.max() >= self.nodes or (paths[:, -1] != np.arange(first, first + n)).any():
            raise ValueError(f"Nodes must be below {self.nodes}, the new ones numbered one by one.")
        if tokens.min() < 0 or tokens.max() >= self._config.vocab_size:
            raise ValueError(f"Tokens must be below {self._config.vocab_size}.")
        logits = np.empty((n, self._config.vocab_size), np.float32)
        self._library.rungwise_grow(self._tree, tokens.ctypes, paths.ctypes, n, length, first, logits.ctypes)
        return logits


def _pointers(config: ModelConfig, tensors: Tensors) -> ctypes.Array:
    """Where each tensor lies, in the engine's order. Names, shapes and memory layout are checked: C++ trusts them."""
    expected = shapes(config)
    if tensors.keys() != expected.keys():
        raise ValueError(f"Other parameters than the model's: {sorted(tensors.keys() ^ expected.keys())}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32 or not tensor.flags.c_contiguous:
            raise ValueError(f"{name} must be contiguous float32 {shape}, but is {tensor.dtype} {tensor.shape}.")
    return (ctypes.c_void_p * len(expected))(*(tensors[name].ctypes.data for name in expected))


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _checked_teacher(
    config: ModelConfig, rows: np.ndarray, at: np.ndarray, weight: float, n: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The teacher's rows, never copied, and the row of each of n targets."""
    if rows.shape[1:] != (config.vocab_size,) or rows.dtype != np.float32 or not rows.flags.c_contiguous:
        raise ValueError(f"A teacher's rows must be contiguous float32 (n, {config.vocab_size}), but are {rows.shape}.")
    at = np.ascontiguousarray(at, dtype=np.int32)
    if at.shape != (n,) or at.min() < 0 or at.max() >= len(rows):
        raise ValueError(f"Each of {n} targets must have one of the teacher's {len(rows)} rows.")
    return rows, at, weight


def _checked(config: ModelConfig, *given: np.ndarray) -> list[Any]:
    """Inputs, targets and lengths for C++, which trusts them: int32 and within their ranges."""
    inputs, targets, lengths = arrays = [np.ascontiguousarray(array, dtype=np.int32) for array in given]
    if lengths.size == 0 or lengths.min() < 1 or not lengths.sum(dtype=np.int64) == len(inputs) == len(targets):
        raise ValueError(f"Lengths, each at least 1, must sum to {len(inputs)} inputs and {len(targets)} targets.")
    longest = config.block_size if config.position == "learned" else 1 << 16
    if lengths.max() > longest:
        raise ValueError(f"A sequence has at most {longest:,} tokens.")
    for name, tokens in (("inputs", inputs), ("targets", targets)):
        if tokens.min() < 0 or tokens.max() >= config.vocab_size:
            raise ValueError(f"{name} must be token ids below {config.vocab_size}.")
    return [array.ctypes for array in arrays]

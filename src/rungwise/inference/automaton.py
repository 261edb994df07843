"""What words should be like, as one deterministic automaton over a model's symbols. No torch here."""

import re
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rungwise.errors import UserError

DEAD = -1
FAR = 1 << 30
MOST_STEPS = 2_000_000
"""States times symbols: a few seconds."""
MOST_REPEATS = 100
"""In braces: a word is shorter, and an automaton has states for each."""
NO_MORE = "It is of the whole word: leave out ^, $, \\b, look-behind and references to groups."
NO_INTEREGULAR = "--pattern needs the package interegular: pip install interegular."


@dataclass(frozen=True)
class Part:
    """One thing that is asked of words: an automaton over characters whose states are anything hashable; a step to None
    is the end."""

    start: Hashable
    step: Callable[[Any, str], Hashable]
    accepts: Callable[[Any], bool]

    def read(self, state: Hashable, symbol: str) -> Hashable:
        """A step for each character of a symbol."""
        for character in symbol:
            if state is None:
                break
            state = self.step(state, character)
        return state


@dataclass(frozen=True, eq=False)
class Automaton:
    step: np.ndarray
    """(states, symbols) the next state, or DEAD; state 0 is the start."""
    left: np.ndarray
    """(states,) the fewest symbols to a word that is accepted; FAR: there is none."""

    @property
    def accepts_all(self) -> bool:
        """Every word but the empty one."""
        return bool((self.step != DEAD).all() and (self.left[self.step] == 0).all())


def contains(text: str, at_end: bool = False) -> Part:
    """Words with `text` in them, or at their end: Knuth, Morris and Pratt (1977). A state is how much of it the last
    characters are."""

    def step(state: int, character: str) -> int:
        if state == len(text) and not at_end:
            return state
        read = text[:state] + character
        return next(n for n in range(min(len(read), len(text)), -1, -1) if read.endswith(text[:n]))

    return Part(0, step, lambda state: state == len(text))


def begins(text: str) -> Part:
    def step(state: int, character: str) -> int | None:
        if state == len(text):
            return state
        return state + 1 if text[state] == character else None

    return Part(0, step, lambda state: state == len(text))


def length(fewest: int, most: int) -> Part:
    def step(state: int, character: str) -> int | None:
        return state + 1 if state < most else None

    return Part(0, step, lambda state: fewest <= state <= most)


def pattern(regex: str) -> Part:
    """Words that a regular expression matches as a whole; \\d, \\w and \\s are ASCII's."""
    try:
        import interegular
    except ImportError:
        raise UserError(NO_INTEREGULAR) from None
    try:
        re.compile(regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"--pattern {regex!r} is not a regular expression: {error}.") from None
    if any(int(n) > MOST_REPEATS for n in re.findall(r"(?<=[{,])\d+(?=[,\d]*\})", regex)):
        raise UserError(f"--pattern {regex!r} repeats more than {MOST_REPEATS} times: words are shorter.")
    try:
        machine = interegular.parse_pattern(regex).to_fsm()
    except Exception as error:  # what is no regular language (a back reference)
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"--pattern {regex!r} cannot be made an automaton: {first}. {NO_MORE}") from None
    steps: dict[Any, dict[Any, Any]] = machine.map
    kinds = machine.alphabet

    def step(state: Any, character: str) -> Any:
        return steps.get(state, {}).get(kinds[character])

    return Part(machine.initial, step, lambda state: state in machine.finals)


def combined(parts: Sequence[Part], symbols: Sequence[str]) -> Automaton:
    """The automaton of words that all parts accept, over symbols of any number of characters. UserError where it would
    be too large."""
    start = tuple(part.start for part in parts)
    numbers, rows, accepted, waiting = {start: 0}, [], [], deque([start])
    while waiting:
        states = waiting.popleft()
        accepted.append(all(part.accepts(state) for part, state in zip(parts, states, strict=True)))
        row = []
        for symbol in symbols:
            following = tuple(part.read(state, symbol) for part, state in zip(parts, states, strict=True))
            if None in following:
                row.append(DEAD)
                continue
            if following not in numbers:
                numbers[following] = len(numbers)
                waiting.append(following)
            row.append(numbers[following])
        rows.append(row)
        if len(numbers) * len(symbols) > MOST_STEPS:
            raise UserError(f"What words should be like needs more than {len(numbers):,} states: ask for less at once.")
    step = np.array(rows, dtype=np.int64).reshape(len(rows), len(symbols))
    return Automaton(step, _left(step, np.array(accepted)))


def _left(step: np.ndarray, accepted: np.ndarray) -> np.ndarray:
    left = np.where(accepted, 0, FAR)
    while True:
        following = np.where(step == DEAD, FAR, left[step]).min(axis=1, initial=FAR)
        shorter = np.minimum(left, np.minimum(following + 1, FAR))
        if (shorter == left).all():
            return left
        left = shorter

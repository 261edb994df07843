"""What was measured, read back for tables, plots and verdicts: the files of climbs' directories. No torch here.

Results are grouped by what makes them comparable: protocol and list. Everything but results.jsonl is optional;
what is missing, or does not belong to the results, is left out and noted, so that a report can say so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from rungwise.analysis.stats import Difference, Floats, Summary, paired, summary
from rungwise.config import Protocol, get_protocol
from rungwise.config.fields import FINITE, check
from rungwise.data.words import NAMES_SHA256
from rungwise.errors import UserError
from rungwise.experiment import baselines, ladder_file
from rungwise.experiment import results as results_module
from rungwise.experiment.collect import CURVES, WORDS, read_frame
from rungwise.experiment.ladder_file import Question
from rungwise.experiment.results import RESULTS, Replicate, Result, by_rung, independent, matches, replicate
from rungwise.experiment.tune import Tuned, trained_so, tuned
from rungwise.ladder import RUNGS, Group, Rung, inferred, variant
from rungwise.util.files import read_json

PEERS = "peers.json"
STALE = 1e-3
"""Nats a character by which a run's per-word losses may miss its test loss (float32 sums miss by 1e-6)."""


class NotMeasured(Exception):
    """What is missing for a figure, as the end of a sentence that begins with "needs"."""


@dataclass(frozen=True, eq=False)
class WordLosses:
    """Every run's loss on every test word."""

    words: Floats
    """(n_words,) index in the list."""
    tokens: Floats
    """(n_words,) scored tokens."""
    nats: dict[tuple[str, int], Floats]
    """(rung, seed) -> (n_words,) nats summed over a word's scored tokens."""


METRICS: dict[str, Callable[[Result], float | None]] = {
    "test loss": lambda r: r.test_loss,
    "train loss": lambda r: r.train_loss,
    "train-test gap": lambda r: r.test_loss - r.train_loss,
    "mean probability": lambda r: r.detail.get("mean_probability"),
    "geometric mean probability": lambda r: math.exp(-r.test_loss),
    "top-1 accuracy": lambda r: r.detail.get("accuracy"),
    "loss without first characters": lambda r: r.detail.get("loss_without_first"),
    "loss of words not in training": lambda r: r.detail.get("loss_new"),
    "loss on the stream itself": lambda r: r.detail.get("stream_test_loss"),
    "loss of bare words": lambda r: r.detail.get("test_loss_alone"),
    "share of test words in training": lambda r: r.detail.get("share_seen"),
    "distinct words": lambda r: (r.detail.get("words") or {}).get("distinct"),
    "new words": lambda r: (r.detail.get("words") or {}).get("new"),
    "distance of 3-grams": lambda r: (r.detail.get("words") or {}).get("distance"),
    "parameters": lambda r: r.n_params,
    "loss behind shuffled characters": lambda r: r.detail.get("shuffled_loss"),
    "loss of the same characters in order": lambda r: r.detail.get("in_order_loss"),
}
"""What one result gives: losses in nats a scored character, distances in bits, probabilities and shares as such."""


@dataclass(frozen=True, eq=False)
class Measured:
    """All results of one protocol on one list, and the files of their directories."""

    protocol: Protocol
    data: str
    data_sha256: str
    results: list[Result]
    """Those that belong in one table: trained as the ladder says, or else all for the same number of steps."""
    steps: int | None = None
    """None: trained as the ladder says. Else the steps that replace every rung's own (climb --steps)."""
    word_losses: WordLosses | None = None
    curves: pl.DataFrame | None = None
    baselines: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Order -> train_loss, val_loss, test_loss of a Kneser-Ney model, nats a scored character."""
    variants: tuple[Result, ...] = ()
    """Of rungs at other learning rates (climb --tune): RUNG@RATE, otherwise trained as the ladder says."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @cached_property
    def by_rung(self) -> dict[str, list[Result]]:
        return by_rung(self.results)

    def at(self, setting: str, value: float) -> Measured | None:
        """The same rungs with a setting that is inferred at another value; None if no rung was measured so. A rung
        whose setting is not inferred keeps its results."""
        found, names = [], dict[tuple[str, int], str]()
        for result in (*self.results, *self.variants):
            name = result.rung.partition("@")[0]
            free = setting in inferred(name)
            if result.rung == (variant(RUNGS[name], setting, value).name if free else name):
                found.append(replace(result, rung=name))
                names[name, result.seed] = result.rung
        if not any("@" in measured_as for measured_as in names.values()):
            return None
        kept = self.word_losses
        if kept:
            nats = {key: kept.nats[name, key[1]] for key, name in names.items() if (name, key[1]) in kept.nats}
            kept = replace(kept, nats=nats)
        return replace(self, results=found, variants=(), word_losses=kept, curves=None)

    @cached_property
    def tuned(self) -> dict[str, Tuned]:
        """Rung -> what its learning rates gave, where several were tried."""
        return tuned([*self.results, *self.variants])

    @property
    def articles_list(self) -> bool:
        return self.data_sha256 == NAMES_SHA256

    @property
    def shows_published(self) -> bool:
        """The article's figures are shown where its own list was scored in its way, trained as the ladder says."""
        return self.articles_list and not self.protocol.start_token and self.steps is None

    def rungs(self, *groups: Group) -> list[Rung]:
        """Those of these groups that were measured, in the ladder's order."""
        return [rung for rung in RUNGS.values() if rung.group in groups and rung.name in self.by_rung]

    @cached_property
    def splits(self) -> list[int]:
        """The split seeds of the results, ascending."""
        return sorted({r.split_seed for r in self.results})

    @property
    def counted(self) -> str:
        """What an interval is over, in words: seeds of one split, or splits."""
        return "splits" if len(self.splits) > 1 else "seeds"

    def over(self, rungs: Iterable[str]) -> str:
        """The same of what these rungs have in common."""
        return "splits" if len({split for split, _ in self.replicates(rungs)}) > 1 else "seeds"

    def values(self, rung: str, metric: str = "test loss") -> dict[Replicate, float]:
        """Replicate -> the metric; a result that does not have it is left out."""
        found = {replicate(r): METRICS[metric](r) for r in self.by_rung.get(rung, [])}
        return {key: float(value) for key, value in found.items() if value is not None}

    def summary(self, rung: str, metric: str = "test loss") -> Summary:
        """The metric over the replicates that have it, of which there must be one."""
        return summary(independent(self.values(rung, metric)))

    def replicates(self, rungs: Iterable[str], metric: str = "test loss") -> list[Replicate]:
        """What all these rungs have: differences are paired."""
        have = [self.values(rung, metric).keys() for rung in rungs]
        return sorted(set.intersection(*map(set, have)))

    def combine(self, weights: Mapping[str, float], metric: str = "test loss") -> Floats:
        """(n,) the weighted sum of a metric over rungs, for the replicates that all of them have, as `independent`
        values: a seed each on one split, else a split each."""
        if missing := [rung for rung in weights if not self.values(rung, metric)]:
            if missing[0] in self.by_rung:
                raise NotMeasured(f"{metric} of {', '.join(missing)} in protocol {self.protocol.name}")
            what = "rungs " if len(missing) > 1 else "rung "
            raise NotMeasured(f"{what}{', '.join(missing)} in protocol {self.protocol.name}")
        found = {rung: self.values(rung, metric) for rung in weights}
        common = self.replicates(weights, metric)
        if not common:
            raise NotMeasured(f"the same seeds of {', '.join(weights)} in protocol {self.protocol.name}")
        return np.array(independent({key: sum(w * found[rung][key] for rung, w in weights.items()) for key in common}))

    def change(self, before: str, after: str, metric: str = "test loss") -> Difference:
        """From one rung to another, paired; below zero, the second is better."""
        values = self.combine({after: 1, before: -1}, metric)
        return paired(np.zeros_like(values), values)

    def combine_words(self, weights: Mapping[str, float], first_split: bool = False) -> tuple[Floats, Floats] | None:
        """The same for each test word of the one split: nats (n_seeds, n_words) and tokens (n_words,); None if a run's
        are missing, or where there are several splits, whose spread is that of their words, too. `first_split`: of the
        runs on that split alone."""
        losses, common = self.word_losses, self.replicates(weights)
        if first_split:
            common = [key for key in common if key[0] == self.splits[0]]
        seeds = [seed for _, seed in common]
        if losses is None or not seeds or len({split for split, _ in common}) > 1:
            return None
        if any((rung, s) not in losses.nats for rung in weights for s in seeds):
            return None
        rows = [sum((w * losses.nats[rung, s] for rung, w in weights.items()), 0.0) for s in seeds]
        return np.array(rows), losses.tokens

    def by_index(self, rung: str, key: str) -> Floats:
        """(n,) a rung's test loss by place in the word (by_position) or by length (by_length), mean over runs, as far
        as all have it: the longest test word is another one on each split."""
        found = [r.detail[key] for r in self.by_rung.get(rung, []) if key in r.detail]
        n = min(map(len, found), default=0)
        return np.array([row[:n] for row in found], dtype=float).reshape(-1, n).mean(axis=0)

    def curve(self, rung: str) -> tuple[Floats, Floats] | None:
        """steps (n,) and training losses (n_runs, n) of the results' runs, by seed; None if not kept."""
        if self.curves is None or rung not in self.by_rung:
            return None
        seeds = [r.seed for r in self.by_rung[rung]]
        rows = self.curves.filter((pl.col("rung") == rung) & pl.col("seed").is_in(seeds)).sort("seed", "step")
        found = [part for _, part in rows.group_by("seed", maintain_order=True)]
        if not found or any(not part["step"].equals(found[0]["step"]) for part in found):
            return None
        return found[0]["step"].to_numpy(), np.array([part["train_loss"].to_numpy() for part in found], float)


@dataclass(frozen=True)
class Compared:
    """A rung and a peer, both trained on the peer's training words and scored on its test words."""

    __pydantic_config__: ClassVar = FINITE
    ours: Mapping[Literal["steps", "test_loss"], float]
    its: Mapping[Literal["steps", "test_loss"], float]
    nats: Sequence[Sequence[float]]
    """(seeds, words) ours less its."""


@dataclass(frozen=True)
class Peer:
    """What peers.json holds of each, by name."""

    __pydantic_config__: ClassVar = FINITE
    test_loss: float
    """Nats a scored character."""
    steps: int = 0
    n_params: int = 0
    protocol: str = ""
    source: str = ""
    characters: Sequence[int] = ()
    """(words,) scored characters of its test words."""
    against: Mapping[str, Mapping[str, Compared]] = field(default_factory=dict)
    """Rung -> how it was held against the peer -> what came out."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a report or a verdict can draw on."""

    groups: tuple[Measured, ...]
    peers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> a Peer."""
    questions: tuple[Question, ...] = ()
    """Of the ladder files that the climbs' directories keep."""

    @cached_property
    def main(self) -> Measured:
        """The group whose list the findings are about: the article's list where it was measured."""
        return min(self.groups, key=lambda g: (not g.articles_list, g.steps is not None))

    def at(self, setting: str, value: float) -> Evidence | None:
        """With every group at another value of an inferred setting; None if the main one was not measured there."""
        groups = [(group, group.at(setting, value)) for group in self.groups]
        if not any(there for group, there in groups if group is self.main):
            return None
        return replace(self, groups=tuple(there for _, there in groups if there))

    def on(self, protocol: str) -> Measured:
        """The results of a protocol that claims may be judged by: one list, trained as the ladder says."""
        for group in self.groups:
            if group.data_sha256 == self.main.data_sha256 and group.protocol.name == protocol:
                if group.steps is not None:
                    short = f"these were trained for {group.steps:,} steps"
                    raise NotMeasured(f"rungs trained as the ladder says ({short})")
                return group
        raise NotMeasured(f"a climb in protocol {protocol}")


PROTOCOL_ORDER = ("article", "makemore", "strict")


def read(paths: Sequence[Path], peers: Path | None = None) -> Evidence:
    """Results from files or climbs' directories, with the other files there; peers.json from there or one level up."""
    parts: dict[tuple[str, str], list[tuple[Path, Result]]] = {}
    folders = [path if path.is_dir() else path.parent for path in paths]
    questions = dict.fromkeys(q for folder in folders for q in ladder_file.of_climb(folder).questions)
    for path in paths:
        file = path / RESULTS if path.is_dir() else path
        results = results_module.read(file)
        if not results:
            raise UserError(f"No results at {file}; give a climb's directory or its {RESULTS}.")
        for result in results:
            parts.setdefault((result.protocol, result.data_sha256), []).append((file.parent, result))
    groups = [group for found in parts.values() if (group := _group(found)).results]
    if not groups:
        raise UserError(f"No results of the ladder's rungs in {', '.join(map(str, paths))}.")
    order = {name: i for i, name in enumerate(PROTOCOL_ORDER)}
    groups.sort(key=lambda g: (not g.articles_list, g.data_sha256, order.get(g.protocol.name, 9)))
    return Evidence(tuple(groups), _peers(folders, peers), tuple(questions))


def _peers(folders: Sequence[Path], given: Path | None) -> dict[str, dict[str, Any]]:
    if given is not None and not given.is_file():
        raise UserError(f"No file at {given}.")
    nearby = [folder / PEERS for folder in folders] + [folder.resolve().parent / PEERS for folder in folders]
    for file in [given] if given else nearby:
        if file.is_file():
            found = read_json(file)
            for name, peer in found.items():
                check(Peer, peer, str(file), name)
            return found
    return {}


def _group(found: Sequence[tuple[Path, Result]]) -> Measured:
    """One group from results and their folders; a rung's replicate measured twice: the last counts."""
    everything = [result for _, result in found]
    on_the_ladder = [r for r in everything if r.rung in RUNGS]
    as_it_says = not on_the_ladder or any(matches(r, RUNGS[r.rung], None) for r in on_the_ladder)
    steps = None if as_it_says else Counter(r.steps for r in on_the_ladder).most_common(1)[0][0]  # those of most
    kept, variants, unknown, others = {}, {}, set(), set()
    for result in everything:
        if result.rung.partition("@")[0] not in RUNGS:
            unknown.add(result.rung)
        elif result.rung in RUNGS and matches(result, RUNGS[result.rung], steps):
            kept[result.rung, *replicate(result)] = result
        elif trained_so(result, steps):
            variants[result.rung, *replicate(result)] = result
        else:
            others.add(result.rung)
    left_out = {"not on the ladder": unknown, "trained otherwise than the ladder now says": others}
    notes = [f"{why}, left out: {', '.join(sorted(names))}" for why, names in left_out.items() if names]
    results = sorted(kept.values(), key=lambda r: (list(RUNGS).index(r.rung), replicate(r)))
    folders, first = list(dict.fromkeys(folder for folder, _ in found)), min(everything, key=lambda r: r.split_seed)
    return Measured(
        get_protocol(first.protocol, first.detail.get("reading", {}).get("condition")),
        first.data,
        first.data_sha256,
        results,
        steps,
        _word_losses(folders, results, tuple(variants.values()), first.split_seed, notes),
        _curves(folders),
        _baselines(folders, first, notes),
        tuple(variants.values()),
        tuple(notes),
    )


def _word_losses(
    folders: Sequence[Path], results: Sequence[Result], variants: Sequence[Result], split: int, notes: list[str]
) -> WordLosses | None:
    """Per-word losses that agree with the results of a split: a column that a later run has made stale is left out."""
    losses = {(r.rung, r.seed): r.test_loss for r in (*results, *variants) if r.split_seed == split}
    found: WordLosses | None = None
    for folder in folders:
        if not (folder / WORDS).exists():
            continue
        frame = read_frame(folder / WORDS, ("word", "tokens"))
        words, tokens = frame["word"].to_numpy(), frame["tokens"].to_numpy().astype(float)
        found = found or WordLosses(words, tokens, {})
        if not np.array_equal(words, found.words) or not np.array_equal(tokens, found.tokens):
            notes.append(f"{WORDS} of other test words, left out")
            continue
        for (rung, seed), loss in losses.items():
            if (name := f"{rung}/{seed}") in frame.columns:
                nats = frame[name].to_numpy().astype(float)
                if abs(nats.sum() / tokens.sum() - loss) < STALE:
                    found.nats[rung, seed] = nats
    of_rungs = {rung for rung, _ in losses.keys() - found.nats.keys() if rung in RUNGS} if found else set[str]()
    if stale := sorted(of_rungs):
        notes.append(f"no per-word losses that agree with the results: {', '.join(stale)}")
    return found


def _curves(folders: Sequence[Path]) -> pl.DataFrame | None:
    columns = ("rung", "seed", "step", "train_loss")
    frames = [read_frame(folder / CURVES, columns) for folder in folders if (folder / CURVES).exists()]
    return pl.concat(frames).unique(["rung", "seed", "step"], keep="last", maintain_order=True) if frames else None


def _baselines(folders: Sequence[Path], of: Result, notes: list[str]) -> dict[int, dict[str, float]]:
    for folder in folders:
        if found := baselines.load(folder):
            if all(found[key] == getattr(of, key) for key in ("protocol", "data_sha256", "split_seed")):
                return baselines.read(folder)
            notes.append(f"{baselines.BASELINES} is of another protocol, list or split, left out")
    return {}

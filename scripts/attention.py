"""docs/attention.md, "Is attention worth it?", from what is committed under results/attention and results/peers.

`python -m scripts.write_docs` writes it. The measurements are scripts/tuned_ladder.py (--rungs families --then 5) and
scripts/peer_curves.py; what is not there yet is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt

import numpy as np

from rungwise.analysis.evidence import Measured, WordLosses
from rungwise.analysis.stats import Spread, Summary, spread, summary
from rungwise.analysis.tables import WORDS_CAPTION, WORDS_HEADER, show, word_rows
from rungwise.analysis.thresholds import NEGLIGIBLE
from rungwise.analysis.verdicts import Effect, Judgement, adjust, judge, signed
from rungwise.config import get_protocol
from rungwise.experiment.collect import WORDS, read_frame
from rungwise.experiment.results import RESULTS, read
from rungwise.experiment.tune import Tuned, tuned
from rungwise.ladder import FULL, RUNGS, Rung, select, variant
from rungwise.model.cost import flop
from rungwise.report import plots
from rungwise.report.document import Figure
from scripts import common

FOLDER = common.RESULTS / "attention"
PEERS = common.RESULTS / "peers"
ATTENTION = {"small": FULL, "large": "scaled-1e-3"}
"""The transformer of each size, which its rivals are held against."""
MISSING = "Not measured yet."
PEER_STEPS = "5000"
FEWEST = 30
"""Words that a place must have for its loss to be shown."""

PUBLISHED = (
    ("counts of pairs, 729 numbers", "2.45", "training words, part 1", "bigram"),
    ("MLP over 3 characters", "2.17", "validation, part 2", "window"),
    ("the same with batch normalisation, 12,000 parameters", "2.105", "validation, part 5", "window"),
    ("MLP over 8 characters, 22,000", "2.027", "validation, part 5", "window"),
    ("WaveNet, 22,000", "2.022", "validation, part 5", "conv"),
    ("WaveNet, 76,000", "1.993", "validation, part 5", "conv"),
    ("makemore's default transformer, 200,000", "1.92", "test, its README", "scaled-1e-3"),
)
"""Karpathy's figures: model, loss, scored on, and our rung of its kind."""


def large(rung: Rung) -> bool:
    return rung.name == ATTENTION["large"] or rung.name.endswith("-large")


@dataclass(frozen=True, eq=False)
class Found:
    """A protocol's results, each rung at its best rate and under its own name."""

    measured: Measured

    @cached_property
    def rungs(self) -> list[Rung]:
        return [rung for rung in select("families") if rung.name in self.measured.by_rung]

    def of_size(self, size: str) -> list[Rung]:
        return [rung for rung in self.rungs if large(rung) == (size == "large")]

    def loss(self, rung: Rung) -> Summary:
        return self.measured.summary(rung.name)

    def rate(self, rung: Rung) -> float:
        return self.measured.by_rung[rung.name][0].train["learning_rate"]

    @cached_property
    def flop(self) -> dict[str, float]:
        """Of a step's products, by rung; words as long as the test words."""
        losses = self.measured.word_losses
        assert losses is not None
        length, looks = losses.tokens.mean(), (losses.tokens * (losses.tokens + 1) / 2).mean()
        return {
            rung.name: flop(rung.model, rung.train.batch_size * length, rung.train.batch_size * looks)
            for rung in self.rungs
        }

    def seconds(self, rung: Rung) -> Summary:
        return summary([r.ms_per_step * r.steps / 1000 for r in self.measured.by_rung[rung.name]])


def rates() -> dict[str, Tuned]:
    """What the rates of each rung gave."""
    path = FOLDER / "strict" / RESULTS
    return tuned(read(path)) if path.exists() else {}


def load(protocol: str) -> Found | None:
    """What is committed of a protocol; None where there is nothing."""
    folder, names = FOLDER / protocol, dict[str, str]()
    if not (folder / RESULTS).exists():
        return None
    for name, tried in rates().items():
        names[variant(RUNGS[name], "learning_rate", tried.best).name] = name
    results = [replace(r, rung=names[r.rung]) for r in read(folder / RESULTS) if r.rung in names and not r.split_seed]
    if not results:
        return None
    frame = read_frame(folder / WORDS, ("word", "tokens"))
    nats = {}
    for column in frame.columns:
        rung, _, seed = column.rpartition("/")
        if rung in names:
            nats[names[rung], int(seed)] = frame[column].to_numpy().astype(float)
    words = WordLosses(frame["word"].to_numpy(), frame["tokens"].to_numpy().astype(float), nats)
    about = results[0]
    return Found(Measured(get_protocol(protocol), about.data, about.data_sha256, results, None, words))


def compared(found: Found, size: str) -> dict[str, Judgement]:
    """Rung -> its loss less attention's at the same size, held against +-NEGLIGIBLE; one family of tests (Holm)."""
    attention = ATTENTION[size]
    rivals = [r.name for r in found.of_size(size) if r.name != attention]
    if attention not in found.measured.by_rung:
        return {}
    effects = [
        Effect(found.measured.combine(weights), found.measured.combine_words(weights))
        for weights in ({name: 1.0, attention: -1.0} for name in rivals)
    ]
    return dict(zip(rivals, adjust([judge(effect, "changes nothing") for effect in effects]), strict=True))


def verdict(judgement: Judgement) -> str:
    if judgement.word == "confirmed":
        return f"as good, ±{NEGLIGIBLE:g}"
    if judgement.word == "inconclusive":
        return "not settled"
    return "worse" if judgement.effect.mean > 0 else "better"


def difference(effect: Effect) -> str:
    low, high = effect.interval()
    return f"{signed(effect.mean)} ({signed(low)} to {signed(high)})"


def answer(found: Found) -> str:
    """The page's first paragraph."""
    lines = []
    for size, attention in ATTENTION.items():
        judged = compared(found, size)
        if not judged:
            continue
        said: dict[str, list[str]] = {}
        for name, judgement in judged.items():
            said.setdefault(verdict(judgement), []).append(RUNGS[name].title)
        parts = [f"{word}: {', '.join(names)}" for word, names in sorted(said.items())]
        n, loss = found.measured.by_rung[attention][0].n_params, found.loss(RUNGS[attention]).mean
        lines.append(f"At {n:,} parameters, against attention ({loss:.3f}): {'; '.join(parts)}.")
    return " ".join(lines) or MISSING


def families_table(found: Found) -> str:
    rows, tried = [], {name: list(one.tried) for name, one in rates().items()}
    for size, attention in ATTENTION.items():
        judged = compared(found, size)
        for rung in found.of_size(size):
            mine, one = found.measured.by_rung[rung.name], judged.get(rung.name)
            edges = tried[rung.name][0], tried[rung.name][-1]
            rows.append(
                (
                    f"{RUNGS[rung.name].title}{' (attention)' * (rung.name == attention)}",
                    f"{mine[0].n_params:,}",
                    f"{found.rate(rung):g}" + " (edge)" * (found.rate(rung) in edges),
                    show(found.measured.summary(rung.name, "train loss")),
                    show(found.loss(rung)),
                    difference(one.effect) if one else "",
                    verdict(one) if one else "",
                    f"{found.flop[rung.name] / 1e6:.0f}",
                    f"{found.seconds(rung).mean:.0f} ({mine[0].engine.split()[0]})",
                )
            )
    head = ("parameters", "rate", "train", "test", "less attention's", "verdict", "MFLOP a step", "seconds")
    return common.table({"model": "---"} | dict.fromkeys(head, "--:"), rows)


def panels(found: Found) -> Figure:
    """Test loss against parameters, arithmetic and time."""
    families = list(dict.fromkeys(rung.model.family for rung in found.rungs))
    axes_of: tuple[tuple[str, Callable[[Rung], float]], ...] = (
        ("parameters", lambda rung: found.measured.by_rung[rung.name][0].n_params),
        ("GFLOP of training", lambda rung: found.flop[rung.name] * rung.train.steps / 1e9),
        ("seconds of training", lambda rung: found.seconds(rung).mean),
    )
    data: list[tuple[object, ...]] = [("model", *(label for label, _ in axes_of), "test loss", "low", "high")]
    for rung in found.rungs:
        s = found.loss(rung)
        data.append((rung.title, *(f"{place(rung):.4g}" for _, place in axes_of), s.mean, s.low, s.high))

    def paint(canvas: plots.Canvas) -> None:
        narrow, first = plots.is_narrow(canvas), None
        for i, (label, place) in enumerate(axes_of):
            axes = first = canvas.add_subplot(*((3, 1) if narrow else (1, 3)), i + 1, sharey=first)
            for number, family in enumerate(families):
                mine = sorted((r for r in found.rungs if r.model.family == family), key=lambda r: found.loss(r).mean)
                x, losses = [place(rung) for rung in mine], [found.loss(rung) for rung in mine]
                y = [s.mean for s in losses]
                half = [0.0 if s.n == 1 else (s.high - s.low) / 2 for s in losses]
                style = "s" if family == "transformer" else "o" if number < len(plots.SERIES) else "^"
                color = plots.SERIES[number % len(plots.SERIES)]
                name = "attention" if family == "transformer" else mine[0].title.removesuffix(", large")
                axes.errorbar(x, y, half, fmt=f"{style}-", color=color, markersize=4, linewidth=1, label=name)
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:,g}k" if x >= 1000 else f"{x:g}")
            axes.set_xlabel(label)
            axes.grid()
            if narrow or not i:
                axes.set_ylabel(f"test loss, {plots.UNIT}")
        handles, labels = canvas.axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", frameon=False, ncols=2 if narrow else 5)

    about = "; ".join(f"{rung.title}: {found.loss(rung).mean:.3f}" for rung in found.rungs)
    title = "Test loss against parameters, arithmetic and time"
    return plots.figure("attention", title, f"{title}. {about}.", "", 3.6, paint, data, 9)


def places(found: Found, size: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Places in the word, from 1, and of each model the mean loss there, over seeds."""
    losses = found.measured.word_losses
    assert losses is not None
    n = sum((losses.tokens > i).sum() >= FEWEST for i in range(int(losses.tokens.max())))
    by_rung = found.measured.by_rung
    rows = {
        rung.name: np.mean([r.detail["by_position"][:n] for r in by_rung[rung.name]], axis=0)
        for rung in found.of_size(size)
    }
    return np.arange(1, n + 1), rows


def places_picture(found: Found) -> Figure | None:
    """What each model loses to attention at each place."""
    drawn = []
    for size, attention in ATTENTION.items():
        at, rows = places(found, size)
        lines = [
            plots.Line(RUNGS[name].title.removesuffix(", large"), at, loss - rows[attention])
            for name, loss in rows.items()
            if attention in rows and name not in (attention, "bigram")
        ]
        if lines:
            drawn.append((f"place in the word ({size})", lines))
    title = "Loss less attention's, by place in the word"
    return plots.lines("attention-places", title, "", drawn, "nats more than attention") if drawn else None


def places_table(found: Found) -> str:
    rows, head = [], []
    for size in ATTENTION:
        at, losses = places(found, size)
        parts = [(0, 1), (1, 2), (2, 4), (4, 6), (6, 9), (9, len(at))]
        head = [f"{a + 1}" if b == a + 1 else f"{a + 1} to {b}" for a, b in parts]
        rows += [(RUNGS[name].title, *(f"{loss[a:b].mean():.3f}" for a, b in parts)) for name, loss in losses.items()]
    return common.table({"model": "---"} | dict.fromkeys(head, "--:"), rows)


def published_table(found: Found | None) -> str:
    rows = []
    for model, loss, scored, name in PUBLISHED:
        names = [n for n in dict.fromkeys((name, f"{name}-large")) if found and n in found.measured.by_rung]
        ours = "; ".join(
            f"{RUNGS[n].title} {show(found.loss(RUNGS[n]))} ({found.measured.by_rung[n][0].n_params:,})"
            for n in names
            if found
        )
        rows.append((model, loss, scored, ours or MISSING))
    return common.table({"published": "---", "loss": "--:", "scored on": "---", "ours, test": "---"}, rows)


def peer_runs(name: str) -> dict[str, dict[int, tuple[float, int]]]:
    """Type -> seed -> (test loss at PEER_STEPS, parameters)."""
    path, found = PEERS / f"{name}.jsonl", dict[str, dict[int, tuple[float, int]]]()
    for line in map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else ()):
        if PEER_STEPS in line["test_loss"] and not line["held_out"]:
            kind = line.get("type", "transformer")
            found.setdefault(kind, {})[line["seed"]] = (line["test_loss"][PEER_STEPS], line["n_params"])
    return found


def apart(a: Sequence[float], b: Sequence[float]) -> Spread:
    """b - a of two sets of seeds that have nothing in common (Welch 1947)."""
    ours, theirs = spread(b), spread(a)
    total = ours.se**2 + theirs.se**2
    degrees = total**2 / (ours.se**4 / ours.df + theirs.se**4 / theirs.df)
    return Spread(ours.mean - theirs.mean, sqrt(total), degrees)


def peers_table() -> str:
    theirs, ours = peer_runs("makemore"), peer_runs("rungwise")
    rows = []
    for kind in [rung.name.removeprefix("makemore-") for rung in select("makemore")]:
        runs = [side.get(kind, {}) for side in (theirs, ours)]
        losses = [[loss for loss, _ in side.values()] for side in runs]
        cells = [f"{next(iter(side.values()))[1]:,}" if side else "" for side in runs]
        cells += [show(summary(side)) if side else MISSING for side in losses]
        if min(map(len, losses)) > 1:
            gap = apart(*losses)
            low, high = gap.interval()
            said = "within the noise" if low <= 0 <= high else "lower" if high < 0 else "higher"
            said = f"equal, ±{NEGLIGIBLE:g}" if max(-low, high) < NEGLIGIBLE else said
            cells += [f"{signed(gap.mean)} ({signed(low)} to {signed(high)})", said]
        rows.append((kind, *cells, *[""] * (6 - len(cells))))
    head = ("its parameters", "ours", "its test loss", "our test loss", "difference", "ours is")
    return common.table({"--type": "---"} | dict.fromkeys(head, "--:"), rows)


INTRO = """# Is attention worth it?

What is a transformer worth against what came before it: at the same number of parameters, the same arithmetic, the same
seconds? Every model here is trained on the same batches of the same names under the same seeds for 5,000 steps, each at
the learning rate that validation words chose for it. `rungwise climb --rungs families` trains them; `rungwise ladder`
says what each one is. The page is generated from results/attention.
"""
COSTS = """
Nats a scored character, protocol strict; mean ± 95 % interval over {n} seeds. *Less attention's*: the paired difference
from the transformer of the same size, its interval over seeds and test words; the verdict is an equivalence test with a
margin of {margin:g} nats: *as good* and *worse* hold after Holm's adjustment over the models of a size (5 %). MFLOP are
those of the matrices' products, forward and backward, without padding. Seconds are of 5,000 steps on one core as the
climb ran, several seeds as one program in engine torch: engines differ, so compare them within an engine.
"""
PLACES = """
Mean test loss of the first, second, ... character of a word; the end counts as one. What a model gains behind the third
or fourth place, it can only gain by what it remembers: the bigram sees one character, the window eight, the WaveNet
sixteen, the others all.
"""
PUBLISHED_TEXT = """
Published: Karpathy, *Neural Networks: Zero to Hero*, makemore parts 1, 2 and 5, and its README; 80 % of the words
for training, 10 % for validation, up to 200,000 steps. Ours: protocol makemore (1,000 test words), 5,000 steps,
parameters in brackets. Splits and steps differ, so the second digit is the last to compare.
"""
PEERS_TEXT = """
`python -m scripts.peer_curves makemore --type TYPE` trains makemore's own script with its defaults for 5,000 steps and
scores it exactly, over all of its 1,000 test words; with `--ours`, our model of its size and training on the very same
words. Theirs and ours share no draw. They are not alike to the last part: its GRU resets the state before the product
and ours behind it (as PyTorch's does), its bag has tanh where ours has GELU. 95 % intervals over seeds (Welch).
"""


def worded(found: Found) -> str:
    n = max((r.detail["words"]["n"] for r in found.measured.results if r.detail.get("words")), default=0)
    rows = word_rows(found.rungs, found.measured.results)
    return common.table(dict.fromkeys(WORDS_HEADER, "---"), rows) + "\n" + WORDS_CAPTION.format(n=n) + "\n"


def pictures() -> dict[str, Figure]:
    """File name without its ending -> what is drawn."""
    found = load("strict")
    drawn = {} if found is None else {"attention": panels(found), "attention-places": places_picture(found)}
    return {name: figure for name, figure in drawn.items() if figure}


def page() -> str:
    found = load("strict")
    shown = pictures()

    def picture(name: str) -> list[str]:
        return [f"![{shown[name].title}]({name}.svg)"] if name in shown else []

    def of_models(title: str, parts: Callable[[Found], Iterable[str]]) -> list[str]:
        return [f"## {title}", *(parts(found) if found else [MISSING])]

    n = max(len(runs) for runs in found.measured.by_rung.values()) if found else 0
    costs = COSTS.format(n=n, margin=NEGLIGIBLE).strip()
    blocks = [
        INTRO.strip(),
        answer(found) if found else MISSING,
        *of_models("Loss against cost", lambda f: [families_table(f), costs, *picture("attention")]),
        *of_models("Who uses far context", lambda f: [places_table(f), PLACES.strip(), *picture("attention-places")]),
        *of_models("Are the words any better?", lambda f: [worded(f)]),
        "## Beside published figures",
        published_table(load("makemore")),
        PUBLISHED_TEXT.strip(),
        "## makemore's own script",
        peers_table(),
        PEERS_TEXT.strip(),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"

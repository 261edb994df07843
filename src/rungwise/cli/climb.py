"""What `rungwise climb` shows: a live table on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from statistics import median

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rungwise.analysis.evidence import Measured, read
from rungwise.analysis.stats import paired, summary
from rungwise.analysis.tables import WORDS_HEADER, rows, show, word_rows
from rungwise.analysis.thresholds import LITTLE
from rungwise.cli.flags import configured
from rungwise.cli.options import ClimbCommand, OfNewList
from rungwise.cli.settle import HEADER, run_until_settled, settled_rows, to_settle
from rungwise.config import EngineConfig, ListConfig, WordStart, get_protocol, rules
from rungwise.data import words
from rungwise.data.known_words import LEGEND, OF_A_SPLIT, marked
from rungwise.errors import UserError
from rungwise.experiment import baselines, ladder_file, tune
from rungwise.experiment import climb as climbing
from rungwise.experiment.climb import make_pool
from rungwise.experiment.ladder_file import Question
from rungwise.experiment.plan import STRIDE, Experiment, Pool, Progress
from rungwise.experiment.results import RESULTS, Result, by_rung, losses, paired_losses, replicate
from rungwise.ladder import FULL, LEAVE_ONE_OUT, RUNGS, Rung, select
from rungwise.play import page
from rungwise.play.collect import find
from rungwise.report import build
from rungwise.report.sections import steps
from rungwise.training.run_dir import SNAPSHOTS
from rungwise.util import hints
from rungwise.util.files import local
from rungwise.util.progress import PLAIN_EVERY, duration

PLAIN_WIDTH = 80
"""Of tables that go to a file or a pipe."""
N_WORDS = 20
ARTICLE = ClimbCommand.rungs
"""What --rungs is by default: with a ladder of one's own, that alone is measured."""


def climb(request: ClimbCommand) -> None:
    """Climb and show: on standard output, or on standard error beside --json's lines."""
    console = Console(stderr=request.json, soft_wrap=True, highlight=False, markup=False, emoji=False)  # words are text
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    from rungwise.engine.select import choose_engine, describe_engine  # torch: only where something is trained

    rungs, plan, out, questions = prepare(request)
    introduce(console, plan, describe_engine(plan.how))
    screen = (LiveScreen if console.is_terminal else PlainScreen)(console, plan, out)
    address = (request.address or "auto") if request.on == "ray" else None

    def pool() -> Pool:
        return make_pool(plan.how, request.processes, address)

    with screen:
        if questions:
            everything = run_until_settled(request, plan, out, questions, pool, screen.report)
        else:
            everything = climbing.run(plan, out, pool(), screen.report)
    wanted = {rung.name for rung in plan.rungs}
    results = [r for r in everything if r.rung in wanted and replicate(r) in plan.replicates]
    if not console.is_terminal:
        console.print(table(plan, out, results))
    if questions:
        console.print(_table(HEADER, settled_rows(request, plan, questions, everything), left=3))
    if request.ablate:
        console.print(ablation_table(results))
    if request.tune:
        console.print(tuning_table(rungs, results))
    show_samples(console, rungs, results)
    if judged := word_rows(rungs, results):  # what they are like: tables.WORDS_CAPTION
        console.print(_table(WORDS_HEADER, judged, left=1))
    if choose_engine(plan.how) == "torch" and (line := compiled_line(results)):
        console.print(line)
    write_documents(plan, out, len(results), screen.elapsed, console)
    if request.json:
        for result in results:
            print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))


def introduce(console: Console, plan: Experiment, engines: str) -> None:
    """What is measured, on what, and what the numbers will be."""
    protocol, tokens, seeds = plan.protocol, plan.words.vocabulary.tokens, f"{len(plan.seeds)} seed"
    seeds += "s" * (len(plan.seeds) > 1)
    mean = f"mean of {seeds}" if plan.splits == 1 else f"mean of {plan.splits} splits ({seeds} each)"
    console.print(words.describe(plan.words, plan.parts))
    console.print(
        f"Protocol {protocol.name}: {tokens.say(protocol.scored)} are scored. Losses are nats a {tokens.unit}, exact "
        f"over the whole split, {mean} ± 95 % CI; the step is the paired change in test loss. Engine {engines}."
    )
    if behind := [r.name for r in plan.rungs if WordStart.of(protocol, r.train) != protocol.word_start]:
        console.print(f"Trained on a stream, and so fed END before each word: {', '.join(behind)}.")
    for line in remarks(plan, len(plan.parts.train)):
        console.print(line)


def write_documents(plan: Experiment, out: Path, n_results: int, seconds: float, console: Console) -> None:
    """The report and the page of a climb, next to its results; the last lines say where they are."""

    def say(line: str) -> None:
        print(line, file=console.file)  # not by rich, which expands the tabs of a path

    say(f"Wrote {out / RESULTS} ({n_results} results, {duration(seconds)}), and a directory for each run.")
    say("Writing the report, and the page that looks inside ...")
    try:
        found = find([out])
    except UserError:  # results of before, whose runs are not kept
        found = []
    without = sum(not (kept.folder / SNAPSHOTS).exists() for kept in found)
    if plan.snapshots and without:
        say(
            f"{without} of {len(found)} rungs have no words of their training, for the page's view Train: they were "
            "trained before with --no-snapshots. The same command with another --out trains them again, with words."
        )
    try:
        evidence = read([out])
        _, report = build.save(build.build(evidence), out)
        if found:
            page.write(out / page.PAGE, found, plan.words)
    except UserError as error:
        say(f"The report and the page are not complete: {error}")
        return
    if line := short_list(evidence.main):
        say(line)
    say(f"Train one model on a list of your own: {hints.command('train', '--data', 'LIST')}")
    if found:
        say(f"Words: {hints.command('sample', found[-1].folder, '-n', N_WORDS)}")
    say(f"Report: {report}")
    if found:
        say(f"Look inside: {out / page.PAGE}")


def short_list(measured: Measured) -> str | None:
    """What the intervals can tell, where the list is so short that they are wide."""
    found = [(s.both.high - s.both.low) / 2 for s in steps(measured, "article", "scaling") if isfinite(s.both.low)]
    if not found or (half := median(found)) <= LITTLE:
        return None
    n, seeds = measured.results[0].detail.get("n_test_words", 0), len({r.seed for r in measured.results})
    return (
        f"The list is short: with {n:,} test words and {seeds} seeds, a step is known to ±{half:.3f} only (median, "
        "95 %). Parts that bring less cannot be told apart; more seeds help (--seeds 10), a longer list helps more."
    )


def prepare(request: ClimbCommand) -> tuple[list[Rung], Experiment, Path, list[Question]]:
    """The rungs that are asked for; the experiment, which may measure more to compare them with; its directory; and
    what is to be settled, where that is asked for."""
    for field in ("seeds", "splits", "steps", "processes"):
        if (value := getattr(request, field)) is not None and value < 1:
            raise UserError(f"{field} must be at least 1, but is {value}.")
    if request.split_seed < 0:
        raise UserError(f"split_seed must be at least 0, but is {request.split_seed}.")
    first_seed = STRIDE * request.split_seed
    if request.seeds > STRIDE and (request.splits > 1 or first_seed):
        raise UserError(f"seeds must be at most {STRIDE} where there are several splits, but is {request.seeds}.")
    if request.on == "ray" and request.processes:
        raise UserError("--processes counts processes of this machine; a Ray cluster runs a task on each of its CPUs.")
    if request.on != "ray" and request.address:
        raise UserError("--address is of a Ray cluster: say --on ray, too.")
    own = ladder_file.load(request.ladder) if request.ladder else None
    asked = [request.rungs] * (own is None or request.rungs != ARTICLE)
    rungs = select(",".join([*asked, *(own.measured if own else ())]))
    protocol = get_protocol(request.protocol or ("strict" if request.tune else "article"), request.condition)
    if request.tune and not protocol.val_fraction:
        raise UserError(f"--tune chooses on validation words, and protocol {protocol.name} has none; use strict.")
    measured = {rung.name: rung for rung in [*rungs, *(select("article,ablations") if request.ablate else [])]}
    if request.tune:
        measured |= {rung.name: rung for rung in tune.variants(rungs)}
    how = EngineConfig.from_dict({name: getattr(request, name) for name in EngineConfig.fields()}, "command line")
    listed = words.load(configured(ListConfig, request))
    steps = f"-{request.steps}" if request.steps else ""
    name = "-".join([Path(listed.name).stem.replace(" ", "-"), *([request.column] if request.column else [])])
    out = request.out or Path("runs") / local(f"{name}-{protocol.name}{steps}".replace("/", "-"))
    plan = Experiment(
        listed,
        protocol,
        list(measured.values()),
        range(first_seed, first_seed + request.seeds),
        request.steps,
        request.split_seed,
        request.splits,
        how=how,
        reading={name: mine for name, value in vars(OfNewList()).items() if (mine := getattr(request, name)) != value},
        snapshots=request.snapshots,
        ladder_file=request.ladder.read_text("utf-8-sig") if request.ladder else "",
    )
    return rungs, plan, out, to_settle(request, plan, own.questions if own else ())


def remarks(plan: Experiment, n_words: int) -> list[str]:
    """What does not fit these steps, or this list, in a line each, with the rungs that it is said of."""
    found: dict[str, list[str]] = {}
    for rung in plan.rungs:
        train = rung.trained(plan.steps)
        for line in [*rules.changes(rung.train, train, ("steps",)), *rules.batches(train, n_words)]:
            found.setdefault(line, []).append(rung.name)
    return [f"{', '.join(names)}: {line}" if len(names) < len(plan.rungs) else line for line, names in found.items()]


def table(plan: Experiment, out: Path, results: Sequence[Result]) -> Table:
    """The ladder, and below it the n-gram baselines; a rung that still trains says how many seeds are there."""
    results = [r for r in results if replicate(r) in plan.replicates]
    groups = by_rung(results)
    ladder = rows([rung for rung in plan.rungs if not tune.is_variant(rung.name)], results)
    article = ["article"] * any(row.published for row in ladder)  # its figures, where they can be compared
    found = _table(("rung", "parameters", *article, "train", "test", "step"), left=1)
    for row in ladder:
        n = len(groups.get(row.rung.name, []))
        title, _, parameters, published, *measured = row.cells()
        cells = [title, parameters, *([published] if article else [])]
        style = "" if n == len(plan.replicates) else "dim"
        found.add_row(*cells, *(measured if n else (f"0 of {len(plan.replicates)}", "", "")), style=style)
    for order, counted in baselines.read(out).items():
        loss = (f"{counted[part]:.3f}" for part in ("train_loss", "test_loss"))
        found.add_row(f"{order}-gram baseline", "", *("" for _ in article), *loss, "")
    return found


def compiled_line(results: Sequence[Result]) -> str | None:
    """On which rungs steps were compiled, and on which not; None where no result tells."""
    rungs: dict[bool, list[str]] = {True: [], False: []}
    for rung, compiled in dict.fromkeys((r.rung, r.detail.get("compiled")) for r in results):
        if compiled is not None:
            rungs[compiled].append(rung)
    parts = [f"{'compiled' if how else 'plain'} on {', '.join(on)}" for how, on in rungs.items() if on]
    return f"Steps were {'; '.join(parts)}." if parts else None


def ablation_table(results: Sequence[Result]) -> Table:
    """What a part is worth when it is added to the ladder, and when it is taken from the full model."""
    groups = by_rung(results)
    found = []
    for part, name in LEAVE_ONE_OUT.items():
        with_it, without = paired_losses(groups.get(FULL, []), groups.get(name, []))
        if with_it:
            found.append((part, name, show(summary(without)), show(paired(without, with_it), signed=True)))
    return _table(("part", "full model without it", "test", "what it is worth there"), found, left=2)


def tuning_table(rungs: Sequence[Rung], results: Sequence[Result]) -> Table:
    """Every rung at the learning rate that validation liked best."""
    tuned, found = tune.tuned(results), []
    for rung in rungs:
        if rung.name in tuned:
            rate = tuned[rung.name].best
            mine = tuned[rung.name].tried[rate]
            below = tuned.get(rung.on or "")
            before, after = paired_losses(below.tried[below.best] if below else [], mine)
            edge = " (edge)" if rate in (tune.GRID[0], tune.GRID[-1]) else ""
            validation = losses(mine, "val_loss")
            step = show(paired(before, after), signed=True) if before else ""
            on = RUNGS[rung.on].title if rung.on else ""
            test = show(summary(losses(mine)))
            found.append((rung.title, on, f"{rate:g}{edge}", show(summary(validation)), test, step))
    return _table(("rung", "builds on", "best rate", "validation", "test", "step"), found, left=2)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]] = (), *, left: int) -> Table:
    """Its first `left` columns hold text, the others numbers."""
    found = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(names):
        found.add_column(name, justify="left" if i < left else "right", overflow="fold", min_width=min(len(name), 9))
    for row in rows:
        found.add_row(*row)
    return found


def show_samples(console: Console, rungs: Sequence[Rung], results: Sequence[Result]) -> None:
    """Ten words of each rung's first seed."""
    groups = by_rung(results)
    width = max(len(rung.title) for rung in rungs)
    console.print(f"Ten words of each (seed 0; {LEGEND}):")
    for rung in rungs:
        if rung.name in groups:
            drawn = groups[rung.name][0].detail.get("samples", [])
            shown = " ".join(marked(text, OF_A_SPLIT.get(tag, tag)) for text, tag in drawn)
            console.print(f"{rung.title:{width}}  {shown}")


class PlainScreen:
    """A line for every finished rung, and one every few seconds with the time left."""

    def __init__(self, console: Console, plan: Experiment, out: Path) -> None:
        self.console, self.plan, self.out = console, plan, out
        self.began = self.last = time.monotonic()
        self.shown: set[str] = set()

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def report(self, progress: Progress) -> None:
        done = [r for r in progress.done if replicate(r) in self.plan.replicates]
        groups = by_rung(done)
        for rung in self.plan.rungs:
            if len(groups.get(rung.name, [])) == len(self.plan.replicates) and rung.name not in self.shown:
                self.shown.add(rung.name)
                train, test, step = rows([rung], done)[0].cells()[-3:]
                self.say(f"{rung.title}: train {train}, test {test}{f', step {step}' if step else ''}")
                self.last = time.monotonic()
        if time.monotonic() - self.last >= PLAIN_EVERY and progress.seconds_left is not None:
            self.last = time.monotonic()
            self.say(f"{progress.share:.0%} done, {duration(progress.seconds_left)} left")

    def say(self, line: str) -> None:
        self.console.print(line)
        sys.stdout.flush()


class LiveScreen(PlainScreen):
    """The table, filling as results come, and a line with the time left under it."""

    def __enter__(self) -> None:
        self.live = Live(console=self.console, refresh_per_second=4)
        self.live.start()

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def report(self, progress: Progress) -> None:
        left = f"{duration(progress.seconds_left)} left" if progress.seconds_left is not None else "estimating ..."
        remark = f"{progress.share:.0%} done, {duration(self.elapsed)} so far, {left}" if progress.share < 1 else ""
        self.live.update(Group(table(self.plan, self.out, progress.done), Text(remark)))

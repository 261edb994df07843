"""Results -> report.md and one self-contained report.html. No torch here.

The same results give the same bytes: dates are those of the results, and figures are drawn without chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rungwise.analysis.claims import Finding, confounds, findings
from rungwise.analysis.evidence import PROTOCOL_ORDER, Evidence, Measured, read
from rungwise.analysis.thresholds import ROUNDING
from rungwise.analysis.verdicts import SYMBOLS, signed
from rungwise.data.known_words import OF_A_SPLIT
from rungwise.errors import UserError
from rungwise.experiment import tune
from rungwise.experiment.ladder_file import LADDER_FILE
from rungwise.experiment.plan import STRIDE, cost
from rungwise.experiment.results import replicate
from rungwise.ladder import RUNGS, SELECTIONS
from rungwise.report import of_run
from rungwise.report.asked import fit_table, questions_section, sensitivity_table
from rungwise.report.document import (
    Block,
    Facts,
    Paragraph,
    Section,
    Strip,
    Verdicts,
    Words,
    html,
    markdown,
    shown,
)
from rungwise.report.figures import LADDER, best_baseline, ladder_figures
from rungwise.report.sections import of_protocol, protocol_sections, short_table, steps
from rungwise.training.run_dir import CONFIG
from rungwise.util import hints
from rungwise.util.files import make_folder, write_text
from rungwise.util.machine import cores
from rungwise.util.progress import duration

MARKDOWN, HTML = "report.md", "report.html"
TITLE = "What each rung is worth"


def write(paths: Sequence[Path], out: Path | None = None, peers: Path | None = None) -> tuple[Path, Path]:
    """Write report.md and report.html of climbs, or of one run of `rungwise train`, by default into the first one's
    directory; returns their paths."""
    run = next((path for path in paths if (path / CONFIG).exists()), None)
    if run and len(paths) > 1:
        raise UserError(f"{run} is a single run, and a report of several compares climbs: give it alone.")
    sections = of_run.sections(run) if run else build(read(paths, peers))
    return save(sections, out or (paths[0] if paths[0].is_dir() else paths[0].parent))


def save(sections: Sequence[Section], folder: Path) -> tuple[Path, Path]:
    """Both files, into a directory; returns their paths."""
    make_folder(folder)
    write_text(folder / MARKDOWN, markdown(sections))
    write_text(folder / HTML, html(sections))
    return folder / MARKDOWN, folder / HTML


def build(evidence: Evidence) -> list[Section]:
    found, main = findings(evidence), evidence.main
    answer = [*headline(main), *ladder_figures(main, of_protocol(main, evidence.peers)), *short_table(main)]
    if main.articles_list:
        answer.append(Strip(found, tally(found)))
    return [
        Section("top", TITLE, answer, level=1),
        *questions_section(evidence),
        *findings_sections(evidence, found),
        *(part for group in evidence.groups for part in protocol_sections(group, evidence.peers, group is main)),
        *words_section(main),
        provenance_section(evidence),
        *missing_section(evidence),
    ]


RULES = (
    "How a verdict is reached, by one rule: a claim is split into what it asserts, and each assertion is a range of "
    "values, from one table. Confirmed: the 95 % interval of the measured value lies inside the range. Refuted: it "
    "lies outside. Inconclusive: it reaches across a border, or there is one seed only and no interval. Not "
    "measured: the evidence is missing. p is adjusted for all assertions (Holm), and a verdict holds only below 5 "
    "%. A claim is refuted with any of its parts and confirmed with all. Reported size: understated or overstated, "
    f"where the reported figure, give or take {ROUNDING:g} for rounding, lies outside the interval. Attribution: is "
    "it the named part, with nothing else changed? A verdict that another value of an unpublished setting turns into "
    "its contrary hangs on an inferred setting. Intervals cover seeds, and test words where losses by word were "
    "kept; with several splits, all that a split decides."
)


def findings_sections(evidence: Evidence, found: list[Finding], rules: bool = True) -> list[Section]:
    about = evidence.main
    if not about.articles_list:
        where = f"What the article asserts of its own list, asked of {about.data}. No verdicts: it is another list."
        questions = Verdicts(found, judged=False, quoted=False)
        return [Section("findings", "The article's questions, asked of this list", [Paragraph(where), questions])]
    blocks: list[Block] = [Paragraph(f"Measured on {about.data}."), Verdicts(found)]
    if rules:
        blocks.insert(1, Paragraph(RULES, quiet=True))
    blocks += [*sensitivity_table(evidence, found), *fit_table(about)]
    unjudged = Verdicts(confounds(evidence), judged=False)
    lead = Paragraph("The parameter counts and losses reveal what came along with what was named. Each, on its own:")
    return [
        Section("findings", "The article's claims, measured again", blocks),
        Section("confounds", "What changed at the same time", [lead, unjudged]),
    ]


def tally(found: Sequence[Finding]) -> str:
    titles = {word: [f.claim.title for f in found if f.verdict == word] for word in SYMBOLS}
    parts = [f"{len(t)} {'is' if len(t) == 1 else 'are'} {word} ({', '.join(t)})" for word, t in titles.items() if t]
    return f"Of the article's {len(found)} claims, " + "; ".join(parts) + "."


def headline(main: Measured) -> list[Block]:
    """The results in plain words."""
    rungs = main.rungs(*LADDER)
    if len(rungs) < 2:
        return []
    levels = {rung.title: main.summary(rung.name).mean for rung in rungs}
    (first, *_), best = levels, min(levels, key=lambda title: levels[title])
    text = (
        f"On {main.data}, the ladder takes the loss on test words from {levels[first]:.3f} ({first}) to "
        f"{levels[best]:.3f} nats a character ({best})."
    )
    if changes := steps(main, *LADDER):
        largest = min(changes, key=lambda step: step.seeds.mean)
        text += f" The largest single step is {largest.rung.title}: {signed(largest.seeds.mean)}."
    for name, _, loss in best_baseline(main):
        beaten = sum(level > loss for level in levels.values())
        text += (
            f" The best n-gram baseline (no network) reaches {loss:.3f} ({name}): better than {beaten} of the "
            f"{len(levels)} rungs measured."
        )
    if main.steps is not None:
        text += f" But these runs were cut short, at {main.steps:,} steps each."
    return [Paragraph(text)]


def missing_section(evidence: Evidence) -> list[Section]:
    facts = []
    absent = [name for name in PROTOCOL_ORDER if name not in {group.protocol.name for group in evidence.groups}]
    if absent:
        facts.append(("Protocols", f"nothing measured in {', '.join(absent)}"))
    if not evidence.peers:
        facts.append(("Peers", "no peers.json: makemore's own figure was not measured"))
    facts += [
        (f"Protocol {group.protocol.name}, {group.data}", "; ".join(lacks))
        for group in evidence.groups
        if (lacks := missing(group))
    ]
    return [Section("missing", "What is missing", [Facts(facts), *completion(evidence.main)])] if facts else []


def completion(measured: Measured) -> list[Block]:
    """The one command that measures the rungs that are missing, and how long it takes, by those that are there."""
    absent = [rung for name, rung in RUNGS.items() if name not in measured.by_rung]
    if not absent:
        return []
    done = measured.results
    seeds = max(len(results) for results in measured.by_rung.values()) // len(measured.splits)
    rate = sum(r.ms_per_step * r.steps for r in done) / sum(cost(RUNGS[r.rung], measured.steps) for r in done)
    seconds = rate * sum(cost(rung, measured.steps) for rung in absent) * seeds * len(measured.splits) / 1000 / cores()
    said = f"{command(measured, 'everything', seeds)} measures them: about {duration(seconds)} on a machine as fast, "
    return [Paragraph(said + f"with {cores()} cores. What is there is kept.")]


def missing(measured: Measured) -> list[str]:
    """What this group lacks, and what was left out."""
    lacks = []
    if absent := [name for name in RUNGS if name not in measured.by_rung]:
        few = len(absent) <= len(RUNGS) // 2
        lacks.append(f"{len(absent)} rungs not measured" + (f" ({', '.join(absent)})" if few else ""))
    most = max(len(results) for results in measured.by_rung.values())
    if fewer := [name for name, results in measured.by_rung.items() if len(results) < most]:
        what = "seeds" if measured.counted == "seeds" else "runs"
        lacks.append(f"fewer than {most} {what} of {', '.join(fewer)}")
    if most == 1:
        lacks.append("one seed only: no intervals")
    files = {
        "no words.parquet: no intervals over test words": measured.word_losses is not None,
        "no curves.parquet: no learning curves": measured.curves is not None,
        "no baselines.json: no n-gram baselines": bool(measured.baselines),
    }
    lacks += [what for what, there in files.items() if not there]
    return [*lacks, *measured.notes]


def words_section(measured: Measured) -> list[Section]:
    """What the rungs write: the words of each one's first seed."""
    rungs = measured.rungs(*LADDER)
    samples = {rung.title: measured.by_rung[rung.name][0].detail.get("samples", []) for rung in rungs}
    drawn = [
        (title, [(shown(word), OF_A_SPLIT.get(tag) or str(tag)) for word, tag in words])
        for title, words in samples.items()
        if words
    ]
    caption = (
        "Ten words of each rung's first seed, drawn at temperature 1 and not chosen. Training: the word was trained "
        "on. Held out: it is in the list, but was not trained on. New: it is not in the list."
    )
    return [Section("words", "What they write", [Words(caption, drawn)])] if drawn else []


def provenance_section(evidence: Evidence) -> Section:
    blocks: list[Block] = []
    for group in evidence.groups:
        results = [*group.results, *group.variants]
        versions = sorted({f"{name} {v}" for r in results for name, v in r.versions.items()})
        dates = sorted(r.date for r in results)
        blocks.append(
            Facts(
                [
                    ("List", f"{group.data}" + (" (the article's)" if group.articles_list else "")),
                    ("SHA-256", group.data_sha256),
                    ("Protocol", f"{group.protocol.name}: {group.protocol.scored} are scored; {_split(group)}"),
                    ("Seeds", _seeds(group)),
                    ("Results", f"{len(results)}, measured {dates[0][:10]} to {dates[-1][:10]}"),
                    ("Versions", ", ".join(versions)),
                    ("Git revision", ", ".join(sorted({r.git_revision or "unknown" for r in results}))),
                    ("Engine", ", ".join(sorted({r.engine for r in results}))),
                    ("Command", command(group)),
                ]
            )
        )
    for name, peer in evidence.peers.items():
        blocks.append(Facts([(f"Peer {name}", ", ".join(f"{key} {value}" for key, value in peer.items()))]))
    return Section("provenance", "Where the numbers come from", blocks)


def _seeds(group: Measured) -> str:
    """Of each split."""
    runs = {replicate(r) for r in (*group.results, *group.variants)}
    of_split = {split: sorted(seed for of, seed in runs if of == split) for split in sorted({of for of, _ in runs})}
    return "; ".join(f"{', '.join(map(str, seeds))}; split {split}" for split, seeds in of_split.items())


def _split(group: Measured) -> str:
    protocol = group.protocol
    words = "distinct words" if protocol.distinct else "duplicates kept"
    most = f", at most {protocol.max_test_words:,} words" if protocol.max_test_words else ""
    validation = f", {protocol.val_fraction:.0%} for choices" if protocol.val_fraction else ""
    return f"{words}, {protocol.test_fraction:.0%} for test{most}{validation}".replace("%", " %")


def command(group: Measured, rungs: str | None = None, seeds: int | None = None) -> str:
    """A climb that gives these results, from the results themselves; or one of other rungs."""
    left, names = set(group.by_rung), []
    for name in sorted(SELECTIONS, key=lambda name: -len(SELECTIONS[name])):
        of_set = set(SELECTIONS[name])
        if of_set <= set(group.by_rung) and of_set & left:
            names.append(name)
            left -= of_set
    names = [name for name in SELECTIONS if name in names] + [rung for rung in RUNGS if rung in left]
    first = group.splits[0]
    seeds = seeds or max(r.seed - STRIDE * first for r in group.results if r.split_seed == first) + 1
    own = any(RUNGS[name].group == "own" for name in group.by_rung)
    more: list[object] = ["--ladder", LADDER_FILE] if own else []
    more += ["--steps", group.steps] if group.steps is not None else []
    more += ["--splits", len(group.splits)] if len(group.splits) > 1 else []
    more += ["--split-seed", first] if first else []
    tried = {r.rung for r in group.variants}
    grid = {rung.name for rung in tune.variants([RUNGS[name] for name in group.by_rung])}
    more += ["--tune"] * bool(tried & grid)
    names += sorted(tried - grid)
    data = "-" if group.data == "standard input" else group.data
    about = ("--data", data, "--protocol", group.protocol.name, "--rungs", rungs or ",".join(names), "--seeds", seeds)
    for name, value in group.results[0].detail.get("reading", {}).items():
        more += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    return hints.command("climb", *about, *more)

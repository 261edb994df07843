"""Write what the documentation quotes from results/: python -m scripts.write_docs

Blocks between <!-- begin NAME --> and <!-- end NAME --> (in zensical.toml: # begin NAME) are generated, never typed; a
test holds them to this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rungwise.analysis import claims, evidence
from rungwise.analysis.evidence import Measured
from rungwise.analysis.stats import paired, summary
from rungwise.analysis.tables import HEADER, rows, show
from rungwise.bench import summary as bench_summary
from rungwise.experiment import baselines
from rungwise.experiment.results import RESULTS, Result, by_rung, paired_losses, read
from rungwise.ladder import RUNGS, Rung, select
from rungwise.model.cost import n_parameters
from rungwise.report import plots
from rungwise.report.build import RULES, findings_sections, provenance_section, tally
from rungwise.report.document import Figure, Paragraph, Section, markdown
from rungwise.report.figures import ladder_figures
from rungwise.util.files import read_json
from scripts import (
    attention,
    bench_compile,
    bench_families,
    bench_growth,
    bench_pages,
    bench_threads,
    better_words,
    bf16,
    chapters,
    common,
    exportable,
    factorial,
    floors_picture,
    page_losses,
    readme,
    real_lists,
    recipes,
    records,
    round_trips,
    scale_model,
    short_lists,
    tuned_ladder,
    worked_examples,
)
from scripts.common import PERFORMANCE, ROOT

ARTICLE = common.RESULTS / "names-article"


def measured_folders() -> list[Path]:
    """Every committed climb."""
    return sorted(path.parent for path in common.RESULTS.glob("*/results.jsonl"))


def ladder_table(rungs: Sequence[Rung], results: list[Result]) -> str:
    """A row for every rung, as everywhere."""
    columns = dict(zip(HEADER, ("---", "---", "--:", *[":-:"] * 4), strict=True))
    return common.table(columns, (row.cells() for row in rows(rungs, results)))


def findings(paths: Sequence[Path], peers: Path | None = None) -> str:
    """The findings alone, as docs/findings.md holds them."""
    found = evidence.read(paths, peers)
    judged = claims.findings(found)
    intro = Section("top", "Findings", [Paragraph(tally(judged)), Paragraph(RULES, quiet=True)], level=1)
    sections = [intro, *findings_sections(found, judged, rules=False), provenance_section(found)]
    return markdown(sections) + better_words.section()


def about(measured: Measured) -> str:
    """The line under a table that says what its numbers are."""
    return (
        f"\nNats a scored character, protocol {measured.protocol.name}, list {measured.data}; mean "
        f"{readme.mean_over(measured)}; the step is the change in test loss from the rung that it builds on, paired.\n"
    )


def ngrams(folder: Path) -> str:
    """Kneser-Ney models, a row each."""
    losses = baselines.read(folder).items()
    cells = ((f"{n}-gram", f"{loss['train_loss']:.3f}", f"{loss['test_loss']:.3f}") for n, loss in losses)
    return common.table({"interpolated Kneser-Ney": "---", "train": ":-:", "test": ":-:"}, cells)


def readme_blocks(measured: Measured) -> dict[str, str]:
    return {
        "words": readme.words(),
        "ladder": readme.ladder(measured),
        "surprises": readme.surprises(measured),
        "speed": readme.speed(),
        **readme.doors(),
        "library": "```python\n" + (ROOT / "docs/examples/library.py").read_text(encoding="utf-8") + "```\n",
        "picture": "![The ladder's losses with their intervals](docs/ladder.svg)\n",
    }


def results_blocks(measured: Measured) -> dict[str, str]:
    results = measured.results
    return {
        "article": ladder_table(select("article"), results) + about(measured),
        "scaling": ladder_table(select("scaling"), results),
        "beyond": ladder_table(select("beyond"), results),
        "ngrams": ngrams(ARTICLE),
        "tuned": tuned_ladder.table(),
        "factorial": factorial.table(factorial.read()),
    }


def ladder_picture(measured: Measured) -> str:
    """The report's figure of the ladder."""
    return coloured(next(block for block in ladder_figures(measured, {}) if isinstance(block, Figure)).svg)


def growth_picture() -> str:
    """How the cost of a step grows, both engines."""
    measured = read_json(bench_growth.FILE)["ms_a_step"]
    panels = [
        (
            what,
            [plots.Line(engine, [float(x) for x in points], list(points.values())) for engine, points in both.items()],
        )
        for what, both in measured.items()
    ]
    return coloured(sweeps("growth", "How a step's cost grows", "", panels, "ms a step and seed").svg)


def sweeps(
    name: str, title: str, caption: str, panels: Sequence[tuple[str, Sequence[plots.Line]]], ylabel: str
) -> Figure:
    """How one quantity grows with several others, a panel each, both axes logarithmic with the same scale upwards."""
    columns, places = 3, {line.label: i for i, line in enumerate(panels[0][1])}
    rows = -(-(len(panels) + 1) // columns)

    def paint(canvas: plots.Canvas) -> None:
        first = None
        for i, (xlabel, group) in enumerate(panels):
            axes = first = canvas.add_subplot(rows, columns, i + 1, sharey=first)
            for line in group:
                axes.loglog(line.x, line.y, marker="o", markersize=3, color=plots.color(places, line), label=line.label)
            axes.set_xticks(group[0].x, [f"{x:,.0f}" if x < 1e6 else f"{x / 1e6:g}M" for x in group[0].x])
            axes.tick_params(axis="x", labelsize=8)
            axes.minorticks_off()
            axes.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
            axes.set_xlabel(xlabel)
            axes.grid()
            if i % columns == 0:
                axes.set_ylabel(ylabel)
        handles, labels = canvas.axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="lower right", frameon=False)

    ends = "; ".join(
        f"{line.label}, {xlabel} {line.x[0]:,.0f} to {line.x[-1]:,.0f}: {line.y[0]:.2f} to {line.y[-1]:.2f}"
        for xlabel, group in panels
        for line in group
    )
    return plots.figure(name, title, f"{ylabel}. {ends}.", caption, 2 * rows, paint)


def coloured(svg: str) -> str:
    """A figure of a page as a picture of its own, with the report's colours, light and dark, in it."""
    template = (ROOT / "src/rungwise/report/report.html.j2").read_text(encoding="utf-8")
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for name, value in re.findall(r"(--\w+): (#\w+);", template):
        (dark if name in light else light)[name] = value
    rules = [";".join(f"{name}:{value}" for name, value in colours.items()) for colours in (light, dark)]
    style = (
        f"<style>svg{{{rules[0]};background:var(--paper);font-family:system-ui,sans-serif}}"
        f"@media(prefers-color-scheme:dark){{svg{{{rules[1]}}}}}</style>"
    )
    opening, rest = svg.split(">", 1)
    return f"{opening}>{style}{rest}\n"


def speed() -> str:
    """What `rungwise bench` printed of its committed measurement."""
    return f"```text\n{bench_summary.text(read_json(PERFORMANCE / 'bench.json'))}\n```\n"


def browser() -> str:
    """A step in the page beside one of the native engine, as `rungwise bench --browser` measured them."""
    found = read_json(PERFORMANCE / "browser.json")
    columns = {"rung": "---", "parameters": "--:", "native": "--:", "in the page": "--:", "ratio": "--:"}
    rows = [
        (
            RUNGS[name].title,
            f"{n_parameters(RUNGS[name].model):,}",
            *(f"{median(times[where]):.2f} ms" for where in ("native", "page")),
            f"{times['ratio']:.1f}",
        )
        for name, times in found["ms_a_step"].items()
    ]
    machine, rounds = found["machine"]["cpu"], len(next(iter(found["ms_a_step"].values()))["page"])
    size = (ROOT / "src/rungwise/engine/native/engine.wasm").stat().st_size
    return common.table(columns, rows) + (
        f"\nMilliseconds a step by the clock, one seed, one core, {found['steps']} steps on given-names; medians of "
        f"{rounds} rounds; Chromium {found['chromium']}; {machine}. The module has {size:,} bytes.\n"
    )


def reproduced(results: list[Result]) -> str:
    """The dropout rungs, with independent masks as committed and with masks of prefixes, a row each."""
    found = []
    for name, after in by_rung(read(PERFORMANCE / "masks-of-prefixes.jsonl")).items():
        before = by_rung(results)[name]
        losses = [show(summary([r.test_loss for r in some])) for some in (before, after)]
        found.append((RUNGS[name].title, *losses, show(paired(*paired_losses(before, after)), signed=True)))
    columns = ("test, masks of places", "test, masks of prefixes", "difference, paired by seed")
    return common.table({"rung": "---"} | dict.fromkeys(columns, ":-:"), found)


def fill(text: str, generated: dict[str, str]) -> str:
    """The text with every generated block in its place; ValueError where a block has none."""
    for name, block in generated.items():
        pattern = re.compile(rf"((?:<!--|#) begin {name}(?: -->)?\n).*?((?:<!--| *#) end {name})", re.DOTALL)
        text, places = pattern.subn(lambda match, block=block: match[1] + block + match[2], text)
        if not places:
            raise ValueError(f"nothing in the text begins {name!r}")
    return text


def site_pages() -> str:
    """The chapters in the navigation of the site."""
    pages = [("All of them", "index.md"), *((RUNGS[name].title, f"{name}.md") for name in chapters.CHAPTERS)]
    nav = "".join(f'    {{ "{title}" = "rungs/{file}" }},\n' for title, file in pages)
    return f'  {{ "The rungs" = [\n{nav}  ] }},\n'


def documents() -> dict[Path, str]:
    """Every file that is generated, wholly or in blocks, and what it should hold."""
    main = evidence.read(measured_folders()).main
    in_blocks = {
        "README.md": readme_blocks(main),
        "docs/results.md": results_blocks(main),
        "docs/performance.md": {
            "browser": browser(),
            "page-losses": page_losses.table(),
            "bench": speed(),
            "threads": bench_threads.table(),
            "bf16": bf16.table(),
            "compile": bench_compile.table(),
            "families": bench_families.table(),
            "in-browser": bench_pages.table(),
        },
        "docs/lab-notes.md": {
            "lists": real_lists.table(),
            "masks": reproduced(read(ARTICLE / RESULTS)),
            "exportable": exportable.table(),
            "short-lists": short_lists.table(),
        },
        "docs/export.md": {"round-trips": round_trips.round_trips(), "homes": round_trips.homes()},
        "docs/scale.md": scale_model.blocks(),
        **{f"docs/{name}.md": worked_examples.blocks(name) for name in worked_examples.EXAMPLES},
        "zensical.toml": {"rungs": site_pages()},
    }
    whole = {
        "docs/floors.svg": coloured(floors_picture.svg()),
        "docs/ladder.svg": ladder_picture(main),
        "docs/growth.svg": growth_picture(),
        "docs/factorial.svg": coloured(factorial.figure(factorial.read()).svg),
        **{f"docs/{name}.svg": coloured(worked_examples.picture(name)) for name in worked_examples.EXAMPLES},
        "docs/attention.md": attention.page(),
        **{f"docs/{name}.svg": coloured(figure.svg) for name, figure in attention.pictures().items()},
        **{f"docs/{better_words.name(group)}": coloured(figure.svg) for group, figure in better_words.measured()},
        "docs/findings.md": findings(measured_folders(), common.RESULTS / evidence.PEERS),
        "docs/records.md": records.page(),
        "docs/recipes.md": recipes.page(),
        "docs/rungs/index.md": chapters.index(),
    }
    rungs = [RUNGS[name] for name in chapters.CHAPTERS]
    whole |= {f"docs/rungs/{chapters.file_name(rung)}": chapters.chapter(rung) for rung in rungs}
    whole |= {f"docs/rungs/{rung.name}.svg": coloured(chapters.figure(rung).svg) for rung in rungs}
    filled = {path: fill((ROOT / path).read_text(encoding="utf-8"), blocks) for path, blocks in in_blocks.items()}
    return {ROOT / path: text for path, text in (filled | whole).items()}


def main() -> None:
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

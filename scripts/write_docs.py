"""Write what the documentation quotes from results/: python -m scripts.write_docs

Blocks between <!-- begin NAME --> and <!-- end NAME --> (in zensical.toml: # begin NAME) are generated, never typed; a
test holds them to this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rungwise.analysis import evidence
from rungwise.analysis.stats import paired, summary
from rungwise.analysis.tables import markdown, show
from rungwise.bench.summary import tell
from rungwise.config import ModelConfig
from rungwise.experiment import baselines
from rungwise.experiment.results import RESULTS, Result, by_rung, paired_losses, read
from rungwise.ladder import RUNGS, select
from rungwise.model.cost import n_parameters
from rungwise.report import plots
from rungwise.report.build import findings_markdown
from rungwise.report.document import Figure
from rungwise.report.figures import ladder_figures
from scripts import chapters, floors, interop_tables, notebook, scale_tables

ROOT = Path(__file__).parent.parent
ARTICLE = ROOT / "results/names-article"
PEERS = ROOT / "results/peers.json"
PERFORMANCE = ROOT / "results/performance"
"""What `rungwise bench --out` and bench_growth.py measured."""
LISTS = ROOT / "results/lists.json"


def measured_folders() -> list[Path]:
    """Every committed climb."""
    return sorted(path.parent for path in (ROOT / "results").glob("*/results.jsonl"))


def about(results: list[Result]) -> str:
    """Under a table: what its numbers are."""
    seeds = {r.seed for r in results}
    return (
        f"\nNats a scored character, protocol {results[0].protocol}, list {results[0].data}; mean over {len(seeds)} "
        "seeds ± half the 95 % interval; the step is the paired change in test loss against the rung below.\n"
    )


def counted(folder: Path) -> str:
    """Kneser-Ney models, a row each."""
    lines = ["| interpolated Kneser-Ney | train | test |", "|---|:-:|:-:|"]
    for n, losses in baselines.read(folder).items():
        lines.append(f"| {n}-gram | {losses['train_loss']:.3f} | {losses['test_loss']:.3f} |")
    return "\n".join(lines) + "\n"


def blocks(results: list[Result]) -> dict[str, str]:
    return {
        "ladder": markdown(select("article"), results) + about(results),
        "scaling": markdown(select("scaling"), results),
        "beyond": markdown(select("beyond"), results),
        "counted": counted(ARTICLE),
        "library": "```python\n" + (ROOT / "docs/examples/library.py").read_text(encoding="utf-8") + "```\n",
        "picture": "![The ladder's losses with their intervals](docs/ladder.svg)\n",
    }


def ladder_picture() -> str:
    """The report's figure of the ladder."""
    measured = evidence.read([ARTICLE]).main
    return standing(next(block for block in ladder_figures(measured, {}) if isinstance(block, Figure)))


def growth_picture() -> str:
    """How the cost of a step grows, both engines."""
    measured = json.loads((PERFORMANCE / "growth.json").read_text(encoding="utf-8"))["ms_a_step"]
    panels = [
        (
            what,
            [plots.Line(engine, [float(x) for x in points], list(points.values())) for engine, points in both.items()],
        )
        for what, both in measured.items()
    ]
    return standing(plots.sweeps("growth", "How a step's cost grows", "", panels, "ms a step and seed"))


def standing(figure: Figure) -> str:
    """A figure as a picture of its own, with the report's colours, light and dark, in it."""
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
    opening, rest = figure.svg.split(">", 1)
    return f"{opening}>{style}{rest}\n"


def speed() -> str:
    """What `rungwise bench` printed of its committed measurement."""
    path = PERFORMANCE / "bench.json"
    if not path.exists():
        return "Not measured yet.\n"
    return f"```text\n{tell(json.loads(path.read_text(encoding='utf-8')))}\n```\n"


def compiling() -> str:
    """What scripts/bench_compile.py measured, a row a rung and number of seeds."""
    lines = [
        "| rung | seeds | warm-up, cold | warm-up, kept | plain, ms a step and seed | compiled | saved |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for point in json.loads((PERFORMANCE / "compile.json").read_text(encoding="utf-8"))["points"]:
        saved = 1 - point["compiled_ms"] / point["plain_ms"]
        times = f"{point['warm_up_s']:.0f} s | {point['warm_up_again_s']:.0f} s | {point['plain_ms']:.2f}"
        title = RUNGS[point["rung"]].title
        lines.append(f"| {title} | {point['replicas']} | {times} | {point['compiled_ms']:.2f} | {saved:.0%} |")
    return "\n".join(lines) + "\n"


def reproduced(results: list[Result]) -> str:
    """The dropout rungs, with independent masks as committed and with masks of prefixes, a row each."""
    again = by_rung(read(PERFORMANCE / "masks-of-prefixes.jsonl"))
    lines = [
        "| rung | test, masks of places | test, masks of prefixes | difference, paired by seed |",
        "|---|:-:|:-:|:-:|",
    ]
    for name, after in again.items():
        before = by_rung(results)[name]
        change = paired(*paired_losses(before, after))
        shown = [show(summary([r.test_loss for r in some])) for some in (before, after)]
        lines.append(f"| {RUNGS[name].title} | {shown[0]} | {shown[1]} | {show(change, signed=True)} |")
    return "\n".join(lines) + "\n"


def stopped(row: Mapping[str, Any]) -> str:
    planned = row["train"]["steps"]
    return "" if row["steps"] == planned else f" (stopped after {row['steps']:,} of {planned:,} steps)"


def lists_table() -> str:
    """What scripts/real_lists.py measured, a row a list; a loss below the best counted one is bold."""
    head = ("list", "lines", "distinct", "characters", "bigram", "5-gram", "best counted (order)", "transformer")
    lines = ["| " + " | ".join([*head, "parameters", "epochs"]) + " |", "|---|" + "--:|" * 9]
    for name, row in json.loads(LISTS.read_text(encoding="utf-8")).items():
        bold = "**" * (row["test_loss"] < row["kneser_ney_best"])
        cells = (
            name,
            *(f"{row[key]:,}" for key in ("lines", "distinct", "characters")),
            *(f"{row[key]:.3f}" for key in ("bigram", "kneser_ney_5")),
            f"{row['kneser_ney_best']:.3f} ({row['kneser_ney_order']})",
            f"{bold}{row['test_loss']:.3f}{bold}",
            f"{n_parameters(ModelConfig(**row['model'])):,}",
            f"{row['steps'] * row['train']['batch_size'] / (0.8 * row['distinct']):.1f}" + stopped(row),
        )
        lines.append("| " + " | ".join(cells) + " |")
    under = "Test losses, protocol strict, nats a character; the defaults of `rungwise train`, seed 0, n = 1; counted: "
    return "\n".join(lines) + f"\n\n{under}interpolated Kneser-Ney.\n"


def fill(text: str, generated: dict[str, str]) -> str:
    """The text with every generated block in its place."""
    for name, block in generated.items():
        pattern = re.compile(rf"((?:<!--|#) begin {name}(?: -->)?\n).*?((?:<!--| *#) end {name})", re.DOTALL)
        text = pattern.sub(lambda found, block=block: found[1] + block + found[2], text)
    return text


def documents() -> dict[Path, str]:
    """Every file that is generated, wholly or in blocks, and what it should hold."""
    results = read(ARTICLE / RESULTS)
    readme = ROOT / "README.md"
    found = {readme: fill(readme.read_text(encoding="utf-8"), blocks(results))}
    found[ROOT / "docs/ladder.svg"] = ladder_picture()
    found[ROOT / "docs/growth.svg"] = growth_picture()
    found[ROOT / "docs/findings.md"] = findings_markdown(measured_folders(), PEERS if PEERS.exists() else None)
    found[ROOT / "notebooks/step_by_step.ipynb"] = notebook.notebook()
    architecture = ROOT / "docs/architecture.md"
    found[architecture] = fill(architecture.read_text(encoding="utf-8"), {"floors": floors.picture()})
    performance = ROOT / "docs/performance.md"
    found[performance] = fill(performance.read_text(encoding="utf-8"), {"bench": speed(), "compile": compiling()})
    log = ROOT / "docs/log.md"
    found[log] = fill(log.read_text(encoding="utf-8"), {"lists": lists_table(), "masks": reproduced(results)})
    interop = ROOT / "docs/interop.md"
    tables = {"round-trips": interop_tables.round_trips(), "homes": interop_tables.homes()}
    found[interop] = fill(interop.read_text(encoding="utf-8"), tables)
    scale = ROOT / "docs/scale.md"
    found[scale] = fill(scale.read_text(encoding="utf-8"), scale_tables.blocks())
    links = []
    for name in chapters.CHAPTERS:
        rung = RUNGS[name]
        found[ROOT / "docs/rungs" / chapters.file_name(rung)] = chapters.chapter(rung, results)
        links.append(f"1. [{rung.title}]({chapters.file_name(rung)}): {rung.why}")
    pages = [("All of them", "index.md"), *((RUNGS[name].title, f"{name}.md") for name in chapters.CHAPTERS)]
    nav = "".join(f'    {{ "{title}" = "rungs/{file}" }},\n' for title, file in pages)
    site = ROOT / "zensical.toml"
    found[site] = fill(site.read_text(encoding="utf-8"), {"rungs": f'  {{ "The rungs" = [\n{nav}  ] }},\n'})
    head = "# The rungs\n\nA chapter each, generated from the ladder, the source and the committed results.\n\n"
    found[ROOT / "docs/rungs/index.md"] = head + "\n".join(links) + "\n"
    return found


def main() -> None:
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

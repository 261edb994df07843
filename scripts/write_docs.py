"""Write what the documentation quotes from results/: python scripts/write_docs.py

Blocks between <!-- begin NAME --> and <!-- end NAME --> (in zensical.toml: # begin NAME) are generated, never typed; a
test holds them to this.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import chapters
import interop_tables
import notebook
import scale_tables

from rungwise.lab import baselines, evidence
from rungwise.lab.document import Figure
from rungwise.lab.drawings import ladder_figures
from rungwise.lab.ladder import RUNGS, select
from rungwise.lab.report import findings_markdown
from rungwise.lab.results import RESULTS, Result, read
from rungwise.lab.tables import markdown

ROOT = Path(__file__).parent.parent
ARTICLE = ROOT / "results/names-article"
PEERS = ROOT / "results/peers.json"
SPEED = ROOT / "results/peers-speed.json"


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


def picture() -> str:
    """The report's figure of the ladder as a picture of its own, with the report's colours, light and dark, in it."""
    measured = evidence.read([ARTICLE]).main
    figure = next(block for block in ladder_figures(measured, {}) if isinstance(block, Figure))
    template = (ROOT / "src/rungwise/data/report.html.j2").read_text(encoding="utf-8")
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


def peers_table() -> str:
    """Medians of scripts/bench_peers.py, a row each, and our ratio to makemore."""
    if not SPEED.exists():
        return "Not measured yet.\n"
    measured = json.loads(SPEED.read_text(encoding="utf-8"))
    medians: dict[str, float] = measured["medians"]
    lines = ["| what | makemore | rungwise | ratio |", "|---|--:|--:|--:|"]
    for what, ours in medians.items():
        if not what.startswith("rungwise, "):
            continue
        told = what.removeprefix("rungwise, ")
        names = told == "names a second"
        peer = told if names else told.split(" parameters")[0] + " parameters, ms a step"
        theirs = medians[f"makemore, {peer}"]
        ratio = ours / theirs if names else theirs / ours
        shown = [f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in (theirs, ours)]
        lines.append(f"| {told.replace('1 seeds', '1 seed')} | {shown[0]} | {shown[1]} | {ratio:.1f}x |")
    return "\n".join(lines) + f"\n\nMedians of {measured['rounds']} interleaved rounds on two cores.\n"


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
    found[ROOT / "docs/ladder.svg"] = picture()
    found[ROOT / "docs/findings.md"] = findings_markdown(measured_folders(), PEERS if PEERS.exists() else None)
    found[ROOT / "notebooks/step_by_step.ipynb"] = notebook.notebook()
    performance = ROOT / "docs/performance.md"
    found[performance] = fill(performance.read_text(encoding="utf-8"), {"peers": peers_table()})
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

"""Does a lower loss mean better words? What docs/findings.md says of it, and its pictures, from the climbs kept in
results/."""

from __future__ import annotations

from rungwise.analysis import evidence
from rungwise.analysis.evidence import Measured
from rungwise.experiment.results import RESULTS
from rungwise.report.document import Figure, Section, Table, markdown
from rungwise.report.figures import loss_and_words
from rungwise.report.sections import word_table
from scripts import common


def measured() -> list[tuple[Measured, Figure]]:
    """Each protocol on the article's list that has such results, and its figure."""
    folders = sorted(path.parent for path in common.RESULTS.glob(f"*/{RESULTS}"))
    groups = [group for group in evidence.read(folders).groups if group.articles_list]
    return [(g, block) for g in groups for block in loss_and_words(g) if isinstance(block, Figure)]


def name(group: Measured) -> str:
    return f"words-{group.protocol.name}.svg"


def section() -> str:
    """The end of docs/findings.md."""
    parts = ["## Does a lower loss mean better words?\n"]
    for group, figure in measured():
        tables = Section("", "", [block for block in word_table(group) if isinstance(block, Table)])
        below = markdown([tables]).split("\n", 2)[2].lstrip() if tables.blocks else ""
        parts += [f"Protocol {group.protocol.name}. {figure.caption}\n", f"![{figure.title}]({name(group)})\n", below]
    return "\n" + "\n".join(parts)

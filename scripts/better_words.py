"""Does a lower loss mean better words? What docs/findings.md says of it, and its pictures.

Run: python -m scripts.better_words CLIMB ... Takes from climbs' results what each run's words are like (nothing is
trained) into results/words.jsonl. As soon as the climbs in results/ themselves have it, these are shown instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rungwise.analysis import evidence
from rungwise.analysis.evidence import Measured
from rungwise.experiment.results import RESULTS
from rungwise.report.document import Figure, Section, Table, markdown
from rungwise.report.figures import loss_and_words
from rungwise.report.sections import word_table
from rungwise.util.files import read_lines, write_lines
from scripts import common

FILE = common.RESULTS / "words.jsonl"


def measured() -> list[tuple[Measured, Figure]]:
    """Each protocol on the article's list that has such results, and its figure."""
    folders = sorted(path.parent for path in common.RESULTS.glob(f"*/{RESULTS}"))
    for paths in (folders, [FILE]):
        groups = [group for group in evidence.read(paths).groups if group.articles_list]
        if found := [(g, block) for g in groups for block in loss_and_words(g) if isinstance(block, Figure)]:
            return found
    return []


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("climbs", type=Path, nargs="+")
    lines = [line for climb in parser.parse_args().climbs for line in read_lines(climb / RESULTS)]
    write_lines(FILE, [{**line, "detail": {"words": line["detail"]["words"]}} for line in lines])


if __name__ == "__main__":
    main()

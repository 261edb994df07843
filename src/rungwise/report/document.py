"""A report as sections of paragraphs, tables, figures and lists, and these as Markdown and as HTML. No torch here.

Everything is plain text until a renderer escapes it: word lists may hold any character, markup too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from rungwise.analysis.claims import Finding, JudgedPart
from rungwise.analysis.verdicts import SYMBOLS
from rungwise.util.hashing import policy_hash


@dataclass(frozen=True)
class Paragraph:
    text: str
    quiet: bool = False
    """A note, set smaller."""


@dataclass(frozen=True)
class Table:
    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text_columns: int = 1
    """Columns from the left that hold text; the others hold numbers and are set flush right."""
    quiet_rows: int = 0
    """Rows at the end that are for comparison (baselines, peers)."""
    short: bool = False
    """Fits a phone; its last column holds text."""


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    description: str
    """What one would say of it to somebody who cannot see it."""
    caption: str
    svg: str
    narrow: str
    """The same, drawn again for a phone."""
    data: str
    """Its numbers as CSV."""


@dataclass(frozen=True)
class Words:
    """Generated words by rung, each with its tag."""

    caption: str
    rungs: list[tuple[str, list[tuple[str, str]]]]


@dataclass(frozen=True)
class Verdicts:
    findings: list[Finding]
    judged: bool = True
    """False: shown without verdicts, as questions."""
    quoted: bool = True
    """Is the claim's own text shown?"""


@dataclass(frozen=True)
class Strip:
    """The verdicts at a glance, and in words."""

    findings: list[Finding]
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, as a description list."""

    facts: list[tuple[str, str]]


Block = Paragraph | Table | Figure | Words | Verdicts | Strip | Facts


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    level: int = 2
    """1: the page's beginning. 2: a fold of the page."""


def missing_all(finding: Finding) -> str | None:
    """The one thing that all parts of a finding lack, if it is the same."""
    sentences = {judged.sentence for judged in finding.parts}
    return sentences.pop() if len(sentences) == 1 and next(iter(sentences)).startswith("needs ") else None


def answered(finding: Finding) -> str:
    """Each question apart, where there is more than one: "Direction: confirmed. Reported size: understated." """
    if len(finding.answers) < 2 and not finding.hangs:
        return ""
    said = [f"{asks.capitalize()}: {word}." for asks, word in finding.answers.items()]
    if finding.hangs:
        settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in finding.hangs)
        said.append(f"The contrary at {settings}, which the article does not publish.")
    return " ".join(said)


def shown(text: str) -> str:
    """One line without control characters, whatever a list holds."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = re.sub(r"([\\`*\[\]|<])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match[0], shown(text))
    return re.sub(r"&(?=[#\w])", "&amp;", text)


def markdown(sections: Sequence[Section]) -> str:
    lines: list[str] = []
    for section in sections:
        lines += ["#" * section.level + " " + escaped(section.title), ""]
        for block in section.blocks:
            lines += [*_markdown_block(block, section.level), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _markdown_block(block: Block, level: int) -> list[str]:
    match block:
        case Paragraph() | Strip():
            return [escaped(block.text)]
        case Table():
            return _markdown_table(block)
        case Figure():
            return [f"*Figure: {escaped(block.title)}.* {escaped(block.description)} (Drawn in report.html.)"]
        case Words():
            drawn = [
                f"- {escaped(title)}: " + ", ".join(f"{escaped(word)} ({tag})" for word, tag in words)
                for title, words in block.rungs
            ]
            return [escaped(block.caption), "", *drawn]
        case Facts():
            return [f"- {escaped(name)}: {escaped(value)}" for name, value in block.facts]
        case Verdicts():
            return _markdown_findings(block, level)


def _markdown_table(table: Table) -> list[str]:
    align = ["---" if i < table.text_columns else "--:" for i in range(len(table.header))]
    cells = [[escaped(cell) for cell in row] for row in (table.header, *table.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [f"*{escaped(table.caption)}*", "", lines[0], "|" + "|".join(align) + "|", *lines[1:]]


def asked(judged: JudgedPart) -> str:
    """The range that was allowed; of what was not measured, nothing."""
    return f" (asked: {escaped(judged.asked)})" * bool(judged.asked)


def _markdown_findings(block: Verdicts, level: int) -> list[str]:
    lines = []
    for number, finding in enumerate(block.findings, 1):
        lead = f"{number}. {finding.claim.title}: {SYMBOLS[finding.verdict]} {finding.verdict}"
        lines += ["#" * (level + 1) + " " + escaped(lead if block.judged else finding.claim.title), ""]
        if block.quoted:
            lines += [("> " if block.judged else "") + escaped(finding.claim.text), ""]
        if needs := missing_all(finding):
            lines += [escaped(needs[0].upper() + needs[1:]), ""]
            continue
        if block.judged and (said := answered(finding)):
            lines += [escaped(said), ""]
        for judged in finding.parts:
            line = f"- {escaped(judged.part.text)}{':' if block.quoted else '?'} {escaped(judged.sentence)}"
            if block.judged and judged.verdict:
                line += f" **{SYMBOLS[judged.verdict]} {judged.verdict}**" + asked(judged)
            lines.append(line)
        lines.append("")
    return lines


def html(sections: Sequence[Section]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rungwise.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = typeset
    environment.globals.update(
        symbols=SYMBOLS, missing_all=missing_all, answered=answered, kind=lambda block: type(block).__name__
    )
    script = resources.files("rungwise.report").joinpath("report.js").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2")
    return page.render(title=sections[0].title, sections=sections, script=script, policy=policy_hash(script)) + "\n"


def typeset(text: str) -> str:
    """Text for the page: one line, where a number keeps its per cent sign and its exponent."""
    return re.sub(r"(?<=\de)-(?=\d)", "\N{NON-BREAKING HYPHEN}", shown(text)).replace(" %", "\N{NO-BREAK SPACE}%")

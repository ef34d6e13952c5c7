"""How does the description of a dataset read as text, and which card lies in the folder of a built dataset?"""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from melspec_gpt.datasets_scripts.description_sections import (
    Section,
    Table,
    headline,
    mel_sections,
    token_sections,
)

CARD_FILE = "README.md"
MEL_TITLE = "Mel dataset"
TOKEN_TITLE = "Token dataset"
MEL_COLUMNS = (
    "Columns: `id`, `label` (the class) and `mel` (float16, mel bands x frames, the lowest band first, 100 dB from 0 "
    "to 1). `preprocessor_config.json` is the feature extractor that made it, `build_report.json` the full report."
)
TOKEN_COLUMNS = (
    "Columns: `id`, `label` (the class) and `codes` (time-major: the frequency codes of the first time step, lowest "
    "band first, then those of the next). `preprocessor_config.json` is the feature extractor of the mels, "
    "`build_report.json` the full report."
)
USE = '```python\nfrom datasets import load_from_disk\n\ndataset = load_from_disk("this folder")\n```'


def is_token_report(report: Mapping[str, Any]) -> bool:
    """Whether a report describes codes rather than mels."""
    return "rows" in report


def sections_of(report: Mapping[str, Any]) -> list[Section]:
    """The description of a dataset of either kind, from its completed report."""
    return token_sections(report) if is_token_report(report) else mel_sections(report)


def title_of(report: Mapping[str, Any]) -> str:
    """The heading of a description."""
    return TOKEN_TITLE if is_token_report(report) else MEL_TITLE


def write_dataset_card(folder: Path, report: Mapping[str, Any]) -> None:
    """
    Writes the card of a dataset, README.md. It is a function of the report: the same build gives the same bytes,
    wherever it lies.

    Args:
        folder (`Path`): the dataset.
        report (`Mapping[str, Any]`): with what [`sum_up_clips`] or [`sum_up_codes`] adds.
    """
    parts = [
        f"# {title_of(report)}",
        headline(report),
        TOKEN_COLUMNS if is_token_report(report) else MEL_COLUMNS,
        USE,
        render_text(sections_of(report), _markdown),
    ]
    (folder / CARD_FILE).write_text("\n\n".join(parts) + "\n", encoding="utf-8", errors="backslashreplace")


def printable(text: str) -> str:
    """`text` on one line, without characters that move the cursor or hide others."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def render_text(sections: Sequence[Section], escape: Callable[[str], str] = printable) -> str:
    """
    Sections as Markdown, the tables aligned so that they can be read as they are.

    Args:
        sections (`Sequence[Section]`): what to show.
        escape (`Callable[[str], str]`): makes a name safe to show; by default what a terminal needs.
    """
    return "\n\n".join(_render_section(section, escape) for section in sections)


def _markdown(text: str) -> str:
    """`text` without any meaning to Markdown or HTML."""
    text = html.escape(printable(text), quote=False)
    return "".join(f"\\{character}" if character in "\\`*_[]|" else character for character in text)


def _render_section(section: Section, escape: Callable[[str], str]) -> str:
    parts = [f"## {section.title}", *section.lines]
    if section.table is not None:
        parts.append(_render_table(section.table, escape))
    if section.entries:
        parts.append("\n".join(f"- {escape(entry)}" for entry in section.entries))
    return "\n\n".join(parts)


def _render_table(table: Table, escape: Callable[[str], str]) -> str:
    rows = [[escape(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < table.num_names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    ends = ["-" if column < table.num_names else ":" for column in range(len(widths))]
    rule = " | ".join("-" * (width - 1) + end for width, end in zip(widths, ends, strict=True))
    return "\n".join([lines[0], f"| {rule} |", *lines[1:]])

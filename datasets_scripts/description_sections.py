"""What is told about a dataset, in sentences and tables, whatever they are shown as?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from melspec_gpt.datasets_scripts.description_levels import SILENCE_LEVEL

ENTRIES_SHOWN = 20
CODES_PER_ROW = 16
NOTHING = "-"
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Table:
    """
    A table.

    Args:
        header (`tuple[str, ...]`): names of the columns.
        rows (`list[tuple[str, ...]]`): the cells, as text.
        num_names (`int`): how many columns at the left hold names; numbers follow.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    num_names: int = 1


@dataclass(frozen=True)
class Section:
    """
    A part of a description.

    Args:
        title (`str`): its heading.
        lines (`list[str]`): paragraphs.
        table (`Table`, *optional*): below them.
        entries (`tuple[str, ...]`): a list below that.
    """

    title: str
    lines: list[str]
    table: Table | None = None
    entries: tuple[str, ...] = ()


def headline(report: Mapping[str, Any]) -> str:
    """One sentence with the size of a dataset, from its completed report."""
    if "rows" in report:
        per_class, counts = report["rows_per_class"], report["rows"]
        size = f"{sum(counts.values())} rows of {report['num_codes']} codes, each for {report['clip_seconds']:g} s"
        if report.get("num_views", 1) > 1:
            size += f" (every training clip in {report['num_views']} views)"
    else:
        per_class, counts = report["clips_per_class"], report["clips"]
        duration = _duration(sum(counts.values()) * report["clip_seconds"])
        size = f"{sum(counts.values())} clips, each of {report['clip_seconds']:g} s, {duration} in all"
    splits = ", ".join(f"{count} {split}" for split, count in counts.items())
    return f"{size}: {splits}. {len(per_class)} classes."


def mel_sections(report: Mapping[str, Any]) -> list[Section]:
    """The description of a mel dataset, from its completed report."""
    return [_classes_with_levels(report), *_silent_clips(report), _near_duplicates(report), *_reading(report)]


def token_sections(report: Mapping[str, Any]) -> list[Section]:
    """The description of a token dataset, from its completed report."""
    splits = list(report["rows"])
    rows = [(name, *(str(numbers[split]) for split in splits)) for name, numbers in report["rows_per_class"].items()]
    usage = [
        (
            split,
            str(report["rows"][split]),
            f"{report['different_codes'][split]} of {report['codebook_size']}",
            f"{report['perplexity'][split]:.1f}",
        )
        for split in splits
    ]
    histogram_split = next(iter(report["code_counts"]))
    return [
        Section("Classes", [], Table(("class", *splits), rows)),
        Section(
            "Codes",
            [
                "The perplexity is the number of codes that would be as hard to guess if all were equally frequent.",
            ],
            Table(("split", "rows", "different codes", "perplexity"), usage),
        ),
        Section(
            "Code histogram",
            [f"How often each code occurs in the split {histogram_split}, in thousandths."],
            _histogram(report["code_counts"][histogram_split]),
        ),
    ]


def _classes_with_levels(report: Mapping[str, Any]) -> Section:
    splits = list(report["clips"])
    header = ("class", *splits, "duration", "level", "from", "to", "silence", "silent clips")
    rows = []
    for name, numbers in report["clips_per_class"].items():
        counts = [numbers[split] for split in splits]
        seconds = sum(counts) * report["clip_seconds"]
        rows.append((name, *map(str, counts), _duration(seconds), *_levels(report["facts_per_class"][name])))
    counts = list(report["clips"].values())
    rows.append(("all", *map(str, counts), _duration(sum(counts) * report["clip_seconds"]), *_levels(report["facts"])))
    lines = [
        "Level: mean, lowest and highest level of a clip, dBFS (root mean square, estimated from the mel bands). "
        f"Silence: share of the frames below {SILENCE_LEVEL:g} dBFS; a silent clip has no other frames."
    ]
    return Section("Classes", lines, Table(header, rows))


def _levels(facts: Mapping[str, Any]) -> tuple[str, ...]:
    level = facts["level"]
    values = (NOTHING,) * 3 if level is None else tuple(f"{level[name]:.1f}" for name in ("mean", "min", "max"))
    return (*values, f"{facts['silent_share']:.1%}", str(facts["silent_clips"]))


def _silent_clips(report: Mapping[str, Any]) -> list[Section]:
    names = report["silent_clips"]
    if not names:
        return []
    return [
        Section(
            "Silent clips",
            [f"Clips without any sound, which teach a model nothing: {len(names)}."],
            None,
            _first(names),
        )
    ]


def _near_duplicates(report: Mapping[str, Any]) -> Section:
    groups = report["near_duplicates"]
    if not groups:
        return Section("Near-duplicates", ["No two clips sound the same."])
    across = sum(len(group) > 1 for group in groups)
    lines = [f"Groups of clips that sound the same: {len(groups)}, of which {across} lie in more than one split."]
    if across:
        lines.append("Those let a model be tested on what it was trained on: keep the clips of one split.")
    shown = ("; ".join(f"{split}: {', '.join(_first(clips))}" for split, clips in group.items()) for group in groups)
    return Section("Near-duplicates", lines, None, _first(list(shown)))


def _reading(report: Mapping[str, Any]) -> list[Section]:
    sections = []
    warnings, left_out, missing = (report.get(name, []) for name in ("warnings", "left_out", "missing"))
    if warnings:
        sections.append(Section("Warnings", [], None, _first(warnings)))
    if left_out:
        entries = [f"{entry['file']}: {entry['reason']}" for entry in left_out]
        sections.append(
            Section("Files left out", [f"Files that are not in the dataset: {len(left_out)}."], None, _first(entries))
        )
    if missing:
        lines = [f"Clips that the source lists and that were not among its files: {len(missing)}."]
        sections.append(Section("Missing clips", lines, None, _first(missing)))
    return sections


def _histogram(counts: Sequence[int]) -> Table:
    total = max(sum(counts), 1)
    rows = []
    for first in range(0, len(counts), CODES_PER_ROW):
        cells = [f"{1000 * count / total:.1f}" for count in counts[first : first + CODES_PER_ROW]]
        cells += [""] * (CODES_PER_ROW - len(cells))
        rows.append((f"{first}", *cells))
    return Table(("code", *(f"+{place}" for place in range(CODES_PER_ROW))), rows)


def _first(entries: Iterable[str]) -> tuple[str, ...]:
    """The first entries, and how many more there are."""
    entries = list(entries)
    more = len(entries) - ENTRIES_SHOWN
    return (*entries[:ENTRIES_SHOWN], *([f"and {more} more, see build_report.json"] if more > 0 else []))


def _duration(seconds: float) -> str:
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    if seconds < SECONDS_PER_HOUR:
        return f"{seconds / SECONDS_PER_MINUTE:.1f} min"
    return f"{seconds / SECONDS_PER_HOUR:.1f} h"

"""What came of each test of each class, and does the table of exceptions in README.md tell the same?"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("README.md")
MAXIMUM_SKIPPED = 0.15
OUR_FILES = "conformance_"

# The kinds of exceptions. The first two are skips of the library itself: what a test asks for is not there.
MACHINE, PART, CHOICE, CHANGED = "machine", "part", "choice", "changed"


@dataclass(frozen=True)
class Row:
    """One row of the table: which tests of which classes, what kind of exception, and why."""

    tests: tuple[str, ...]
    classes: tuple[str, ...]
    kind: str
    reason: str

    def needed_patterns(self, class_name: str, test: str) -> set[str]:
        """The patterns that cover this test of this class; empty if the row does not."""
        classes = {pattern for pattern in self.classes if fnmatchcase(class_name, pattern)}
        tests = {pattern for pattern in self.tests if fnmatchcase(test, pattern)}
        return classes | tests if classes and tests else set()


def read_table(path: Path = TABLE) -> list[Row]:
    """The rows `| tests | classes | kind | reason |` of the Markdown file at `path`."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[2] in (MACHINE, PART, CHOICE, CHANGED):
            tests, classes = (tuple(re.findall(r"`([^`]+)`", cell)) for cell in cells[:2])
            if not tests or not classes or not cells[3]:
                raise ValueError(f"The row {line!r} of {path} names no tests, no classes or no reason.")
            rows.append(Row(tests, classes, cells[2], cells[3]))
    return rows


class Outcomes:
    """
    Pytest plugin that counts the outcomes of each class and holds them against the table: an exception that is not
    in the table is a problem, and so is a row that nothing needs any more.
    """

    def __init__(self, table: list[Row]):
        self.table = table
        self.results: dict[tuple[str, str], str] = {}
        self.changed: set[tuple[str, str]] = set()
        self.problems: list[str] = []
        self.unneeded = {(row, pattern) for row in table for pattern in row.tests + row.classes}

    def pytest_collection_modifyitems(self, items):
        for item in items:
            key = _key(item.nodeid)
            # Elsewhere these tests may run.
            self._find_row(MACHINE, key)
            if _is_changed(item):
                self.changed.add(key)
                if self._find_row(CHANGED, key) is None:
                    self.problems.append(f"{'.'.join(key)} is changed, and no row of the table says why.")
            row = self._find_row(CHOICE, key)
            if row is not None:
                # It is run all the same: one that passes has no business in the table.
                item.add_marker(pytest.mark.xfail(reason=row.reason, strict=True))

    def pytest_runtest_logreport(self, report):
        key = _key(report.nodeid)
        if report.failed:
            self.results[key] = "failed"
        elif report.skipped and self.results.get(key) != "failed":
            self.results[key] = CHOICE if hasattr(report, "wasxfail") else self._kind_of_skip(key, report.longrepr[2])
        elif report.when == "call":
            self.results.setdefault(key, "passed")

    def _kind_of_skip(self, key: tuple[str, str], message: str) -> str:
        for kind in (MACHINE, PART):
            if self._find_row(kind, key) is not None:
                return kind
        self.problems.append(f"{'.'.join(key)} is skipped, and no row of the table says why. {message}")
        return "failed"

    def _find_row(self, kind: str, key: tuple[str, str]) -> Row | None:
        """The row that covers this exception, which shows that it is needed."""
        for row in self.table:
            patterns = row.needed_patterns(*key) if row.kind == kind else None
            if patterns:
                self.unneeded -= {(row, pattern) for pattern in patterns}
                return row
        return None

    def counts(self) -> dict[str, Counter]:
        """Number of tests of each class by outcome."""
        counts = defaultdict(Counter)
        for (class_name, _), result in self.results.items():
            counts[class_name][result] += 1
        for class_name, _ in self.changed:
            counts[class_name][CHANGED] += 1
        return counts

    def problems_found(self, is_whole_run: bool) -> list[str]:
        """Everything that is wrong after the run; only a run of all classes shows which rows nothing needs."""
        problems = list(self.problems)
        if is_whole_run:
            for row, pattern in sorted(self.unneeded, key=str):
                problems.append(f"`{pattern}` in the row {row.tests} ({row.kind}) of the table: nothing needs it.")
        for class_name, count in self.counts().items():
            if count["failed"]:
                problems.append(f"{class_name}: {count['failed']} failed.")
            if _skipped_share(count) > MAXIMUM_SKIPPED:
                problems.append(f"{class_name}: {_skipped_share(count):.0%} skipped, above {MAXIMUM_SKIPPED:.0%}.")
        return problems

    def report(self) -> str:
        """The numbers of each class as a table."""
        header = f"{'class':22}{'tests':>7}{'passed':>8}{'failed':>8}{'skipped':>9}{'share':>7}"
        header += f"{'no part':>9}{'no machine':>12}{'changed':>9}"
        lines = [header, "-" * len(header)]
        for class_name, count in sorted(self.counts().items()):
            tests = sum(count[name] for name in ("passed", "failed", CHOICE, PART, MACHINE))
            line = f"{class_name:22}{tests:7}{count['passed']:8}{count['failed']:8}{count[CHOICE]:9}"
            line += f"{_skipped_share(count):7.0%}{count[PART]:9}{count[MACHINE]:12}{count[CHANGED]:9}"
            lines.append(line)
        return "\n".join(lines)


def _skipped_share(count: Counter) -> float:
    """Share of skipped tests among those that apply to the class and can run on this machine."""
    applicable = count["passed"] + count["failed"] + count[CHOICE]
    return count[CHOICE] / applicable if applicable else 0.0


def _key(nodeid: str) -> tuple[str, str]:
    """Name of our class, and of the test, of a node id `file.py::MelVQModelTest::test_training`."""
    _, class_name, test = nodeid.split("::")
    return class_name.removesuffix("Test"), test


def _is_changed(item) -> bool:
    """Whether a test of the library is overridden in one of our files."""
    name = item.originalname
    theirs = [base for base in item.cls.__mro__ if not base.__module__.startswith(OUR_FILES)]
    return getattr(item.cls, name).__module__.startswith(OUR_FILES) and any(hasattr(base, name) for base in theirs)

"""Do our classes pass Transformers' own common tests? Run by `make conformance`."""

import os
import sys
from pathlib import Path

import pytest
from library_source import SourceError, common_tests
from outcomes import Outcomes, read_table

FOLDER = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Runs every class, or only the files given, and returns the exit code."""
    try:
        common_tests()
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    # What the library calls slow is quick with tiny models.
    os.environ.setdefault("RUN_SLOW", "1")
    files = arguments or [str(path) for path in sorted(FOLDER.glob("conformance_*.py"))]
    outcomes = Outcomes(read_table())
    options = ["--quiet", "--no-header", "--disable-warnings", "--tb=short", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *files], plugins=[outcomes])
    problems = outcomes.problems_found(is_whole_run=not arguments)
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        problems.append(f"The run ended early, with the status {pytest.ExitCode(status).name} of pytest.")
    print(outcomes.report(), *problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

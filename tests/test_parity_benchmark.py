"""Does the benchmark of parity still run and find no difference?"""

import runpy
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent.parent / "benchmarks" / "parity.py"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the benchmark and returns the page that it writes, if it does."""

    def run_program(*arguments: str) -> str | None:
        output = tmp_path / "parity.md"
        monkeypatch.setattr(sys, "argv", ["parity.py", "--output", str(output), *arguments])
        runpy.run_path(str(PROGRAM), run_name="__main__")
        return output.read_text() if output.exists() else None

    return run_program


def test_rows_of_a_part_are_within_their_tolerances(shared_data, run):
    page = run("--parts", "specvqgan")
    rows = [line for line in page.splitlines() if line.startswith("| specvqgan")]
    assert len(rows) == 6
    assert all(row.endswith("| yes |") for row in rows)


def test_without_data_it_says_so_and_writes_nothing(run, tmp_path, capsys):
    assert run("--golden_dir", str(tmp_path / "nothing")) is None
    assert "Skipped" in capsys.readouterr().out

"""Does the conformance run notice what its table of exceptions does not say, and unpack nothing but tests?"""

import importlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).resolve().parent / "conformance"
TABLE = """
Some text with a table:

| tests | classes | kind | reason |
|---|---|---|---|
| `test_gpu_*`, `test_cluster` | `*` | machine | needs a GPU |
| `test_images` | `ModelA`, `ModelB` | part | sees nothing |
| `test_resize` | `ModelA` | choice | has one size |
"""


@pytest.fixture
def outcomes_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("outcomes")


@pytest.fixture
def source_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("library_source")


@pytest.fixture
def outcomes(outcomes_module, tmp_path):
    (tmp_path / "README.md").write_text(TABLE)
    return outcomes_module.Outcomes(outcomes_module.read_table(tmp_path / "README.md"))


def report(test: str, outcome: str, class_name: str = "ModelA", **more) -> SimpleNamespace:
    flags = {"passed": outcome == "passed", "failed": outcome == "failed", "skipped": outcome == "skipped"}
    nodeid = f"conformance_model.py::{class_name}Test::{test}"
    return SimpleNamespace(nodeid=nodeid, when="call", longrepr=("file", 1, "Skipped: no reason"), **flags, **more)


def run_all(outcomes, *reports):
    for one in reports:
        outcomes.pytest_runtest_logreport(one)


def test_the_table_is_read(outcomes):
    assert [row.kind for row in outcomes.table] == ["machine", "part", "choice"]
    assert outcomes.table[0].tests == ("test_gpu_*", "test_cluster")
    assert outcomes.table[1].classes == ("ModelA", "ModelB")
    assert outcomes.table[2].reason == "has one size"


def test_a_row_without_a_reason_is_an_error(outcomes_module, tmp_path):
    (tmp_path / "README.md").write_text("| `test_any` | `*` | part |  |\n")
    with pytest.raises(ValueError, match="no reason"):
        outcomes_module.read_table(tmp_path / "README.md")


def test_each_outcome_is_counted_for_its_class(outcomes):
    run_all(
        outcomes,
        report("test_save", "passed"),
        report("test_load", "failed"),
        report("test_gpu_speed", "skipped"),
        report("test_images", "skipped"),
        report("test_resize", "skipped", wasxfail="has one size"),
        report("test_save", "passed", class_name="ModelB"),
    )
    assert outcomes.counts() == {
        "ModelA": {"passed": 1, "failed": 1, "machine": 1, "part": 1, "choice": 1},
        "ModelB": {"passed": 1},
    }


def test_a_failed_part_fails_the_test(outcomes):
    run_all(outcomes, report("test_save", "failed"), report("test_save", "skipped"), report("test_save", "passed"))
    assert outcomes.counts() == {"ModelA": {"failed": 1}}


def test_a_skip_that_the_table_does_not_know_is_a_failure(outcomes):
    run_all(outcomes, report("test_save", "skipped"))
    assert any("ModelA.test_save" in problem for problem in outcomes.problems_found(is_whole_run=False))
    assert outcomes.counts()["ModelA"]["failed"] == 1


def test_a_row_is_for_its_classes_only(outcomes):
    run_all(outcomes, report("test_images", "skipped", class_name="ModelC"))
    assert outcomes.problems_found(is_whole_run=False)


def test_a_row_that_nothing_needs_is_a_problem_of_a_whole_run(outcomes):
    run_all(outcomes, report("test_gpu_speed", "skipped"), report("test_images", "skipped"))
    problems = "\n".join(outcomes.problems_found(is_whole_run=True))
    assert "`test_cluster`" in problems
    assert "`ModelB`" in problems
    assert "`test_gpu_*`" not in problems
    assert outcomes.problems_found(is_whole_run=False) == []


def test_too_many_decisions_to_skip_are_a_problem(outcomes):
    run_all(outcomes, *(report(f"test_{index}", "passed") for index in range(5)))
    assert outcomes.problems_found(is_whole_run=False) == []
    run_all(outcomes, report("test_resize", "skipped", wasxfail="has one size"))
    assert outcomes.problems_found(is_whole_run=False) == ["ModelA: 17% skipped, above 15%."]


def test_only_tests_are_unpacked(source_module, tmp_path):
    archive = tmp_path / "source.tar.gz"
    names = ["top/tests/test_a.py", "top/tests/deeper/test_b.py", "top/tests/data.bin", "top/setup.py"]
    names += ["../test_c.py", "top/tests/../../test_d.py"]
    with tarfile.open(archive, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(b"content")
            tar.addfile(member, io.BytesIO(b"content"))
        link = tarfile.TarInfo("top/tests/test_link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    source_module._unpack_tests(archive, tmp_path / "unpacked" / "tests")
    unpacked = {path.name for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    # Two files of ours stand in for what the archive does not carry.
    assert unpacked == {"test_a.py", "__init__.py", "sample_text.txt"}
    assert not list(tmp_path.glob("*.py"))


def test_another_version_of_the_library_is_an_error(source_module, tmp_path, monkeypatch):
    monkeypatch.setattr(source_module.transformers, "__version__", "6.0.0")
    with pytest.raises(source_module.SourceError, match="transformers 6.0.0 is installed"):
        source_module.common_tests(tmp_path)


def test_a_failed_download_says_what_pip_says(source_module, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(source_module.SourceError, match="(?s)network or a mirror.*pip says:.*transformers"):
        source_module.common_tests(tmp_path)
    assert list(tmp_path.iterdir()) == []

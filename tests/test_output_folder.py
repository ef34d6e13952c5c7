"""Output folders are complete or absent."""

import pytest

from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE, output_folder


def write(output_dir, text, source_dir, overwrite=False):
    with output_folder(output_dir, overwrite, source_dir) as folders:
        (folders.cache / "large.arrow").touch()
        (folders.result / REPORT_FILE).write_text(text)


@pytest.fixture
def source_dir(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_the_result_remains(tmp_path, source_dir):
    write(tmp_path / "new" / "out", "1", source_dir)
    assert names(tmp_path / "new") == ["out"]
    assert names(tmp_path / "new" / "out") == [REPORT_FILE]


def test_failure_leaves_nothing(tmp_path, source_dir):
    def fail_half_way():
        with output_folder(tmp_path / "out", False, source_dir) as folders:
            (folders.result / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert names(tmp_path) == ["clips"]


def test_an_empty_folder_is_used(tmp_path, source_dir):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "1", source_dir)
    assert (tmp_path / "out" / REPORT_FILE).read_text() == "1"


def test_an_earlier_build_is_kept_without_overwrite(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    with pytest.raises(ValueError, match="not empty.*--overwrite"):
        write(tmp_path / "out", "2", source_dir)
    assert (tmp_path / "out" / REPORT_FILE).read_text() == "1"


def test_overwrite_replaces_an_earlier_build(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    (tmp_path / "out" / "old").touch()
    write(tmp_path / "out", "2", source_dir, overwrite=True)
    assert names(tmp_path) == ["clips", "out"]
    assert names(tmp_path / "out") == [REPORT_FILE]
    assert (tmp_path / "out" / REPORT_FILE).read_text() == "2"


def test_failed_overwrite_keeps_the_earlier_build(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    with pytest.raises(RuntimeError), output_folder(tmp_path / "out", True, source_dir):
        raise RuntimeError
    assert (tmp_path / "out" / REPORT_FILE).read_text() == "1"


def test_overwrite_spares_what_is_no_build(tmp_path, source_dir):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not an earlier build"):
        write(tmp_path / "out", "1", source_dir, overwrite=True)
    assert names(tmp_path / "out") == ["thesis.tex"]


@pytest.mark.parametrize("place", ["clips", "clips/out", "."])
def test_output_and_source_may_not_lie_in_each_other(tmp_path, source_dir, place):
    with pytest.raises(ValueError, match="lie in each other"):
        write(tmp_path / place, "1", source_dir, overwrite=True)


def test_a_file_is_refused(tmp_path, source_dir):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "out", "1", source_dir, overwrite=True)

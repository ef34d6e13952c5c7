"""Output folders are complete or absent, and the work of a killed build is kept for the same build only."""

import pytest

from melspec_gpt.datasets_scripts.output_folder import (
    REPORT_FILE,
    WORK_SUFFIX,
    read_json,
    work_folder,
    write_json,
    write_report,
)

SEED_0, SEED_1 = {"seed": 0}, {"seed": 1}


def write(output_dir, text, source_dir, overwrite=False, settings=SEED_0):
    with work_folder(output_dir, overwrite, source_dir, settings) as work:
        if work.finished_report is not None:
            return work.finished_report
        (work.shards / "train-00000.json").touch()
        report = {"text": text, "settings": settings}
        write_report(report, work.dataset)
        work.publish()
        return report


def fail(output_dir, source_dir, finished=(), overwrite=False, settings=SEED_0):
    """A build that fails when some shards are finished and another one is half-written."""

    def build():
        with work_folder(output_dir, overwrite, source_dir, settings) as work:
            for shard in finished:
                (work.shards / shard).touch()
            (work.dataset / "half.arrow.123.tmp").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()


def fail_after_a_shard(output_dir, source_dir, overwrite=False, settings=SEED_0):
    fail(output_dir, source_dir, ["train-00000.json"], overwrite, settings)


def finished_shards(output_dir, source_dir, overwrite=False, settings=SEED_0):
    with work_folder(output_dir, overwrite, source_dir, settings) as work:
        return names(work.shards)


@pytest.fixture
def source_dir(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def text_of(output_dir):
    return read_json(output_dir / REPORT_FILE)["text"]


def test_only_the_result_remains(tmp_path, source_dir):
    write(tmp_path / "new" / "out", "1", source_dir)
    assert names(tmp_path / "new") == ["out"]
    assert names(tmp_path / "new" / "out") == [REPORT_FILE]


def test_failure_before_the_first_shard_leaves_nothing(tmp_path, source_dir):
    fail(tmp_path / "out", source_dir)
    assert names(tmp_path) == ["clips"]


def test_finished_shards_survive_a_failure(tmp_path, source_dir):
    fail_after_a_shard(tmp_path / "out", source_dir)
    assert names(tmp_path) == ["clips", "out" + WORK_SUFFIX]
    assert finished_shards(tmp_path / "out", source_dir) == ["train-00000.json"]


def test_half_written_files_are_removed(tmp_path, source_dir):
    fail_after_a_shard(tmp_path / "out", source_dir)
    half = tmp_path / ("out" + WORK_SUFFIX) / "dataset" / "half.arrow.123.tmp"
    assert half.exists()
    with work_folder(tmp_path / "out", False, source_dir, SEED_0):
        assert not half.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_same_settings_go_on(tmp_path, source_dir, overwrite):
    fail_after_a_shard(tmp_path / "out", source_dir, overwrite)
    assert finished_shards(tmp_path / "out", source_dir, overwrite) == ["train-00000.json"]


def test_unfinished_build_with_other_settings_is_refused_by_name(tmp_path, source_dir):
    fail_after_a_shard(tmp_path / "out", source_dir)
    with pytest.raises(ValueError, match="unfinished build with other `seed`.*--overwrite"):
        finished_shards(tmp_path / "out", source_dir, settings=SEED_1)
    assert finished_shards(tmp_path / "out", source_dir) == ["train-00000.json"]


def test_overwrite_throws_an_unfinished_build_with_other_settings_away(tmp_path, source_dir):
    fail_after_a_shard(tmp_path / "out", source_dir)
    assert finished_shards(tmp_path / "out", source_dir, overwrite=True, settings=SEED_1) == []


def test_an_empty_folder_is_used(tmp_path, source_dir):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "1", source_dir)
    assert text_of(tmp_path / "out") == "1"


def test_an_earlier_build_with_other_settings_is_kept_without_overwrite(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    with pytest.raises(ValueError, match="not empty.*other `seed`.*--overwrite"):
        write(tmp_path / "out", "2", source_dir, settings=SEED_1)
    assert text_of(tmp_path / "out") == "1"
    assert names(tmp_path) == ["clips", "out"]


def test_a_build_with_the_same_settings_is_found(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    assert write(tmp_path / "out", "2", source_dir)["text"] == "1"
    assert names(tmp_path) == ["clips", "out"]


def test_a_build_of_a_program_that_noted_no_settings_is_not_taken_for_the_same(tmp_path, source_dir):
    (tmp_path / "out").mkdir()
    write_json(tmp_path / "out" / REPORT_FILE, {"clips": {"train": 3}})
    with pytest.raises(ValueError, match="--overwrite"):
        write(tmp_path / "out", "2", source_dir)


@pytest.mark.parametrize("settings", [SEED_0, SEED_1])
def test_overwrite_replaces_an_earlier_build(tmp_path, source_dir, settings):
    write(tmp_path / "out", "1", source_dir)
    (tmp_path / "out" / "old").touch()
    write(tmp_path / "out", "2", source_dir, overwrite=True, settings=settings)
    assert names(tmp_path) == ["clips", "out"]
    assert names(tmp_path / "out") == [REPORT_FILE]
    assert text_of(tmp_path / "out") == "2"


def test_failed_overwrite_keeps_the_earlier_build(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    fail_after_a_shard(tmp_path / "out", source_dir, overwrite=True)
    assert text_of(tmp_path / "out") == "1"


def test_killed_between_the_two_renames_of_an_overwrite(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    fail_after_a_shard(tmp_path / "out", source_dir, overwrite=True)
    (tmp_path / "out").rename(tmp_path / ("out" + WORK_SUFFIX) / "previous")
    write(tmp_path / "out", "2", source_dir, overwrite=True)
    assert text_of(tmp_path / "out") == "2"
    assert names(tmp_path) == ["clips", "out"]


def test_killed_while_the_rest_was_removed(tmp_path, source_dir):
    write(tmp_path / "out", "1", source_dir)
    (tmp_path / ("out" + WORK_SUFFIX) / "shards").mkdir(parents=True)
    assert write(tmp_path / "out", "2", source_dir)["text"] == "1"
    assert names(tmp_path) == ["clips", "out"]


def test_overwrite_spares_what_is_no_build(tmp_path, source_dir):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not an earlier build"):
        write(tmp_path / "out", "1", source_dir, overwrite=True)
    assert names(tmp_path / "out") == ["thesis.tex"]


def test_a_work_folder_of_somebody_else_is_spared(tmp_path, source_dir):
    foreign = tmp_path / ("out" + WORK_SUFFIX)
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(ValueError, match="move it away"):
        write(tmp_path / "out", "1", source_dir, overwrite=True)
    assert names(foreign) == ["thesis.tex"]


def test_a_second_process_stops(tmp_path, source_dir):
    with work_folder(tmp_path / "out", False, source_dir, SEED_0):
        with pytest.raises(ValueError, match="Another process is building"):
            write(tmp_path / "out", "1", source_dir)
    write(tmp_path / "out", "1", source_dir)


@pytest.mark.parametrize("place", ["clips", "clips/out", "."])
def test_output_and_source_may_not_lie_in_each_other(tmp_path, source_dir, place):
    with pytest.raises(ValueError, match="lie in each other"):
        write(tmp_path / place, "1", source_dir, overwrite=True)


def test_a_file_is_refused(tmp_path, source_dir):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "out", "1", source_dir, overwrite=True)


def test_a_file_that_cannot_be_replaced_whole_stays(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": {1, 2}})
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_a_damaged_file_reads_as_absent(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    assert read_json(tmp_path / "a.json") is None

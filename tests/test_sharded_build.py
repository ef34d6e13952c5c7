"""Sharded builds: nothing of a finished shard is lost or repeated, and no byte tells how the build went."""

import json
import os
import signal

import clean_processes
import pytest
import torch
from datasets import DatasetDict, load_from_disk
from number_shards import NUM_SHARDS, SPLITS, begun_shards, build_numbers, folder_bytes

from melspec_gpt.datasets_scripts import sharded_build
from melspec_gpt.datasets_scripts.arrow_shards import MAXIMUM_SHARDS, MINIMUM_SHARD_ITEMS, plan_shards
from melspec_gpt.datasets_scripts.output_folder import WORK_SUFFIX

ALL_SHARDS = ["train-0", "train-1", "train-2", "train-3", "validation-0", "validation-1"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Bytes of a build that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    build_numbers(folder, "out")
    return folder_bytes(folder / "out")


def build_in_child(*args, **kwargs):
    """Builds in a process of its own; returns its exit code."""
    return clean_processes.run(build_numbers, *args, **kwargs)


def partial(folder, name="out"):
    return folder / (name + WORK_SUFFIX)


def test_rows_are_those_of_the_plan_in_order(tmp_path):
    report = build_numbers(tmp_path, "out")
    dataset = load_from_disk(tmp_path / "out")
    assert {split: rows["number"][:] for split, rows in dataset.items()} == {k: list(v) for k, v in SPLITS.items()}
    assert dataset["train"]["id"][:2] == ["0", "1"]
    assert report["sum"] == sum(range(140))
    assert json.loads((tmp_path / "out" / "build_report.json").read_text()) == report


def test_the_dataset_reads_as_tensors(tmp_path):
    build_numbers(tmp_path, "out")
    rows = load_from_disk(tmp_path / "out")["train"].with_format("torch")
    assert torch.equal(rows["number"][:], torch.arange(100))


def test_files_are_those_of_save_to_disk(tmp_path):
    build_numbers(tmp_path, "out")
    dataset = load_from_disk(tmp_path / "out")
    dataset.save_to_disk(tmp_path / "saved", num_shards={"train": 4, "validation": 2})
    built, saved = folder_bytes(tmp_path / "out"), folder_bytes(tmp_path / "saved")
    assert set(built) == set(saved) | {"extra.txt", "build_report.json"}
    for name in saved:
        if name.endswith(".json"):
            own, theirs = json.loads(built[name]), json.loads(saved[name])
            assert own | {"_fingerprint": None} == theirs | {"_fingerprint": None}, name


def test_only_the_dataset_remains(tmp_path):
    build_numbers(tmp_path, "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.log", "source"]


@pytest.mark.parametrize(
    ("num_items", "expected"),
    [
        (1, [1]),
        (MINIMUM_SHARD_ITEMS, [MINIMUM_SHARD_ITEMS]),
        (MINIMUM_SHARD_ITEMS + 1, [MINIMUM_SHARD_ITEMS, 1]),
        (MAXIMUM_SHARDS * MINIMUM_SHARD_ITEMS, [MINIMUM_SHARD_ITEMS] * MAXIMUM_SHARDS),
    ],
)
def test_size_of_shards(num_items, expected):
    assert [len(shard.items) for shard in plan_shards({"train": range(num_items)})] == expected


def test_large_splits_get_larger_shards():
    shards = plan_shards({"train": range(200_000)})
    assert len(shards) <= MAXIMUM_SHARDS
    assert [item for shard in shards for item in shard.items] == list(range(200_000))


@pytest.mark.parametrize("shard", [ALL_SHARDS[0], ALL_SHARDS[2], ALL_SHARDS[5]])
def test_a_killed_build_goes_on_with_the_shard_it_was_killed_in(tmp_path, uninterrupted, shard):
    assert build_in_child(tmp_path, "out", "kill", shard) == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert list(partial(tmp_path).rglob("*.tmp"))  # half a shard
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    position = ALL_SHARDS.index(shard)
    assert begun_shards(tmp_path, "out") == ALL_SHARDS[: position + 1] + ALL_SHARDS[position:]


def test_killed_again_and_again(tmp_path, uninterrupted):
    for shard in ("train-1", "train-1", "validation-0"):
        assert build_in_child(tmp_path, "out", "kill", shard) == -signal.SIGKILL
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert len(begun_shards(tmp_path, "out")) == NUM_SHARDS + 3


def build_killed_while_finishing(folder):
    sharded_build.write_report = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    build_numbers(folder, "out")


def test_killed_after_the_last_shard(tmp_path, uninterrupted):
    assert clean_processes.run(build_killed_while_finishing, tmp_path) == -signal.SIGKILL
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert begun_shards(tmp_path, "out") == ALL_SHARDS


def test_workers_change_no_byte(tmp_path, uninterrupted):
    build_numbers(tmp_path, "out", num_proc=2)
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert sorted(begun_shards(tmp_path, "out")) == ALL_SHARDS


def test_a_worker_that_dies_ends_the_build_with_a_sentence(tmp_path, uninterrupted):
    with pytest.raises(ChildProcessError, match="worker process died.*number 32 to number 63"):
        build_numbers(tmp_path, "out", "exit", "train-1", num_proc=2)
    num_finished = len(list((partial(tmp_path) / "shards").iterdir()))
    assert num_finished >= 1
    begun = begun_shards(tmp_path, "out")
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert len(begun_shards(tmp_path, "out")) - len(begun) == NUM_SHARDS - num_finished


def test_a_full_disk_keeps_what_is_finished(tmp_path, uninterrupted):
    with pytest.raises(OSError, match="No space left"):
        build_numbers(tmp_path, "out", "disk full", "train-2")
    assert not list(partial(tmp_path).rglob("*.tmp"))
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert begun_shards(tmp_path, "out") == ALL_SHARDS[:3] + ALL_SHARDS[2:]


def test_ctrl_c_keeps_what_is_finished(tmp_path, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        build_numbers(tmp_path, "out", "Ctrl-C", "validation-1")
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert len(begun_shards(tmp_path, "out")) == NUM_SHARDS + 1


def test_a_shard_whose_file_is_not_what_was_noted_is_written_again(tmp_path, uninterrupted):
    build_in_child(tmp_path, "out", "kill", "train-3")
    next(partial(tmp_path).rglob("data-00001*.arrow")).write_bytes(b"cut off")
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted


def test_a_finished_build_is_not_repeated(tmp_path):
    first = build_numbers(tmp_path, "out")
    second = build_numbers(tmp_path, "out")
    assert second == first
    assert begun_shards(tmp_path, "out") == ALL_SHARDS


def test_overwrite_builds_a_finished_build_anew(tmp_path):
    build_numbers(tmp_path, "out")
    build_numbers(tmp_path, "out", overwrite=True)
    assert begun_shards(tmp_path, "out") == ALL_SHARDS + ALL_SHARDS


def test_overwrite_goes_on_after_a_kill(tmp_path):
    build_numbers(tmp_path, "out")
    build_in_child(tmp_path, "out", "kill", "train-2", overwrite=True)
    build_numbers(tmp_path, "out", overwrite=True)
    assert begun_shards(tmp_path, "out") == ALL_SHARDS + ALL_SHARDS[:3] + ALL_SHARDS[2:]


def test_other_settings_do_not_continue_an_unfinished_build(tmp_path, uninterrupted):
    build_in_child(tmp_path, "out", "kill", "train-2")
    with pytest.raises(ValueError, match="other `seed`"):
        build_numbers(tmp_path, "out", seed=1)
    build_numbers(tmp_path, "out")
    assert folder_bytes(tmp_path / "out") == uninterrupted


def test_an_error_in_the_report_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="there is no row"):
        build_numbers(tmp_path, "out", splits={"train": range(-3, 0)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.log", "source"]


def test_a_split_without_rows_is_absent(tmp_path):
    build_numbers(tmp_path, "out", splits={"train": range(3), "test": range(-40, 0)})
    dataset = load_from_disk(tmp_path / "out")
    assert isinstance(dataset, DatasetDict)
    assert list(dataset) == ["train"]
    assert not (tmp_path / "out" / "test").exists()


def test_content_decides_the_fingerprint(tmp_path):
    for name, last in (("a", 50), ("b", 50), ("c", 51)):
        build_numbers(tmp_path, name, splits={"train": range(last)})
    a, b, c = (load_from_disk(tmp_path / name)["train"]._fingerprint for name in "abc")
    assert a == b
    assert a != c


def test_threads_are_as_before_afterwards(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        build_numbers(tmp_path, "out", splits={"train": range(2)})
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("num_proc", [0, -1])
def test_impossible_number_of_processes(tmp_path, num_proc):
    with pytest.raises(ValueError, match=f"`num_proc` is {num_proc}"):
        build_numbers(tmp_path, "out", num_proc=num_proc)

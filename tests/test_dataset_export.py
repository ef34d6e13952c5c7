"""Token datasets as Parquet files: many rows become several files of nearly one size, and an index of them."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import concatenate_datasets, load_from_disk
from tiny_tokens import NUM_CLIPS, write_dataset

from melspec_gpt.training.dataset_export import write_shards
from melspec_gpt.training.shard_index import INDEX_NAME, read_index, write_index


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return load_from_disk(write_dataset(tmp_path_factory.mktemp("tokens")))["train"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    return tmp_path


def test_many_rows_become_files_of_nearly_one_size(rows, folder):
    written = write_shards(rows, "train", folder, shard_rows=5)
    assert list(written) == [f"data/train-0000{index}-of-00003.parquet" for index in range(3)]
    assert sum(written.values()) == NUM_CLIPS
    assert max(written.values()) - min(written.values()) <= 1
    assert {name: pq.read_metadata(folder / name).num_rows for name in written} == written


def test_files_have_small_row_groups(rows, folder, monkeypatch):
    monkeypatch.setattr("melspec_gpt.training.dataset_export.ROW_GROUP_ROWS", 4)
    (name,) = write_shards(rows, "train", folder, shard_rows=100)
    assert pq.read_metadata(folder / name).num_row_groups == 3


def test_rows_keep_their_order(rows, folder):
    write_index(folder, {"train": write_shards(rows, "train", folder, shard_rows=5)})
    shards = read_index(folder)["train"]
    together = concatenate_datasets([shard.open() for shard in shards])
    assert together.features == rows.features
    assert together.to_list() == rows.to_list()


def test_empty_split_is_one_file(rows, folder):
    assert write_shards(rows.select([]), "test", folder, shard_rows=5) == {"data/test-00000-of-00001.parquet": 0}


def test_index_names_the_files_in_their_order(folder):
    write_index(folder, {"train": {"data/b": 2, "data/a": 1}})
    assert json.loads((folder / INDEX_NAME).read_text()) == {"train": {"data/b": 2, "data/a": 1}}
    assert [(shard.file, shard.num_rows) for shard in read_index(folder)["train"]] == [
        (str(folder / "data/b"), 2),
        (str(folder / "data/a"), 1),
    ]

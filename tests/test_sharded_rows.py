"""Rows read from many files: the same values as the whole dataset has, from no more files than needed."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Array2D, Dataset, DatasetDict, Features, List, Value, load_from_disk
from tiny_tokens import NAMES, NUM_CLIPS, write_dataset

from melspec_gpt.training.sharded_rows import Shard, ShardedRows

NUM_SHARDS = 5  # of 12 rows: two of them have two rows, the others three or two


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return load_from_disk(write_dataset(tmp_path_factory.mktemp("tokens"), num_shards=NUM_SHARDS))["train"]


@pytest.fixture
def rows(dataset) -> ShardedRows:
    return ShardedRows.from_dataset(dataset, ["codes", "label"])


def test_rows_are_those_of_the_dataset(rows, dataset):
    numbers = np.random.default_rng(0).permutation(NUM_CLIPS)
    batch, expected = rows.read(numbers), dataset.with_format("torch", columns=["codes", "label"])[numbers.tolist()]
    assert batch.keys() == expected.keys()
    for name, values in expected.items():
        assert batch[name].dtype == values.dtype
        assert torch.equal(batch[name], values)


def test_looks_like_a_dataset(rows, dataset):
    assert len(rows) == len(dataset) == NUM_CLIPS
    assert len(rows.shards) == NUM_SHARDS
    assert rows.features == dataset.features
    assert rows.features["label"].names == NAMES
    assert torch.equal(rows[7]["codes"], torch.tensor(dataset[7]["codes"]))


def test_shards_know_their_rows(rows):
    assert [shard.num_rows for shard in rows.shards] == [len(shard.open()) for shard in rows.shards]


def test_only_files_that_are_read_are_opened(rows, monkeypatch):
    opened, fetch = [], Shard.fetch
    monkeypatch.setattr(Shard, "fetch", lambda shard: opened.append(Path(shard.file).name) or fetch(shard))
    rows.read(np.array([NUM_CLIPS - 1, 0, 1, NUM_CLIPS - 1]))
    rows.read(np.array([0]))
    assert opened == ["data-00004-of-00005.arrow", "data-00000-of-00005.arrow"]


def test_reading_takes_no_memory_that_stays(tmp_path):
    features = Features({"codes": List(Value("uint8"), length=1000)})
    codes = np.random.default_rng(0).integers(0, 99, (400, 1000), dtype=np.uint8)
    DatasetDict(train=Dataset.from_dict({"codes": codes}, features=features)).save_to_disk(tmp_path)
    rows = ShardedRows.from_dataset(load_from_disk(tmp_path)["train"], ["codes"])
    before = pa.total_allocated_bytes()
    for start in range(0, 400, 8):
        assert torch.equal(rows.read(np.arange(start, start + 8))["codes"][3], torch.tensor(codes[start + 3]))
    assert pa.total_allocated_bytes() - before < 40_000  # of 400 000 bytes


def test_rows_can_be_numbered(rows):
    batch = rows.numbered("row").read(np.array([3, 11]))
    assert batch["row"].tolist() == [3, 11]
    assert torch.equal(batch["codes"], rows.read(np.array([3, 11]))["codes"])


def test_pictures_of_half_floats_are_read(tmp_path):
    pictures = np.random.default_rng(0).random((7, 4, 6)).astype(np.float16)
    data = Dataset.from_dict({"mel": pictures}, features=Features({"mel": Array2D((4, 6), "float16")}))
    DatasetDict(train=data).save_to_disk(tmp_path, num_shards={"train": 3})
    rows = ShardedRows.from_dataset(load_from_disk(tmp_path)["train"], ["mel"])
    mel = rows.read(np.arange(7)[::-1].copy())["mel"]
    assert mel.dtype == torch.float32
    assert torch.equal(mel, torch.tensor(pictures[::-1].copy()).float())


def test_parquet_files_are_read(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    dataset.to_parquet(tmp_path / "rows.parquet", batch_size=5)
    rows = ShardedRows([Shard(str(tmp_path / "rows.parquet"), NUM_CLIPS)], ["codes"])
    assert torch.equal(rows.read(np.arange(NUM_CLIPS))["codes"], torch.tensor(dataset["codes"]))
    assert rows.features == dataset.features


def test_another_process_opens_the_files_anew(rows):
    rows.read(np.array([0]))
    copy = pickle.loads(pickle.dumps(rows))
    assert torch.equal(copy.read(np.array([5]))["codes"], rows.read(np.array([5]))["codes"])


def test_some_shards_are_spread_over_the_split(rows):
    assert [len(part) for part in rows.some_shards(max_rows=1)] == [rows.shards[0].num_rows]
    assert sum(len(part) for part in rows.some_shards(max_rows=10**6)) == NUM_CLIPS
    few = rows.some_shards(max_rows=6)
    assert [Path(part.cache_files[0]["filename"]).name[5:10] for part in few] == ["00000", "00002"]


def test_rows_that_are_not_there_are_refused(rows):
    for wrong in (-1, NUM_CLIPS):
        with pytest.raises(IndexError, match="there are 12"):
            rows.read(np.array([0, wrong]))


def test_file_that_was_changed_is_refused(rows):
    broken = ShardedRows([Shard(rows.shards[0].file, rows.shards[0].num_rows + 1)], ["codes"])
    with pytest.raises(ValueError, match="are expected"):
        broken.read(np.array([0]))

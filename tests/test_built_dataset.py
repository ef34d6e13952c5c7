"""Where the trainings find their data: folders of the builders, published folders, the Hub; whole or as a stream."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import DatasetDict, load_dataset
from loopback_hub import Repository, loopback_hub
from tiny_tokens import CODEBOOK_SIZE, NAMES, NUM_CLIPS, NUM_CODES, save_audio_tokenizer, write_dataset

from melspec_gpt.training import dataset_export
from melspec_gpt.training.built_dataset import class_names, load_built_dataset
from melspec_gpt.training.dataset_export import EXTRACTOR_NAME, export_dataset
from melspec_gpt.training.model_card import CardOptions
from melspec_gpt.training.shard_index import INDEX_NAME
from melspec_gpt.training.sharded_rows import ShardedRows
from melspec_gpt.training.stream_order import StreamOrder
from melspec_gpt.training.token_splits import build_processor, unigram_baseline
from melspec_gpt.training.token_stream import StreamLoader
from melspec_gpt.training.train_gpt import main as train_gpt

COLUMNS = ["codes", "label"]
NAME = "user/tokens"
SHARD_ROWS = 2  # of 12: six shards


@pytest.fixture(scope="module")
def audio_tokenizer(tmp_path_factory) -> str:
    return save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, audio_tokenizer) -> Path:
    """As datasets_scripts.token_dataset writes it."""
    folder = tmp_path_factory.mktemp("built") / "tokens"
    write_dataset(folder)
    shutil.copy(Path(audio_tokenizer, EXTRACTOR_NAME), folder)
    counts = {"train": NUM_CLIPS, "validation": NUM_CLIPS}
    report = {"rows": counts, "different_codes": counts, "num_views": 1}
    report |= {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES}
    (folder / "build_report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_export, "SHARD_ROWS", SHARD_ROWS)
        export_dataset(built, folder, CardOptions(repo_id=NAME))
    return folder


@pytest.fixture
def hub(exported, tmp_path):
    with loopback_hub(tmp_path / "cache") as server:
        server.repositories["dataset", NAME] = repository = Repository()
        files = [path for path in exported.rglob("*") if path.is_file()]
        repository.commit("main", {path.relative_to(exported).as_posix(): path.read_bytes() for path in files})
        yield server


def check(splits, built) -> None:
    """The same rows and classes as in the folder that was built."""
    original = DatasetDict.load_from_disk(built)
    assert class_names(splits) == NAMES
    for split, rows in original.items():
        expected = rows.with_format("torch", columns=COLUMNS)[:]
        read = splits[split]
        found = read.read(np.arange(len(read))) if isinstance(read, ShardedRows) else read[:]
        assert all(torch.equal(found[name], expected[name]) for name in COLUMNS)


@pytest.mark.parametrize("streaming", [False, True])
def test_folder_of_a_builder(built, streaming):
    splits = load_built_dataset(built, COLUMNS, streaming)
    assert isinstance(splits["train"], ShardedRows) == streaming
    check(splits, built)


@pytest.mark.parametrize("streaming", [False, True])
def test_published_folder(exported, built, hub, streaming):
    check(load_built_dataset(exported, COLUMNS, streaming), built)
    assert hub.requests == []


@pytest.mark.parametrize("streaming", [False, True])
def test_dataset_on_the_hub(built, hub, streaming):
    check(load_built_dataset(NAME, COLUMNS, streaming), built)


@pytest.mark.parametrize("streaming", [False, True])
def test_published_dataset_is_read_by_datasets_alone(built, hub, streaming):
    rows = load_dataset(NAME, streaming=streaming)["train"]
    assert list(rows) == DatasetDict.load_from_disk(built)["train"].to_list()


def test_process_fetches_only_the_shards_of_its_share(hub):
    rows = load_built_dataset(NAME, COLUMNS, streaming=True)["train"]
    assert len(rows) == NUM_CLIPS
    assert hub.count("GET", "/data/train-") == 1  # the first one, for the types of the columns
    order = StreamOrder(
        shard_rows=[shard.num_rows for shard in rows.shards],
        batch_size=1,
        num_processes=3,
        process_index=1,
        shuffle_rows=2,
        min_window_rows=2,
    )
    for _ in range(2):
        assert len(list(StreamLoader(rows, order))) == 4
        assert 2 <= hub.count("GET", "/data/train-") <= 3


def test_all_shards_are_of_one_commit(hub):
    rows = load_built_dataset(NAME, COLUMNS, streaming=True)["train"]
    repository = hub.repositories["dataset", NAME]
    repository.commit("main", {"README.md": b"another dataset"})
    assert rows.read(np.arange(NUM_CLIPS))["codes"].shape == (NUM_CLIPS, NUM_CODES)


def test_training_streams_from_the_hub(hub, audio_tokenizer, tmp_path):
    argv = ["--dataset_path", NAME, "--audio_tokenizer", audio_tokenizer, "--output_dir", str(tmp_path / "out")]
    argv += ["--model_config", "tiny", "--max_train_steps", "2", "--report_to", "none", "--streaming", "true"]
    train_gpt(argv)
    summary = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    assert np.isfinite(summary["validation"]["loss"])
    assert summary["unigram_nats_per_code"] > 0


def test_what_a_training_asks_of_its_data_can_be_streamed(built, audio_tokenizer):
    streamed, whole = (load_built_dataset(built, COLUMNS, streaming) for streaming in (True, False))
    assert unigram_baseline(streamed, CODEBOOK_SIZE) == unigram_baseline(whole, CODEBOOK_SIZE)
    assert build_processor(audio_tokenizer, streamed).tokenizer.class_names == NAMES


# Wrong use


@pytest.mark.parametrize("streaming", [False, True])
def test_dataset_that_is_nowhere_is_a_sentence(hub, tmp_path, streaming):
    with pytest.raises(ValueError, match="'user/unknown' holds no dataset: there is neither such a folder nor such a"):
        load_built_dataset("user/unknown", COLUMNS, streaming)
    for name in (str(tmp_path / "unknown"), "unknown", "a/b/c"):
        with pytest.raises(ValueError, match=f"'{name}' holds no dataset"):
            load_built_dataset(name, COLUMNS, streaming)
    with pytest.raises(ValueError, match="holds no dataset"):
        load_built_dataset(tmp_path, COLUMNS, streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_hub_that_is_down_is_a_sentence(hub, streaming):
    hub.stop()
    with pytest.raises(ValueError, match="'user/tokens' holds no dataset:.*(Hub|connection)"):
        load_built_dataset(NAME, COLUMNS, streaming)
    hub.start()


def test_repository_without_index_is_a_sentence(hub):
    repository = hub.repositories["dataset", NAME]
    files = repository.files("main")
    repository.commit("main", {path: content for path, content in files.items() if path != INDEX_NAME})
    with pytest.raises(ValueError, match="has no shards.json, which streaming needs"):
        load_built_dataset(NAME, COLUMNS, streaming=True)
    assert len(load_built_dataset(NAME, COLUMNS)["train"]) == NUM_CLIPS


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"train": {"a": "many"}}'])
def test_broken_index_is_a_sentence(exported, tmp_path, content):
    shutil.copytree(exported, tmp_path / "copy")
    (tmp_path / "copy" / INDEX_NAME).write_text(content)
    with pytest.raises(ValueError, match="shards.json of .* is broken"):
        load_built_dataset(tmp_path / "copy", COLUMNS, streaming=True)


@pytest.mark.parametrize("streaming", [False, True])
def test_missing_columns_and_splits_are_named(built, tmp_path, streaming):
    with pytest.raises(ValueError, match=r"\['mel'\] are needed"):
        load_built_dataset(built, ["mel"], streaming)
    with pytest.raises(ValueError, match="no DatasetDict with the split `train`"):
        load_built_dataset(write_dataset(tmp_path, splits=("validation",)), COLUMNS, streaming)

"""Streamed training: each process reads its share, stops and resumes exactly, and trains as without streaming."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import GradientState
from clean_processes import run_on_two_processes
from datasets import load_from_disk
from tiny_tokens import NUM_CLIPS, save_audio_tokenizer, write_dataset

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import ROW_COLUMN, number_rows
from melspec_gpt.training.loop_setup import build_data_loader, skip_batches
from melspec_gpt.training.sharded_rows import ShardedRows
from melspec_gpt.training.stream_order import StreamOrder
from melspec_gpt.training.token_stream import StreamLoader
from melspec_gpt.training.train_gpt import main as train_gpt
from melspec_gpt.training.train_gpt_vae import main as train_gpt_vae


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> str:
    return write_dataset(tmp_path_factory.mktemp("tokens"), num_shards=5)


@pytest.fixture(scope="module")
def audio_tokenizer(tmp_path_factory) -> str:
    return save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def rows(tokens) -> ShardedRows:
    return number_rows(load_built_dataset(tokens, ["codes", "label"], streaming=True)["train"])


def make_loader(rows, batch_size=2, seed=0, **options) -> StreamLoader:
    order = StreamOrder(shard_rows=[shard.num_rows for shard in rows.shards], batch_size=batch_size, seed=seed)
    return StreamLoader(rows, order, **options)


def numbers(loader) -> list[list[int]]:
    return [batch[ROW_COLUMN].tolist() for batch in loader]


def test_batches_hold_the_rows_of_the_order(rows, tokens):
    codes = load_from_disk(tokens)["train"]["codes"]
    loader = make_loader(rows)
    assert len(loader) == NUM_CLIPS // 2
    for batch in loader:
        assert batch["codes"].tolist() == [codes[row] for row in batch[ROW_COLUMN].tolist()]
    assert numbers(loader) == [batch.tolist() for batch in loader.order.batches(0)]


def test_workers_keep_the_order(rows):
    whole = numbers(make_loader(rows))
    assert numbers(make_loader(rows, num_workers=2)) == whole
    assert numbers(make_loader(rows, num_workers=2).starting_at(3)) == whole[3:]


def test_epochs_and_seeds_have_their_own_order(rows):
    loader = make_loader(rows)
    first = numbers(loader)
    loader.set_epoch(1)
    assert numbers(loader) != first
    assert numbers(make_loader(rows, seed=1)) != first
    loader.set_epoch(0)
    assert numbers(loader) == first


def test_skipped_batches_are_not_read(rows, monkeypatch):
    loader = make_loader(rows)
    loader.set_epoch(3)
    whole, read, reader = numbers(loader), [], ShardedRows.read
    monkeypatch.setattr(ShardedRows, "read", lambda self, rows: read.append(rows.tolist()) or reader(self, rows))
    rest = skip_batches(loader, 4)
    assert len(rest) == 2
    assert numbers(rest) == read == whole[4:]


def test_accelerate_knows_where_the_epoch_ends(rows):
    loader, state = make_loader(rows), GradientState()
    assert [state.end_of_dataloader for _ in loader] == [False] * 5 + [True]
    assert not state.in_dataloader
    for _ in loader:
        break
    assert not state.in_dataloader


def test_loading_leaves_the_random_numbers_alone(rows):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    numbers(make_loader(rows, num_workers=1))
    assert torch.equal(torch.rand(3), expected)


def test_own_batches_cannot_be_made_of_a_stream(rows, tmp_path):
    arguments = RunArguments(dataset_path="", output_dir=str(tmp_path), model_config="", max_train_steps=1)
    with pytest.raises(ValueError, match="collate_fn"):
        build_data_loader(Accelerator(), arguments, rows, "train", collate_fn=list)


# Two processes


def _read_on_two_processes(tokens, folder):
    arguments = RunArguments(
        dataset_path=tokens, output_dir=folder, model_config="", max_train_steps=1, per_device_train_batch_size=2
    )
    accelerator = Accelerator(cpu=True)
    rows = number_rows(load_built_dataset(tokens, ["codes", "label"], streaming=True)["train"])
    loader = build_data_loader(accelerator, arguments, rows, "train")
    seen = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        seen.append(numbers(loader))
        for batch in seen[-1]:
            accelerator.reduce(torch.tensor(float(len(batch))))  # hangs unless both have as many batches
    Path(folder, f"{accelerator.process_index}.json").write_text(json.dumps(seen))


def test_two_processes_read_every_example_once_per_epoch(tmp_path):
    tokens = write_dataset(tmp_path / "tokens", num_shards=5)
    run_on_two_processes(_read_on_two_processes, tokens, str(tmp_path))
    first, second = (json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2))
    for epoch in range(2):
        assert len(first[epoch]) == len(second[epoch]) == 3
        assert sorted(sum(first[epoch] + second[epoch], [])) == list(range(NUM_CLIPS))
    assert first[0] != first[1]


# Training


def train(program, tokens, audio_tokenizer, output_dir, *options) -> dict:
    argv = ["--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--model_config", "tiny"]
    argv += ["--output_dir", str(output_dir), "--per_device_train_batch_size", "2", "--checkpointing_steps", "4"]
    program([*argv, "--streaming", "true", "--report_to", "none", "--checkpoints_total_limit", "9", *options])
    return json.loads((output_dir / "training_summary.json").read_text())


def test_training_that_was_stopped_in_mid_epoch_goes_on_exactly(tokens, audio_tokenizer, tmp_path):
    options = ["--max_train_steps", "8", "--class_dropout", "0.5", "--code_noise", "0.2"]
    summary = train(train_gpt, tokens, audio_tokenizer, tmp_path / "whole", *options)
    assert np.isfinite(summary["validation"]["loss"])
    assert summary["epochs"] == pytest.approx(8 / 6)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-4")  # two batches before the end of the epoch
    train(train_gpt, tokens, audio_tokenizer, tmp_path / "rest", *options, "--resume_from_checkpoint", checkpoint)
    whole, rest = (MelGPTForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "rest"))
    assert all(torch.equal(value, rest[name]) for name, value in whole.items())


def test_vae_trains_on_a_stream(tokens, audio_tokenizer, tmp_path):
    options = ["--max_train_steps", "2", "--stage", "vae", "--num_importance_samples", "0"]
    assert np.isfinite(train(train_gpt_vae, tokens, audio_tokenizer, tmp_path, *options)["validation"]["loss"])

"""A training that publishes its model: what arrives, what stops it before it starts, and an upload that fails."""

import logging
import shlex

import pytest
import torch
from loopback_hub import TOKEN, loopback_hub
from tiny_tokens import NAMES, save_audio_tokenizer, write_dataset

from melspec_gpt import push_to_hub
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.train_gpt import main


@pytest.fixture(scope="module")
def required(tmp_path_factory):
    """Arguments that every run needs, for a tiny model."""
    tokens = write_dataset(tmp_path_factory.mktemp("tokens"))
    audio_tokenizer = save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    argv = ["--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--model_config", "tiny"]
    return [*argv, "--max_train_steps", "2", "--checkpointing_steps", "1", "--report_to", "none"]


@pytest.fixture
def hub(tmp_path):
    """A stand-in for the Hub, without a token."""
    with loopback_hub(tmp_path / "cache") as server:
        yield server


@pytest.fixture
def token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_final_model_is_whole_on_the_hub(required, hub, token, tmp_path):
    output_dir = tmp_path / "tiny-gpt"
    main([*required, "--output_dir", str(output_dir), "--push_to_hub", "true", "--hub_private_repo", "true"])
    repository = hub.repositories["model", "user/tiny-gpt"]
    assert repository.private
    files = repository.branches["main"]
    expected = {"README.md", "training_summary.json", "modeling_mel_gpt.py", "audio_tokenizer/model.safetensors"}
    assert expected <= set(files)
    assert {path.partition("/")[0] for path in files if "/" in path} == {"audio_tokenizer", "samples"}
    assert files["training_summary.json"] == (output_dir / "training_summary.json").read_bytes()
    card = files["README.md"].decode()
    assert "2 steps" in card
    assert "`learning_rate`" in card
    assert "`hub_private_repo`" not in card

    published = MelGPTForCausalLM.from_pretrained("user/tiny-gpt").state_dict()
    trained = MelGPTForCausalLM.from_pretrained(output_dir).state_dict()
    assert all(torch.equal(value, published[name]) for name, value in trained.items())
    assert MelGPTProcessor.from_pretrained("user/tiny-gpt").tokenizer.class_names == NAMES


def test_without_a_token_the_training_does_not_start(required, hub, tmp_path):
    with pytest.raises(SystemExit) as failure:
        main([*required, "--output_dir", str(tmp_path / "out"), "--push_to_hub", "--hub_model_id", "user/mine"])
    assert "has not started" in failure.value.code
    assert "user/mine could not be created: the Hub answered 401: you are not logged in" in failure.value.code
    assert not (tmp_path / "out").exists()


def test_failed_upload_keeps_the_model_and_says_how_to_publish_it(required, hub, token, tmp_path, caplog):
    output_dir = tmp_path / "my sounds"
    hub.uploads_left = 0
    with pytest.raises(SystemExit) as failure, caplog.at_level(logging.ERROR):
        main([*required, "--output_dir", str(output_dir), "--push_to_hub", "--hub_model_id", "late"])
    assert failure.value.code == 1
    assert "user/late could not be uploaded: the connection to http://127.0.0.1" in caplog.text

    hub.uploads_left = None
    hub.start()
    program = "python -m melspec_gpt.push_to_hub "
    [command] = [text.partition(program)[2] for text in caplog.messages if program in text]
    push_to_hub.main(shlex.split(command))
    assert "training_summary.json" in hub.repositories["model", "user/late"].branches["main"]

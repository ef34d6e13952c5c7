"""Pictures, sounds and codes that the GPT training logs."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_tokens import CODEBOOK_SIZE, NAMES, NUM_CODES, save_audio_tokenizer, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.gpt_media import written_versions
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.train_gpt import main

VERSIONS = ["input", "half", "free", "greedy"]


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> EventAccumulator:
    folder = tmp_path_factory.mktemp("run")
    argv = ["--dataset_path", write_dataset(folder / "tokens"), "--model_config", "tiny", "--max_train_steps", "1"]
    main([*argv, "--audio_tokenizer", save_audio_tokenizer(folder / "tokenizer"), "--output_dir", str(folder / "out")])
    found = EventAccumulator(str(folder / "out" / "logs"))
    found.Reload()
    return found


def test_every_version_is_seen_heard_and_read(events):
    assert set(events.Tags()["images"]) == {"validation/input_half_free_greedy", "validation/attention"}
    (picture,) = events.Images("validation/input_half_free_greedy")
    assert (picture.width, picture.height) == (2 * 32, 4 * 80)
    assert set(events.Tags()["audio"]) == {f"validation/{name}_{index}" for name in VERSIONS for index in range(2)}
    for name in VERSIONS:
        (event,) = events.Tensors(f"validation/{name}_codes_0/text_summary")
        assert len(event.tensor_proto.string_val[0].decode().split()) == NUM_CODES


def test_histograms_count_every_code(events):
    assert set(events.Tags()["histograms"]) == {f"validation/{name}_code_histogram" for name in VERSIONS}
    (event,) = events.Histograms("validation/free_code_histogram")
    assert event.histogram_value.num == 2 * NUM_CODES


def test_attention_looks_back_only(events):
    (picture,) = events.Images("validation/attention")
    assert (picture.width, picture.height) == (NUM_CODES + 1,) * 2


def test_versions_keep_what_they_are_given(tmp_path):
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(NAMES))}
    config = load_model_config(MelGPTConfig, "tiny", codebook_size=CODEBOOK_SIZE, num_codes=NUM_CODES, **labels)
    model = MelGPTForCausalLM(config).eval()
    codes = load_built_dataset(write_dataset(tmp_path), ["codes", "label"])["validation"][:3]["codes"]
    sentences = torch.cat([CODEBOOK_SIZE + torch.arange(3).unsqueeze(1), codes], dim=1)
    versions = written_versions(model, sentences)
    assert list(versions) == VERSIONS
    assert all(version.shape == codes.shape for version in versions.values())
    assert torch.equal(versions["input"], codes)
    half = NUM_CODES // 2
    assert torch.equal(versions["half"][:, :half], codes[:, :half])
    assert not torch.equal(versions["half"][:, half:], codes[:, half:])
    assert torch.equal(written_versions(model, sentences)["greedy"], versions["greedy"])

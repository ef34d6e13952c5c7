"""The audio tokenizer training: from mel dataset to a folder that encodes and decodes; crops, errors, baseline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.train_audio_tokenizer import main, mean_mel_error, random_crops, summarize_evaluation

SETTINGS = {
    "model_config": "tiny",
    "learning_rate": 0.003,
    "per_device_train_batch_size": 4,
    "crop_frames": 32,
    "logging_steps": 5,
    "eval_steps": 10,
    "checkpointing_steps": 10,
    "checkpoints_total_limit": None,
}


@pytest.fixture(scope="module")
def mels(tmp_path_factory) -> str:
    """Clips of half a second of noise, each at another level."""
    folder = tmp_path_factory.mktemp("mels")
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.6)
    shape = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    features = Features({"id": Value("string"), "label": ClassLabel(names=["a"]), "mel": Array2D(shape, "float16")})
    random = np.random.default_rng(0)
    splits = DatasetDict()
    for split, count in (("train", 8), ("validation", 3)):
        levels = np.linspace(0.1, 0.9, count).reshape(-1, 1, 1)
        mel = np.clip(levels + 0.02 * random.standard_normal((count, *shape)), 0, 1)
        rows = {"id": [str(index) for index in range(count)], "label": [0] * count, "mel": mel.astype(np.float16)}
        splits[split] = Dataset.from_dict(rows, features=features)
    splits.save_to_disk(folder)
    feature_extractor.save_pretrained(folder)
    return str(folder)


def run(mels: str, folder, **changes) -> str:
    recipe = folder / "recipe.json"
    output_dir = str(folder / "output")
    recipe.write_text(json.dumps(SETTINGS | {"dataset_path": mels, "output_dir": output_dir} | changes))
    main([str(recipe)])
    return output_dir


@pytest.fixture(scope="module")
def trained(mels, tmp_path_factory) -> str:
    return run(mels, tmp_path_factory.mktemp("trained"), max_train_steps=40)


def test_final_folder_encodes_and_decodes(trained):
    feature_extractor = MelFeatureExtractor.from_pretrained(trained)
    model = MelVQModel.from_pretrained(trained)
    noise = np.random.default_rng(0).standard_normal(feature_extractor.num_samples)
    features = feature_extractor(0.1 * noise, sampling_rate=22050, return_tensors="pt")["input_features"]
    codes = model.encode(features).audio_codes
    assert codes.shape == (1, 1, model.config.num_codes)
    assert model.decode(codes).input_features.shape == features.shape


def test_it_learns_more_than_the_mean_spectrum(trained):
    with open(f"{trained}/training_summary.json") as file:
        summary = json.load(file)
    assert summary["validation"]["reconstruction_loss"] < summary["mean_mel_error"]
    assert summary["validation"]["codes_used"] > 1


def test_pictures_and_sounds_are_logged(trained):
    tags = {"images": set(), "audio": set()}
    for path in Path(trained).rglob("events.out*"):
        events = EventAccumulator(str(path.parent)).Reload()
        for kind in tags:
            tags[kind] |= set(events.Tags()[kind])
    assert "validation/clips_and_reconstructions" in tags["images"]
    assert "validation/reconstruction_0" in tags["audio"]


def test_resumed_run_equals_the_uninterrupted_one(trained, mels, tmp_path):
    """The codebook's averages are part of the checkpoint."""
    again = run(mels, tmp_path, max_train_steps=40, resume_from_checkpoint=f"{trained}/checkpoints/checkpoint-20")
    first, second = (load_file(f"{folder}/model.safetensors") for folder in (trained, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_crops_are_stretches_of_their_clips():
    mel = torch.rand(3, 80, 50)
    for crop, clip in zip(random_crops(mel, 32, gain_range=0), mel, strict=True):
        windows = (2 * clip - 1).unfold(1, 32, 1).permute(1, 0, 2)
        assert any(torch.equal(crop, window) for window in windows)


def test_gain_moves_everything_but_the_floor():
    mel = torch.full((4, 80, 40), 0.5)
    mel[:, :10] = 0
    crops = (random_crops(mel, 32, gain_range=10) + 1) / 2
    assert (crops[:, :10] == 0).all()
    levels = crops[:, 10:].flatten(1)
    assert (levels.amax(1) - levels.amin(1)).max() == 0
    assert ((levels[:, 0] - 0.5).abs() <= 0.1).all()
    assert len(levels[:, 0].unique()) > 1


def test_baseline_is_the_error_of_the_mean_spectrum():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.3)
    quiet, loud = (torch.full((80, feature_extractor.num_mel_frames), level) for level in (0.2, 0.6))
    error = mean_mel_error([{"mel": quiet}, {"mel": loud}], [{"mel": loud}], feature_extractor)
    assert error == pytest.approx(2 * 0.2)


def test_summary_counts_the_codes_of_the_whole_split():
    values = {"loss": torch.tensor([1.0, 3.0]), "audio_codes": torch.tensor([[0, 0], [5, 5]])}
    summary = summarize_evaluation(values, codebook_size=8)
    assert summary == pytest.approx({"loss": 2.0, "codes_used": 2.0, "perplexity": 2.0})


@pytest.mark.parametrize("crop_frames", [30, 64])
def test_crops_that_do_not_fit_are_refused(mels, tmp_path, crop_frames):
    with pytest.raises(ValueError, match="crop_frames"):
        run(mels, tmp_path, max_train_steps=1, crop_frames=crop_frames)

"""A token dataset and an audio tokenizer that are small enough to train on within a test."""

from pathlib import Path

import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.model_presets import load_model_config

NAMES = ["Dog bark", "Rain", "Rooster"]
CODEBOOK_SIZE = 16
NUM_CODES = 10
GRID_SHAPE = (5, 2)
NUM_CLIPS = 12


def save_audio_tokenizer(folder: Path) -> str:
    """Clips of 0.4 s: 32 frames, a 5 x 2 grid of codes."""
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.4)
    torch.manual_seed(0)
    config = load_model_config(MelVQConfig, "tiny", num_frames=feature_extractor.num_frames)
    assert config.codebook_size == CODEBOOK_SIZE
    MelVQModel(config).save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    return str(folder)


def write_dataset(
    folder, num_codes=NUM_CODES, highest=CODEBOOK_SIZE - 1, splits=("train", "validation"), num_shards=1
) -> str:
    """Learnable sentences: the class decides the first code, and each code the next one."""
    features = Features(
        {"id": Value("string"), "label": ClassLabel(names=NAMES), "codes": List(Value("uint8"), length=num_codes)}
    )
    data = DatasetDict()
    for split in splits:
        labels = [index % len(NAMES) for index in range(NUM_CLIPS)]
        codes = [[(5 * label + 3 * position) % (highest + 1) for position in range(num_codes)] for label in labels]
        rows = {"id": [f"{split}{index}" for index in range(NUM_CLIPS)], "label": labels, "codes": codes}
        data[split] = Dataset.from_dict(rows, features=features)
    data.save_to_disk(folder, num_shards=dict.fromkeys(splits, num_shards))
    return str(folder)

"""A mel dataset that is small enough to train on within a test: noise, each clip at another level."""

from pathlib import Path

import numpy as np
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor


def write_mels(folder: Path, num_clips: int = 8, num_validation_clips: int = 3) -> str:
    """Clips of 0.6 s."""
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.6)
    shape = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    features = Features({"id": Value("string"), "label": ClassLabel(names=["a"]), "mel": Array2D(shape, "float16")})
    random = np.random.default_rng(0)
    splits = DatasetDict()
    for split, count in (("train", num_clips), ("validation", num_validation_clips)):
        levels = np.linspace(0.1, 0.9, count).reshape(-1, 1, 1)
        mel = np.clip(levels + 0.02 * random.standard_normal((count, *shape)), 0, 1)
        rows = {"id": [str(index) for index in range(count)], "label": [0] * count, "mel": mel.astype(np.float16)}
        splits[split] = Dataset.from_dict(rows, features=features)
    splits.save_to_disk(folder)
    feature_extractor.save_pretrained(folder)
    return str(folder)

"""A mel dataset with waveforms that is small enough to train a vocoder on within a test: decaying noise and tones."""

from pathlib import Path

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, List, Value

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor


def made_up_clips(num_clips: int, num_samples: int, seed: int = 0) -> np.ndarray:
    """16-bit PCM of shape `(num_clips, num_samples)`, every clip another pitch and another noise."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / 22050
    pitches = 300 * 1.3 ** np.arange(num_clips).reshape(-1, 1)
    noise = 0.1 * random.standard_normal((num_clips, num_samples)) * np.exp(-3 * time)
    return np.round((0.2 * np.sin(2 * np.pi * pitches * time) + noise) * 32767).astype(np.int16)


def write_waveforms(folder: Path, num_clips: int = 8, num_validation_clips: int = 3, clip_seconds: float = 0.4) -> str:
    """Clips of 0.4 s have 32 frames, as those of `tiny_tokens.save_audio_tokenizer`."""
    feature_extractor = MelFeatureExtractor.from_clip_seconds(clip_seconds)
    shape = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    features = Features(
        {
            "id": Value("string"),
            "label": ClassLabel(names=["a"]),
            "mel": Array2D(shape, "float16"),
            "audio": List(Value("int16"), length=feature_extractor.num_samples),
        }
    )
    splits = DatasetDict()
    for seed, (split, count) in enumerate((("train", num_clips), ("validation", num_validation_clips))):
        audio = made_up_clips(count, feature_extractor.num_samples, seed)
        mel = feature_extractor.mel_spectrogram(torch.from_numpy(audio), 22050).half().numpy()
        ids = [str(index) for index in range(count)]
        rows = {"id": ids, "label": [0] * count, "mel": mel, "audio": list(audio)}
        splits[split] = Dataset.from_dict(rows, features=features)
    splits.save_to_disk(folder)
    feature_extractor.save_pretrained(folder)
    return str(folder)

"""How do the mels of a shard become rows of codes?"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, concatenate_datasets

from melspec_gpt.datasets_scripts.arrow_shards import Shard
from melspec_gpt.tokenization.audio_tokenizer_files import named_audio_tokenizer
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

# 40 dB on the scale of the mel, on which 1 is 100 dB.
AUDIBLE_RANGE = 0.4


def roll_frames(clip_id: str, seed: int, audible: np.ndarray, first_frame: int = 0) -> list[int]:
    """
    By how many frames the mel of `clip_id` is rolled in view 0 (none), 1, 2, ...: all rolls, each once. Those that
    begin with an audible frame come first, so that a GPT does not learn to begin with a long silence.

    Args:
        clip_id (`str`): the clip.
        seed (`int`): with the clip's id it decides the order.
        audible (`np.ndarray` of shape `(num_mel_frames,)`): which frames can be heard, see [`audible_frames`].
        first_frame (`int`): frame of the rolled mel with which the sentence begins.
    """
    starts = list(range(len(audible)))
    random.Random(f"{seed}/{clip_id}").shuffle(starts)
    starts.sort(key=lambda start: not audible[start])  # a stable sort: each half stays shuffled
    rolls = [(first_frame - start) % len(audible) for start in starts]
    return [0, *(roll for roll in rolls if roll)]


def audible_frames(mel: np.ndarray) -> np.ndarray:
    """Frames (num_mel_frames,) of a mel whose loudest band is at most `AUDIBLE_RANGE` below that of the clip."""
    levels = mel.max(axis=0)
    return levels >= levels.max() - AUDIBLE_RANGE


def view_id(clip_id: str, view: int) -> str:
    """The row's id of view `view` of a clip."""
    return clip_id if view == 0 else f"{clip_id}@{view}"


@dataclass(frozen=True)
class MelFile:
    """
    A part of a split of a mel dataset.

    Args:
        path (`str`): the Arrow file.
        num_rows (`int`): its rows.
    """

    path: str
    num_rows: int


def read_rows(files: list[MelFile], rows: range) -> Dataset:
    """
    The rows with the numbers `rows` of a split that lies in `files`. Only their files are opened, so that those that
    have been read do not add up in memory.
    """
    parts, first = [], 0
    for file in files:
        wanted = range(max(rows.start - first, 0), min(rows.stop - first, file.num_rows))
        if wanted:
            parts.append(Dataset.from_file(file.path).select(wanted))
        first += file.num_rows
    return concatenate_datasets(parts)


@dataclass
class TokenJob:
    """
    Shards of codes.

    Args:
        files (`dict[str, list[MelFile]]`): split -> where its mels lie.
        features (`Features`): types of the columns `id`, `label` and `codes`.
        audio_tokenizer (`str`): folder (or Hub name) of the audio tokenizer.
        feature_extractor (`MelFeatureExtractor`): describes the mels.
        num_views (`int`): rows made of each training clip.
        batch_size (`int`): clips encoded at once.
        seed (`int`): seed of the rolls.
    """

    files: dict[str, list[MelFile]]
    features: Features
    audio_tokenizer: str
    feature_extractor: MelFeatureExtractor
    num_views: int
    batch_size: int
    seed: int

    description = "Mels to codes"

    def prepare(self, device: torch.device | None) -> None:
        """Loads the audio tokenizer, on the GPU where there is one."""
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = named_audio_tokenizer(self.audio_tokenizer).to(device)

    def item_name(self, item: int) -> str:
        """The row of the mel dataset."""
        return f"row {item}"

    def rows(self, shard: Shard, notes: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The views of each clip; `notes` gets the numbers of each code, `code_counts`, and class, `label_counts`."""
        num_views = self.num_views if shard.split == "train" else 1
        code_counts = np.zeros(self.model.config.codebook_size, dtype=np.int64)
        label_counts = np.zeros(self.features["label"].num_classes, dtype=np.int64)
        mels = read_rows(self.files[shard.split], shard.items).with_format("numpy")
        for batch in mels.iter(self.batch_size):
            ids, labels = batch["id"].tolist(), batch["label"].tolist()
            views = np.stack([self._encode(ids, batch["mel"], view) for view in range(num_views)], axis=1)
            code_counts += np.bincount(views.ravel(), minlength=len(code_counts))  # (B, num_views, num_codes)
            label_counts += num_views * np.bincount(labels, minlength=len(label_counts))
            for clip_id, label, codes_of_views in zip(ids, labels, views, strict=True):
                for view, codes in enumerate(codes_of_views):
                    yield {"id": view_id(clip_id, view), "label": label, "codes": codes}
        notes |= {"code_counts": code_counts.tolist(), "label_counts": label_counts.tolist()}

    @torch.no_grad()
    def _encode(self, ids: list[str], mels: np.ndarray, view: int) -> np.ndarray:
        """Codes (B, num_codes) of one view of every clip; `mels` has the shape (B, feature_size, num_mel_frames)."""
        first_frame = (mels.shape[-1] - self.feature_extractor.num_frames) // 2
        if view > 0:
            rolls = [
                roll_frames(clip_id, self.seed, audible_frames(mel), first_frame)[view]
                for clip_id, mel in zip(ids, mels, strict=True)
            ]
            mels = np.stack([np.roll(mel, roll, axis=-1) for mel, roll in zip(mels, rolls, strict=True)])
        features = self.feature_extractor.normalize(torch.from_numpy(mels.astype(np.float32)))
        codes = self.model.encode(features.to(self.model.device)).audio_codes  # (B, 1, num_codes)
        return codes.squeeze(1).cpu().numpy().astype(self.features["codes"].feature.dtype)

"""How does a list of sound files become a mel dataset on disk?"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Features, List, Value

from melspec_gpt.datasets_scripts.arrow_shards import Shard
from melspec_gpt.datasets_scripts.audio_reading import read_clips
from melspec_gpt.datasets_scripts.audio_sources import AudioClip, AudioListing
from melspec_gpt.datasets_scripts.clip_options import FIRST_CLIP, ClipOptions
from melspec_gpt.datasets_scripts.data_splits import cap_per_class, check_fractions, check_no_leak, split_clips
from melspec_gpt.datasets_scripts.description_card import write_dataset_card
from melspec_gpt.datasets_scripts.description_facts import clip_facts
from melspec_gpt.datasets_scripts.mel_report import first_reasons, log_report, mel_report
from melspec_gpt.datasets_scripts.sharded_build import build_sharded
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

SPLITS = ("train", "validation", "test")
MEL_EXTENSION = ".npy"
PCM_SCALE = 32768


def build_mel_dataset(
    listing: AudioListing,
    data_dir: str | Path,
    output_dir: str | Path,
    feature_extractor: MelFeatureExtractor,
    clip_options: ClipOptions = FIRST_CLIP,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
    max_clips_per_class: int | None = None,
    load_mel: Callable[[str], np.ndarray] | None = None,
    require_train: bool = True,
    keep_audio: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """
    Writes a mel dataset: a `DatasetDict` (for `load_from_disk`) with the columns `id` (string), `label` (ClassLabel)
    and `mel` (float16 of shape `(feature_size, num_mel_frames)`, in [0, 1]), beside it `preprocessor_config.json`,
    `build_report.json` and a card, `README.md`. Memory use does not depend on the length of the files, and
    hardly on their number: some hundred bytes of notes for each. A killed build goes on where it stopped when it is
    repeated, see [`build_sharded`].

    Args:
        listing (`AudioListing`): the files and their classes. Those without a split are divided by
            [`stratified_splits`] before any of them is read.
        data_dir (`str` or `Path`): the folder the clips come from.
        output_dir (`str` or `Path`): the folder to write.
        feature_extractor (`MelFeatureExtractor`): fixes the length of the clips and the mel recipe.
        clip_options (`ClipOptions`): how a file is cut to clips, trimmed and levelled.
        validation_fraction, test_fraction (`float`): shares of the files without a split that go to validation and
            test, in [0, 1).
        seed (`int`): seed of that choice and of `max_clips_per_class`.
        max_clips_per_class (`int`): how many files are taken of each class at most; `None` for all.
        load_mel (`Callable`): reads a file whose name ends with .npy: its path -> mel of shape `(feature_size,
            num_mel_frames)`, or a `ValueError` that says what is wrong with it. It has to pickle.
        require_train (`bool`): whether a dataset without training clips is an error, or only gets a warning.
        keep_audio (`bool`): whether to add the column `audio`, 16-bit PCM of the clip that the mel is of: what
            train_vocoder reads. It takes 3.2 times the space of the mel.
        num_proc (`int`): worker processes; `None` for none.
        overwrite (`bool`): whether to replace an earlier build.

    Returns:
        The report that is written: clips per split and class, what was left out and why, warnings, and facts about
        the clips.

    Raises:
        ValueError: if the output folder must not be written, or no training clip (no clip at all) can be read.
        OSError: as in [`build_sharded`].
    """
    if not listing.clips:
        raise ValueError(f"No clip was found in `data_dir`. {first_reasons(listing.left_out)}".rstrip())
    check_fractions(validation_fraction, test_fraction)
    class_names = listing.class_names or sorted({clip.label for clip in listing.clips})
    clips = cap_per_class(listing.clips, max_clips_per_class, seed)
    splits = _divide(clips, split_clips(clips, validation_fraction, seed, test_fraction))
    settings = {
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "max_clips_per_class": max_clips_per_class,
        "keep_audio": keep_audio,
        "clip_options": dataclasses.asdict(clip_options),
        "feature_extractor": feature_extractor.to_dict(),
        "sources": _digest(splits, class_names),
    }
    job = _MelJob(feature_extractor, clip_options, class_names, load_mel, keep_audio)

    def finish(folder: Path, shards: list[tuple[Shard, dict[str, Any]]]) -> dict[str, Any]:
        clip_seconds = feature_extractor.num_samples / feature_extractor.sampling_rate
        report = mel_report(shards, class_names, clip_seconds, listing, check_no_leak(clips), require_train)
        feature_extractor.save_pretrained(folder, save_code=False)
        write_dataset_card(folder, report)
        log_report(report)
        return report

    return build_sharded(output_dir, data_dir, splits, settings, job, finish, num_proc, overwrite)


def _divide(clips: list[AudioClip], chosen: list[str]) -> dict[str, list[AudioClip]]:
    """Split name -> its clips, in their order; a split without clips is absent."""
    splits = {split: [] for split in SPLITS}
    for clip, split in zip(clips, chosen, strict=True):
        splits[split].append(clip)
    return {split: members for split, members in splits.items() if members}


def _digest(splits: dict[str, list[AudioClip]], class_names: list[str]) -> str:
    """A text that changes with the files (their ids, classes, splits, sizes and times of change) and the classes."""
    digest = hashlib.sha256("\n".join(class_names).encode())
    for split, clips in splits.items():
        for clip in clips:
            try:
                stat = os.stat(clip.path)
                state = f"{stat.st_size}\t{stat.st_mtime_ns}"
            except OSError:
                state = "unreadable"
            digest.update(f"\n{split}\t{clip.clip_id}\t{clip.label}\t{state}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@dataclass
class _MelJob:
    """Shards of mels."""

    feature_extractor: MelFeatureExtractor
    clip_options: ClipOptions
    class_names: list[str]
    load_mel: Callable[[str], np.ndarray] | None
    keep_audio: bool

    description = "Sound files to mels"

    @property
    def features(self) -> Features:
        """Types of the columns."""
        shape = (self.feature_extractor.feature_size, self.feature_extractor.num_mel_frames)
        label = ClassLabel(names=self.class_names)
        audio = {"audio": List(Value("int16"), length=self.feature_extractor.num_samples)} if self.keep_audio else {}
        return Features({"id": Value("string"), "label": label, "mel": Array2D(shape, "float16")} | audio)

    def prepare(self, device: torch.device | None) -> None:
        """There is nothing to load, and mels are computed on the CPU."""

    def item_name(self, item: AudioClip) -> str:
        """The file."""
        return repr(item.clip_id)

    def rows(self, shard: Shard, notes: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A row per clip; `notes` gets `left_out`, and for every row its class and [`clip_facts`]."""
        notes |= {"left_out": [], "labels": [], "facts": {}}
        label_ids = {name: label_id for label_id, name in enumerate(self.class_names)}
        for clip in shard.items:
            try:
                for suffix, sounds in self._sounds(clip.path):
                    row = {"id": clip.clip_id + suffix, "label": label_ids[clip.label]} | sounds
                    notes["labels"].append(row["label"])
                    notes["facts"][row["id"]] = clip_facts(row["mel"])
                    yield row
            except ValueError as error:
                notes["left_out"].append({"file": clip.clip_id, "reason": str(error)})

    def _sounds(self, path: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Suffix of the id, and `mel` and perhaps `audio`, of each clip of a file."""
        if self.load_mel is not None and path.endswith(MEL_EXTENSION):
            if self.keep_audio:
                raise ValueError("it is a mel without its sound; build from sound files, or without `keep_audio`")
            yield "", {"mel": self.load_mel(path).astype(np.float16)}
            return
        for suffix, samples, sampling_rate in read_clips(path, self.feature_extractor, self.clip_options):
            mel = self.feature_extractor.mel_spectrogram([samples], sampling_rate, resample=True)[0]
            sounds = {"mel": mel.numpy().astype(np.float16)}
            if self.keep_audio:
                waveform = self.feature_extractor.whole_clips([samples], sampling_rate, resample=True)[0]
                sounds["audio"] = (waveform * PCM_SCALE).round().clamp(-PCM_SCALE, PCM_SCALE - 1).short().numpy()
            yield suffix, sounds

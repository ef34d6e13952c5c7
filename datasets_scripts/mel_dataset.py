"""How does a list of sound files become a mel dataset on disk?"""

import json
import logging
import random
import time
import uuid
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value

from melspec_gpt.datasets_scripts.audio_sources import AudioClip, AudioListing, read_audio
from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE, WorkFolders, output_folder
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
# Mels held in memory before they go to disk: a 10-second mel takes 138 kB.
ROWS_IN_MEMORY = 64
# Read beyond the end of the clip, so that the resampling filter sees no edge inside it.
RESAMPLING_MARGIN_SECONDS = 1.0
REASONS_SHOWN = 10


def build_mel_dataset(
    listing: AudioListing,
    data_dir: str | Path,
    output_dir: str | Path,
    feature_extractor: MelFeatureExtractor,
    validation_fraction: float = 0.0,
    seed: int = 0,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Writes a mel dataset: a `DatasetDict` (for `load_from_disk`) with the columns `id` (string), `label` (ClassLabel)
    and `mel` (float16 of shape `(feature_size, num_mel_frames)`, in [0, 1]), beside it `preprocessor_config.json` and
    `build_report.json`. Memory use does not depend on the number of clips.

    Args:
        listing (`AudioListing`): the clips and their classes. Those without a split are divided by
            [`stratified_splits`], after the unreadable ones are known.
        data_dir (`str` or `Path`): the folder the clips come from.
        output_dir (`str` or `Path`): the folder to write.
        feature_extractor (`MelFeatureExtractor`): fixes the length of the clips and the mel recipe.
        validation_fraction (`float`): share of the clips without a split that go to validation, in [0, 1).
        seed (`int`): seed of that choice.
        num_proc (`int`): worker processes; `None` for none.
        overwrite (`bool`): whether to replace an earlier build.

    Returns:
        The report that is written: clips per split and class, what was left out and why, warnings, seconds.

    Raises:
        ValueError: if the output folder must not be written, or no training clip can be read.
    """
    _check_options(listing, validation_fraction, num_proc)
    started = time.monotonic()
    with output_folder(output_dir, overwrite, source_dir=data_dir) as folders:
        converted = _convert(listing.clips, feature_extractor, folders, num_proc)
        errors = converted["error"][:]
        left_out = [
            {"file": clip.clip_id, "reason": error} for clip, error in zip(listing.clips, errors, strict=True) if error
        ]
        rows_of_split = _choose_splits(listing.clips, errors, validation_fraction, seed)
        _require_training_clips(rows_of_split, left_out + listing.left_out)
        class_names = listing.class_names or _labels_of(listing.clips, rows_of_split)
        dataset = DatasetDict(
            {
                split: _labelled(converted, rows, listing.clips, class_names, folders.cache / f"{split}.arrow")
                for split, rows in rows_of_split.items()
            }
        )
        dataset.save_to_disk(folders.result)
        feature_extractor.save_pretrained(folders.result, save_code=False)
        report = _report(dataset, class_names, listing, left_out)
        report["seconds"] = round(time.monotonic() - started, 2)
        write_report(report, folders.result)
    _log_report(report, output_dir)
    return report


def stratified_splits(labels: list[str], validation_fraction: float, seed: int) -> list[str]:
    """
    "train" or "validation" for each clip. Of each class the given share (rounded) goes to validation, but of two or
    more clips at least one and never all. The choice in one class does not depend on the other classes.
    """
    members = defaultdict(list)
    for position, label in enumerate(labels):
        members[label].append(position)
    splits = ["train"] * len(labels)
    for label, positions in members.items():
        if validation_fraction == 0 or len(positions) == 1:
            continue
        count = min(max(round(len(positions) * validation_fraction), 1), len(positions) - 1)
        for position in random.Random(f"{seed}/{label}").sample(positions, count):
            splits[position] = "validation"
    return splits


def write_report(report: dict, folder: Path) -> None:
    """Writes `report` as build_report.json."""
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    # Names that are not valid UTF-8 are reported with escapes.
    (folder / REPORT_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")


def _check_options(listing: AudioListing, validation_fraction: float, num_proc: int | None) -> None:
    if not listing.clips:
        raise ValueError(f"No clip was found in `data_dir`. {_first_reasons(listing.left_out)}")
    if num_proc is not None and num_proc < 1:
        raise ValueError(f"`num_proc` is {num_proc}; it has to be at least 1.")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"`validation_fraction` is {validation_fraction}; it has to lie in [0, 1), 0 for none.")


def _convert(
    clips: list[AudioClip], feature_extractor: MelFeatureExtractor, folders: WorkFolders, num_proc: int | None
) -> Dataset:
    """Dataset with one row per clip, in order: `id`, `mel`, and `error`, empty for a clip that could be read."""
    num_workers = min(num_proc or 1, len(clips))
    mel_shape = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    features = Features({"id": Value("string"), "error": Value("string"), "mel": Array2D(mel_shape, "float16")})
    source = Dataset.from_dict({"id": [clip.clip_id for clip in clips], "path": [clip.path for clip in clips]})
    # A new fingerprint and a file of our own: nothing is taken from, or left in, a cache of earlier builds.
    return source.map(
        _mel_row,
        fn_kwargs={"feature_extractor": feature_extractor},
        with_rank=True,
        remove_columns=["path"],
        features=features,
        num_proc=num_workers if num_workers > 1 else None,
        cache_file_name=str(folders.cache / "converted.arrow"),
        load_from_cache_file=False,
        new_fingerprint=uuid.uuid4().hex,
        writer_batch_size=ROWS_IN_MEMORY,
        desc="Sound files to mels",
    )


def _mel_row(row: dict, rank: int | None, feature_extractor: MelFeatureExtractor) -> dict:
    if rank is not None:  # a worker: the processes share the cores already
        torch.set_num_threads(1)
    seconds = feature_extractor.num_samples / feature_extractor.sampling_rate + RESAMPLING_MARGIN_SECONDS
    try:
        audio, sampling_rate = read_audio(row["path"], max_seconds=seconds)
        mel = feature_extractor.mel_spectrogram([audio], sampling_rate, resample=True)[0]
    except ValueError as error:
        empty = np.zeros((feature_extractor.feature_size, feature_extractor.num_mel_frames), dtype=np.float16)
        return {"mel": empty, "error": str(error)}
    return {"mel": mel.numpy().astype(np.float16), "error": ""}


def _choose_splits(
    clips: list[AudioClip], errors: list[str], validation_fraction: float, seed: int
) -> dict[str, list[int]]:
    """Split name -> rows of its readable clips; a split without clips is absent."""
    readable = [row for row, error in enumerate(errors) if not error]
    split_of_row = {row: clips[row].split for row in readable}
    undecided = [row for row in readable if split_of_row[row] is None]
    chosen = stratified_splits([clips[row].label for row in undecided], validation_fraction, seed)
    split_of_row.update(zip(undecided, chosen, strict=True))
    rows_of_split = {split: [row for row in readable if split_of_row[row] == split] for split in SPLITS}
    return {split: rows for split, rows in rows_of_split.items() if rows}


def _require_training_clips(rows_of_split: dict[str, list[int]], left_out: list[dict[str, str]]) -> None:
    if "train" not in rows_of_split:
        num_readable = sum(len(rows) for rows in rows_of_split.values())
        raise ValueError(
            f"No clip is left for training: {num_readable} could be read, none of them in the split train, and "
            f"{len(left_out)} were left out. {_first_reasons(left_out)}"
        )


def _labels_of(clips: list[AudioClip], rows_of_split: dict[str, list[int]]) -> list[str]:
    return sorted({clips[row].label for rows in rows_of_split.values() for row in rows})


def _first_reasons(left_out: list[dict[str, str]]) -> str:
    return "; ".join(f"{entry['file']}: {entry['reason']}" for entry in left_out[:REASONS_SHOWN])


def _labelled(
    converted: Dataset, rows: list[int], clips: list[AudioClip], class_names: list[str], cache_file: Path
) -> Dataset:
    """The given rows of `converted` with their labels. Copied as Arrow tables: as Python lists mels are huge."""
    id_of_name = {name: label_id for label_id, name in enumerate(class_names)}
    label_ids = np.array([id_of_name[clips[row].label] for row in rows], dtype=np.int64)
    mel = converted.features["mel"]
    features = Features({"id": Value("string"), "label": ClassLabel(names=class_names), "mel": mel})

    def add_labels(table: pa.Table, positions: list[int]) -> pa.Table:
        columns = [table["id"], pa.array(label_ids[positions]), table["mel"]]
        return pa.Table.from_arrays(columns, schema=features.arrow_schema)

    dataset = converted.select(rows).with_format("arrow")
    dataset = dataset.map(
        add_labels,
        with_indices=True,
        batched=True,
        batch_size=ROWS_IN_MEMORY,
        remove_columns=["error"],
        features=features,
        cache_file_name=str(cache_file),
        load_from_cache_file=False,
        new_fingerprint=uuid.uuid4().hex,
        desc="Labels",
    )
    return dataset.with_format(None)


def _report(dataset: DatasetDict, class_names: list[str], listing: AudioListing, left_out: list[dict]) -> dict:
    counts = {
        split: np.bincount(np.array(rows["label"][:]), minlength=len(class_names)).tolist()
        for split, rows in dataset.items()
    }
    per_class = {name: {split: counts[split][index] for split in counts} for index, name in enumerate(class_names)}
    lost = sorted({clip.label for clip in listing.clips} - set(class_names))
    untrained = [name for name, numbers in per_class.items() if numbers["train"] == 0]
    warnings = [f"No clip of {name!r} can be read, so it is no class." for name in lost]
    warnings += [f"The class {name!r} has no training clip." for name in untrained]
    return {
        "clips": {split: rows.num_rows for split, rows in dataset.items()},
        "clips_per_class": per_class,
        "num_left_out": len(listing.left_out + left_out),
        "left_out": listing.left_out + left_out,
        "warnings": listing.warnings + warnings,
    }


def _log_report(report: dict, output_dir: str | Path) -> None:
    for warning in report["warnings"]:
        logger.warning(warning)
    for entry in report["left_out"][:REASONS_SHOWN]:
        logger.warning("Left out %s: %s", entry["file"], entry["reason"])
    logger.info(
        "Wrote %s: %s clips of %d classes in %.1f s. Files left out: %d%s.",
        output_dir,
        " + ".join(f"{count} {split}" for split, count in report["clips"].items()),
        len(report["clips_per_class"]),
        report["seconds"],
        report["num_left_out"],
        f" (see {REPORT_FILE})" if report["left_out"] else "",
    )

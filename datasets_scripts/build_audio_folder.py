"""How does a folder of somebody's own clips become a mel dataset?"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from melspec_gpt.datasets_scripts.audio_sources import (
    AUDIO_EXTENSIONS,
    FILE_COLUMNS,
    LABEL_COLUMNS,
    AudioListing,
    check_data_dir,
    clean_class_name,
    find_audio_files,
    find_column,
    find_metadata,
    find_source_column,
    ignored_files_warning,
    is_hidden,
    read_metadata,
)
from melspec_gpt.datasets_scripts.build_arguments import (
    add_clip_arguments,
    add_cutting_arguments,
    add_output_arguments,
    cutting_options,
    run_build,
)
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

CLIP_SECONDS = 10.0
VALIDATION_FRACTION = 0.1
SPLIT_COLUMN = "split"
# Spellings of the split column -> split names of the dataset.
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def build_audio_folder(
    data_dir: str | Path,
    output_dir: str | Path,
    clip_seconds: float = CLIP_SECONDS,
    hop_seconds: float | None = None,
    short_clips: str = "repeat",
    trim_silence: float | None = None,
    loudness: float | None = None,
    validation_fraction: float = VALIDATION_FRACTION,
    test_fraction: float = 0.0,
    max_clips_per_class: int | None = None,
    seed: int = 0,
    keep_audio: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Builds a mel dataset from a folder of sound files or videos. Files longer than a clip are cut to several clips,
    which always share a split.

    Args:
        data_dir (`str` or `Path`): holds one folder per class with the files in it, or a metadata.csv or
            metadata.jsonl with the columns `file_name` (or `filename`), `label` (or `class_name`) and optionally
            `split` (train, validation, test) and `source_id` (or `source`, `youtube_id`, `freesound_id`).
        output_dir (`str` or `Path`): the folder to write, see [`build_mel_dataset`].
        clip_seconds (`float`): length of every clip, s.
        hop_seconds (`float`): distance between the clips of one file, s; `None` for the length of a clip, 0 to take
            only the first clip of each file.
        short_clips (`str`): `"repeat"` or `"zero"`, see [`MelFeatureExtractor`].
        trim_silence, loudness (`float`): how clips are trimmed (dB) and levelled (dBFS), see [`ClipOptions`].
        validation_fraction, test_fraction (`float`): shares of each class held out where no split is given. Files of
            one source stay together.
        max_clips_per_class (`int`): files kept of each class; `None` keeps all.
        seed (`int`): seed of both choices.
        keep_audio, num_proc, overwrite: see [`build_mel_dataset`].

    Returns:
        The report, see [`build_mel_dataset`].

    Raises:
        ValueError: if `data_dir` holds no clips in one of these forms, and as in [`build_mel_dataset`].
    """
    return build_mel_dataset(
        list_audio_folder(data_dir),
        data_dir,
        output_dir,
        MelFeatureExtractor.from_clip_seconds(clip_seconds, short_clips=short_clips),
        clip_options=cutting_options(clip_seconds, hop_seconds, trim_silence, loudness),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        max_clips_per_class=max_clips_per_class,
        keep_audio=keep_audio,
        num_proc=num_proc,
        overwrite=overwrite,
    )


def list_audio_folder(data_dir: str | Path) -> AudioListing:
    """The clips that the metadata file of `data_dir` lists or, without one, those in its class folders."""
    data_dir = check_data_dir(data_dir)
    metadata = find_metadata(data_dir)
    return _list_class_folders(data_dir) if metadata is None else _list_metadata(data_dir, metadata)


def _list_class_folders(data_dir: Path) -> AudioListing:
    listing = AudioListing()
    for folder in sorted(path for path in data_dir.iterdir() if not is_hidden(path.name)):
        if not folder.is_dir():
            continue
        audio, others = find_audio_files(folder)
        listing.warnings += ignored_files_warning(others, f"no sound files in the folder {folder.name!r}")
        if not audio:
            listing.warnings.append(f"The folder {folder.name!r} holds no sound file, so it is no class.")
        for path in audio:
            name = path.relative_to(data_dir).as_posix()
            listing.add(data_dir, name, clean_class_name(folder.name), split=None)
    beside = [path for path in sorted(data_dir.iterdir()) if path.suffix.lower() in AUDIO_EXTENSIONS]
    listing.warnings += ignored_files_warning(beside, "sound files that lie in no class folder")
    if not listing.clips:
        raise ValueError(
            f"`data_dir` {str(data_dir)!r} holds no clips. Put them in one folder per class, as in "
            f"'dog/1.wav', or list them in a metadata.csv; the files read are {', '.join(AUDIO_EXTENSIONS)}."
        )
    return listing


def _list_metadata(data_dir: Path, metadata: Path) -> AudioListing:
    listing = AudioListing()
    rows = read_metadata(metadata)
    file_column, label_column = find_column(rows, FILE_COLUMNS, metadata), find_column(rows, LABEL_COLUMNS, metadata)
    source_column = find_source_column(rows)
    has_splits = any(SPLIT_COLUMN in row for row in rows)
    for row in rows:
        name, label = row.get(file_column, ""), clean_class_name(row.get(label_column, ""))
        split = SPLIT_NAMES.get(row.get(SPLIT_COLUMN, "").lower()) if has_splits else None
        if has_splits and split is None:
            found = row.get(SPLIT_COLUMN, "")
            listing.leave_out(name, f"its split is {found!r}; expected one of {', '.join(SPLIT_NAMES)}")
        else:
            listing.add(data_dir, name, label, split, row.get(source_column) or None)
    return listing


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_audio_folder`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Turn a folder of your own clips into a mel dataset, the input of train_audio_tokenizer.",
    )
    parser.add_argument(
        "--data_dir",
        required=True,
        help="folder with one folder of sound files or videos per class (dog/1.wav, rain/a.mp4), or with a "
        "metadata.csv or metadata.jsonl: columns file_name, label and, if you like, split (train, validation, test) "
        "and source_id (the recording a file comes from; a recording is never in two splits)",
    )
    add_output_arguments(parser)
    add_clip_arguments(parser, CLIP_SECONDS)
    add_cutting_arguments(parser)
    for split, default in (("validation", VALIDATION_FRACTION), ("test", 0.0)):
        parser.add_argument(
            f"--{split}_fraction",
            type=float,
            default=default,
            help=f"share of each class held out for the {split} split where no split is given; 0 for none "
            "(default: %(default)s)",
        )
    parser.add_argument(
        "--max_clips_per_class", type=int, default=None, help="files to take of each class (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of these choices (default: %(default)s)")
    run_build(parser, build_audio_folder, argv)


if __name__ == "__main__":
    main()

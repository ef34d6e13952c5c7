"""How does the ESC-10 collection of environmental sounds become a mel dataset?"""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from melspec_gpt.datasets_scripts.audio_sources import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    AudioListing,
    check_data_dir,
    clean_class_name,
    find_audio_files,
    find_column,
    find_metadata,
    ignored_files_warning,
    read_metadata,
)
from melspec_gpt.datasets_scripts.build_arguments import add_clip_arguments, add_output_arguments, run_build
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

CLASS_FOLDER = re.compile(r"(\d+) - (.+)")
FOLD_OF_FILE = re.compile(r"(\d+)-")
CLIP_SECONDS = 5.0
VALIDATION_FOLDS = (4,)
TEST_FOLDS = (5,)


def build_esc10(
    data_dir: str | Path,
    output_dir: str | Path,
    clip_seconds: float = CLIP_SECONDS,
    validation_folds: Iterable[int] = VALIDATION_FOLDS,
    test_folds: Iterable[int] = TEST_FOLDS,
    classes: Iterable[str] | None = None,
    short_clips: str = "repeat",
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Builds the mel dataset of ESC-10 (Piczak, 2015, doi:10.1145/2733373.2806390). Clips of one recording always share
    a fold, so splits are made of whole folds; every fold that is not named is for training. A split without clips is
    not written.

    Args:
        data_dir (`str` or `Path`): holds class folders such as `001 - Dog bark`, optionally a metadata.csv with the
            columns `filename`, `fold`, `class_name`. Without it the fold is the number that a file name starts with.
        output_dir (`str` or `Path`): the folder to write, see [`build_mel_dataset`].
        clip_seconds (`float`): length of every clip, s.
        validation_folds, test_folds (iterable of `int`): the folds held out; empty for none.
        classes (iterable of `str`): names of the classes to keep; `None` keeps all.
        short_clips (`str`): `"repeat"` or `"zero"`, see [`MelFeatureExtractor`].
        num_proc, overwrite: see [`build_mel_dataset`].

    Returns:
        The report, see [`build_mel_dataset`].

    Raises:
        ValueError: for folders, classes or folds that do not exist, and as in [`build_mel_dataset`].
    """
    feature_extractor = MelFeatureExtractor.from_clip_seconds(clip_seconds, short_clips=short_clips)
    listing = list_esc10(data_dir, validation_folds, test_folds, classes)
    return build_mel_dataset(listing, data_dir, output_dir, feature_extractor, num_proc=num_proc, overwrite=overwrite)


def list_esc10(
    data_dir: str | Path,
    validation_folds: Iterable[int] = VALIDATION_FOLDS,
    test_folds: Iterable[int] = TEST_FOLDS,
    classes: Iterable[str] | None = None,
) -> AudioListing:
    """The clips of ESC-10 with their splits, in the order of the class folders. Arguments as in [`build_esc10`]."""
    data_dir = check_data_dir(data_dir)
    folders = _class_folders(data_dir)
    class_names = _chosen_classes(list(folders), classes)
    listing = AudioListing(class_names=class_names)
    metadata = find_metadata(data_dir)
    entries = _entries_of_folders(folders, listing) if metadata is None else _entries_of_metadata(metadata)
    split_of_fold = _split_of_fold({fold for _, _, fold in entries}, set(validation_folds), set(test_folds))
    for name, label, fold in entries:
        if label not in folders:
            listing.leave_out(name, f"its class {label!r} has no folder")
        elif not fold.isdecimal():
            listing.leave_out(name, f"its fold {fold!r} is not a number")
        elif label in class_names:
            listing.add(data_dir, name, label, split_of_fold[fold])
    return listing


def _class_folders(data_dir: Path) -> dict[str, Path]:
    """Class name -> folder, in the order of the folder numbers."""
    matches = [(CLASS_FOLDER.fullmatch(path.name), path) for path in data_dir.iterdir() if path.is_dir()]
    numbered = sorted((int(match[1]), clean_class_name(match[2]), path) for match, path in matches if match)
    if not numbered:
        raise ValueError(
            f"`data_dir` {str(data_dir)!r} has no class folder such as '001 - Dog bark'; give the top folder of "
            "ESC-10, or use build_audio_folder for clips of your own."
        )
    return {name: path for _, name, path in numbered}


def _chosen_classes(class_names: list[str], classes: Iterable[str] | None) -> list[str]:
    if classes is None:
        return class_names
    wanted = {clean_class_name(name) for name in classes}
    unknown = sorted(wanted - set(class_names))
    if unknown or not wanted:
        raise ValueError(f"`classes` holds {unknown}; choose from {class_names}.")
    return [name for name in class_names if name in wanted]


def _entries_of_folders(folders: dict[str, Path], listing: AudioListing) -> list[tuple[str, str, str]]:
    """(path inside the data folder, class name, fold) of every sound file; the fold starts the file name."""
    entries = []
    for label, folder in folders.items():
        audio, others = find_audio_files(folder)
        listing.warnings += ignored_files_warning(others, f"no sound files in the folder {folder.name!r}")
        for path in audio:
            match = FOLD_OF_FILE.match(path.name)
            entries.append((path.relative_to(folder.parent).as_posix(), label, match[1] if match else ""))
    return entries


def _entries_of_metadata(metadata: Path) -> list[tuple[str, str, str]]:
    """The same from the rows of the metadata file."""
    rows = read_metadata(metadata)
    name, label = find_column(rows, FILE_COLUMNS, metadata), find_column(rows, LABEL_COLUMNS, metadata)
    fold = find_column(rows, ("fold",), metadata)
    return [(row.get(name, ""), clean_class_name(row.get(label, "")), row.get(fold, "")) for row in rows]


def _split_of_fold(folds: set[str], validation_folds: set[int], test_folds: set[int]) -> dict[str, str]:
    numbers = {fold: int(fold) for fold in folds if fold.isdecimal()}
    if validation_folds & test_folds:
        raise ValueError(
            f"`validation_folds` {sorted(validation_folds)} and `test_folds` {sorted(test_folds)} share a fold; name "
            "each fold once."
        )
    if not validation_folds <= set(numbers.values()):
        raise ValueError(
            f"`validation_folds` is {sorted(validation_folds)}; the data has the folds {sorted(numbers.values())}. "
            "Without a number after the option no fold is held out."
        )
    held_out = dict.fromkeys(validation_folds, "validation") | dict.fromkeys(test_folds, "test")
    return {fold: held_out.get(number, "train") for fold, number in numbers.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_esc10`]."""
    parser = argparse.ArgumentParser(
        description="Turn the ESC-10 collection (10 classes of environmental sounds, 5 folds) into a mel dataset."
    )
    parser.add_argument(
        "--data_dir", required=True, help="top folder of ESC-10, the one that holds '001 - Dog bark' and so on"
    )
    add_output_arguments(parser)
    parser.add_argument(
        "--validation_folds",
        type=int,
        nargs="*",
        default=VALIDATION_FOLDS,
        help="folds of the validation split; without a number: no validation split (default: 4)",
    )
    parser.add_argument(
        "--test_folds",
        type=int,
        nargs="*",
        default=TEST_FOLDS,
        help="folds of the test split, used where they are present; without a number: no test split (default: 5)",
    )
    parser.add_argument("--classes", nargs="+", help='class names to keep, such as "Dog bark" Rain (default: all)')
    add_clip_arguments(parser, CLIP_SECONDS)
    run_build(parser, build_esc10, argv)


if __name__ == "__main__":
    main()

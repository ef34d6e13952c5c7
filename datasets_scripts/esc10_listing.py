"""Which clips does a copy of ESC-10 hold, in either of the layouts it is published in?"""

import re
from collections.abc import Iterable
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
    is_hidden,
    read_metadata,
)
from melspec_gpt.datasets_scripts.listed_clips import choose_classes

VALIDATION_FOLDS = (4,)
TEST_FOLDS = (5,)
CLASS_FOLDER = re.compile(r"(\d+) - (.+)")
# Fold and Freesound id of the recording, as in 1-100032-A.ogg or 1-100032-A-0.wav.
FILE_NAME = re.compile(r"(\d+)-(?:(\d+)-)?")
ESC50_METADATA = Path("meta", "esc50.csv")
ESC50_AUDIO = "audio"
ESC50_COLUMNS = ("filename", "fold", "category", "esc10")
# Category of ESC-50 -> name of the class in ESC-10, in the order of ESC-10.
ESC50_CATEGORIES = {
    "dog": "Dog bark",
    "rain": "Rain",
    "sea_waves": "Sea waves",
    "crying_baby": "Baby cry",
    "clock_tick": "Clock tick",
    "sneezing": "Person sneeze",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
    "rooster": "Rooster",
    "crackling_fire": "Fire crackling",
}


def list_esc10(
    data_dir: str | Path,
    validation_folds: Iterable[int] = VALIDATION_FOLDS,
    test_folds: Iterable[int] = TEST_FOLDS,
    classes: Iterable[str] | None = None,
) -> AudioListing:
    """
    The clips of ESC-10 with their splits and recordings, in the order of the classes.

    Args:
        data_dir (`str` or `Path`): a copy of ESC-10 (class folders such as `001 - Dog bark`, optionally a
            metadata.csv) or of ESC-50 (`meta/esc50.csv` and `audio`), or a folder above one.
        validation_folds, test_folds (iterable of `int`): the folds held out; all others are for training.
        classes (iterable of `str`): the classes to keep; `None` keeps all.

    Raises:
        ValueError: for folders, classes or folds that do not exist.
    """
    data_dir = _collection_folder(check_data_dir(data_dir))
    listing = AudioListing()
    if (data_dir / ESC50_METADATA).is_file():
        class_names = list(ESC50_CATEGORIES.values())
        entries = _entries_of_esc50(data_dir / ESC50_METADATA)
    else:
        folders = _class_folders(data_dir)
        class_names, metadata = list(folders), find_metadata(data_dir)
        entries = _entries_of_folders(folders, listing) if metadata is None else _entries_of_metadata(metadata)
    listing.class_names = choose_classes(class_names, None if classes is None else map(clean_class_name, classes))
    split_of_fold = _split_of_fold({fold for _, _, fold in entries}, set(validation_folds), set(test_folds))
    for name, label, fold in entries:
        if label not in class_names:
            listing.leave_out(name, f"its class {label!r} has no folder")
        elif not fold.isdecimal():
            listing.leave_out(name, f"its fold {fold!r} is not a number")
        elif label in listing.class_names:
            match = FILE_NAME.match(Path(name).name)
            listing.add(data_dir, name, label, split_of_fold[fold], source_id=match[2] if match else None)
    return listing


def _collection_folder(data_dir: Path) -> Path:
    """`data_dir`, or the first folder up to two levels below it that has a known layout, as in an unpacked archive."""
    below = (path for pattern in ("*", "*/*") for path in sorted(data_dir.glob(pattern)))
    for folder in (data_dir, *(path for path in below if path.is_dir() and not is_hidden(path.name))):
        if (folder / ESC50_METADATA).is_file() or _class_folders(folder):
            return folder
    raise ValueError(
        f"`data_dir` {str(data_dir)!r} has no class folder such as '001 - Dog bark' and no {ESC50_METADATA}; give the "
        "top folder of ESC-10 or ESC-50, pass `--download`, or use build_audio_folder for clips of your own."
    )


def _class_folders(folder: Path) -> dict[str, Path]:
    """Class name -> folder, in the order of the folder numbers."""
    matches = [(CLASS_FOLDER.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir()]
    numbered = sorted((int(match[1]), clean_class_name(match[2]), path) for match, path in matches if match)
    return {name: path for _, name, path in numbered}


def _entries_of_folders(folders: dict[str, Path], listing: AudioListing) -> list[tuple[str, str, str]]:
    """(path inside the data folder, class name, fold) of every sound file; the fold starts the file name."""
    entries = []
    for label, folder in folders.items():
        audio, others = find_audio_files(folder)
        listing.warnings += ignored_files_warning(others, f"no sound files in the folder {folder.name!r}")
        for path in audio:
            match = FILE_NAME.match(path.name)
            entries.append((path.relative_to(folder.parent).as_posix(), label, match[1] if match else ""))
    return entries


def _entries_of_metadata(metadata: Path) -> list[tuple[str, str, str]]:
    """The same from the rows of the metadata file."""
    rows = read_metadata(metadata)
    name, label = find_column(rows, FILE_COLUMNS, metadata), find_column(rows, LABEL_COLUMNS, metadata)
    fold = find_column(rows, ("fold",), metadata)
    return [(row.get(name, ""), clean_class_name(row.get(label, "")), row.get(fold, "")) for row in rows]


def _entries_of_esc50(metadata: Path) -> list[tuple[str, str, str]]:
    """The same from the rows of meta/esc50.csv that belong to ESC-10, in the order of the classes."""
    rows = read_metadata(metadata)
    name, fold, category, member = (find_column(rows, (column,), metadata) for column in ESC50_COLUMNS)
    order = {label: number for number, label in enumerate(ESC50_CATEGORIES.values())}
    entries = [
        (f"{ESC50_AUDIO}/{row[name]}", ESC50_CATEGORIES.get(row[category], row[category]), row[fold])
        for row in rows
        if row[member].lower() == "true"
    ]
    return sorted(entries, key=lambda entry: order.get(entry[1], len(order)))


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

"""Which of the clips that a data set's published lists name are there, in which layout, and which are missing?"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from melspec_gpt.datasets_scripts.audio_sources import (
    CONTAINER_EXTENSIONS,
    SOUNDFILE_EXTENSIONS,
    AudioClip,
    AudioListing,
    is_hidden,
)
from melspec_gpt.datasets_scripts.mel_files import MEL_SUFFIX

# In the order in which they are preferred where a folder has several.
LAYOUTS = {"features": "published mels", "videos": "videos", "audio": "sound files"}
AUTO_LAYOUT = "auto"
# Split of a dataset -> how the file with its list is called.
LIST_NAMES = {"train": "train", "validation": "valid", "test": "test"}


@dataclass
class FoundClips:
    """
    The clip files of a data set.

    Args:
        layout (`str`): a key of `LAYOUTS`.
        paths (`dict[str, Path]`): clip id -> file.
        warnings (`list[str]`): what was passed over, one sentence each.
    """

    layout: str
    paths: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def find_clips(folders: Iterable[Path], clip_id_of: Callable[[Path], str | None], layout: str) -> FoundClips:
    """
    Looks for clip files below `folders`, at any depth. Hidden entries are skipped; links are followed, but no folder
    is searched twice.

    Args:
        folders (iterable of `Path`): where to look.
        clip_id_of (`Callable`): gives the id of a clip from its path inside the folder without the ending of the file
            name, or `None` for a file that is no clip of the data set.
        layout (`str`): a key of `LAYOUTS`, or `"auto"` for the first of them that has clips.
    """
    found = {name: FoundClips(name) for name in LAYOUTS}
    copies = {name: [] for name in LAYOUTS}
    for folder, path in _files_below(folders):
        kind, bare_name = _kind(path)
        clip_id = None if kind is None else clip_id_of(path.relative_to(folder).with_name(bare_name))
        if clip_id is None:
            continue
        if clip_id in found[kind].paths:
            copies[kind].append(path)
        else:
            found[kind].paths[clip_id] = path
    if layout == AUTO_LAYOUT:
        layout = next((name for name in LAYOUTS if found[name].paths), next(iter(LAYOUTS)))
    chosen = found[layout]
    if copies[layout]:
        count, first = len(copies[layout]), copies[layout][0]
        chosen.warnings.append(f"Passed over {count} files of clips that other files hold already, such as {first}.")
    counts = {what: len(found[name].paths) for name, what in LAYOUTS.items() if name != layout}
    others = [f"{count} {what}" for what, count in counts.items() if count]
    if others:
        chosen.warnings.append(
            f"The clips are taken from {LAYOUTS[layout]}; there are also {' and '.join(others)} (see `--layout`)."
        )
    return chosen


def add_listed_clips(
    listing: AudioListing,
    found: FoundClips,
    split_of_clip: Mapping[str, str | None],
    label_of_clip: Callable[[str], str | None],
    source_of_clip: Callable[[str], str | None] = lambda clip_id: None,
) -> None:
    """
    Adds the clips that are both listed and there, in the order of the lists. Files that no list names, and clips
    without a label, are left out by name; listed clips without a file are missing. Clips of classes outside
    `listing.class_names` are passed over.

    Args:
        listing (`AudioListing`): gets all that; it names the classes.
        found (`FoundClips`): the files.
        split_of_clip (`Mapping`): clip id -> split, `None` for one that is still to be chosen.
        label_of_clip (`Callable`): clip id -> class name, `None` if it has none.
        source_of_clip (`Callable`): clip id -> the recording it was cut from, `None` if that is not known.

    Raises:
        ValueError: if no listed clip is there.
    """
    listing.warnings += found.warnings
    kept_classes = set(listing.class_names)
    lost = Counter()
    for clip_id, split in split_of_clip.items():
        label = label_of_clip(clip_id)
        if label is not None and label not in kept_classes:
            continue
        if clip_id not in found.paths:
            listing.missing.append(clip_id)
            lost[split] += 1
        elif label is None:
            listing.leave_out(clip_id, "it has no class")
        else:
            path = str(found.paths[clip_id])
            listing.clips.append(AudioClip(clip_id, path, label, split, source_of_clip(clip_id)))
    for clip_id in sorted(found.paths.keys() - split_of_clip.keys()):
        listing.leave_out(clip_id, "no split list names it")
    if not listing.clips:
        raise ValueError(_nothing_found(found, listing))
    if lost:
        counts = ", ".join(f"{count} {split or 'undecided'}" for split, count in lost.items())
        total = len(listing.missing) + len(listing.clips)
        listing.warnings.append(f"Of {total} listed clips {len(listing.missing)} are not there: {counts}.")


def read_split_lists(folder: str | Path, prefix: str) -> dict[str, str]:
    """
    Clip id -> split from the files `<prefix>_train.txt`, `<prefix>_valid.txt` and `<prefix>_test.txt` of `folder`, one
    id per line. Only the last one may be absent.

    Raises:
        ValueError: if a list is absent or empty, or a clip is in two lists.
    """
    split_of_clip: dict[str, str] = {}
    for split, name in LIST_NAMES.items():
        path = Path(folder, f"{prefix}_{name}.txt")
        if not path.is_file():
            if split == "test":
                continue
            raise ValueError(f"There is no split list {path}; expected one clip per line, as in the published lists.")
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
        clip_ids = dict.fromkeys(line.strip() for line in lines if line.strip())
        if not clip_ids:
            raise ValueError(f"The split list {path} is empty; it has to name one clip per line.")
        repeated = next((clip_id for clip_id in clip_ids if clip_id in split_of_clip), None)
        if repeated is not None:
            raise ValueError(f"The clip {repeated!r} is in the lists of {split_of_clip[repeated]} and {split}.")
        split_of_clip.update(dict.fromkeys(clip_ids, split))
    return split_of_clip


def choose_classes(class_names: list[str], classes: Iterable[str] | None) -> list[str]:
    """
    The members of `class_names` that `classes` names, in their order; all of them for `None`.

    Raises:
        ValueError: if `classes` is empty or names an unknown class.
    """
    wanted = set(class_names if classes is None else classes)
    unknown = sorted(wanted - set(class_names))
    if unknown or not wanted:
        raise ValueError(f"`classes` holds {unknown}; choose from {class_names}.")
    return [name for name in class_names if name in wanted]


def _kind(path: Path) -> tuple[str | None, str]:
    """Layout that a file belongs to, `None` for no clip file, and its name without the ending."""
    if path.name.endswith(MEL_SUFFIX):
        return "features", path.name.removesuffix(MEL_SUFFIX)
    extension = path.suffix.lower()
    if extension in CONTAINER_EXTENSIONS:
        return "videos", path.stem
    return ("audio" if extension in SOUNDFILE_EXTENSIONS else None), path.stem


def _files_below(folders: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """(Folder it was found in, path) of every file, in a fixed order."""
    searched = set()
    for folder in folders:
        for parent, below, files in os.walk(folder, followlinks=True):
            real = os.path.realpath(parent)
            below[:] = [] if real in searched else sorted(name for name in below if not is_hidden(name))
            if real not in searched:
                searched.add(real)
                yield from ((folder, Path(parent, name)) for name in sorted(files) if not is_hidden(name))


def _nothing_found(found: FoundClips, listing: AudioListing) -> str:
    what = LAYOUTS[found.layout]
    if found.paths:
        shown = ", ".join(sorted(found.paths)[:3])
        return f"`data_dir` holds {len(found.paths)} {what} ({shown}, ...), and the split lists name none of them."
    reasons = "; ".join(f"{entry['file']}: {entry['reason']}" for entry in listing.left_out[:3])
    return f"`data_dir` holds no {what} of this data set. {reasons}".rstrip()

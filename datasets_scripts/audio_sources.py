"""Which sound files does a folder hold, and to which class, split and recording does each belong?"""

import csv
import json
import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# What soundfile's own library reads without FFmpeg.
SOUNDFILE_EXTENSIONS = (".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
# Videos, and sound in their containers.
CONTAINER_EXTENSIONS = (
    *(".3gp", ".aac", ".ac3", ".amr", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".ogv", ".webm", ".wma", ".wmv", ".wv"),
)
AUDIO_EXTENSIONS = (*SOUNDFILE_EXTENSIONS, *CONTAINER_EXTENSIONS)
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMNS = ("file_name", "filename")
LABEL_COLUMNS = ("label", "class_name")
SOURCE_COLUMNS = ("source_id", "source", "youtube_id", "freesound_id")


@dataclass(frozen=True)
class AudioClip:
    """
    One sound file of a data set.

    Args:
        clip_id (`str`): its path inside the data folder, with slashes; unique.
        path (`str`): where it lies.
        label (`str`): class name.
        split (`str`): name of the split it belongs to; `None` if it is still to be chosen.
        source_id (`str`): the recording it was cut from, where that is known. Clips of one recording share a split.
    """

    clip_id: str
    path: str
    label: str
    split: str | None = None
    source_id: str | None = None


@dataclass
class AudioListing:
    """
    What was found in a data folder.

    Args:
        clips (`list[AudioClip]`): the clips, in a fixed order.
        class_names (`list[str]`): all classes in label order; `None` for those that have a readable clip, sorted.
        left_out (`list[dict]`): entries that are no clip, each with `file` and `reason`.
        warnings (`list[str]`): remarks for the user, one sentence each.
        missing (`list[str]`): ids of clips that a published list names and that are not there.
    """

    clips: list[AudioClip] = field(default_factory=list)
    class_names: list[str] | None = None
    left_out: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _clip_ids: set[str] = field(default_factory=set, repr=False)

    def add(self, data_dir: Path, name: str, label: str, split: str | None, source_id: str | None = None) -> None:
        """Adds the clip `name`, a path inside `data_dir`; leaves out what is no such path, unlabelled or repeated."""
        try:
            path = path_inside(data_dir, name)
            clip_id = path.relative_to(data_dir).as_posix()
            clip_id.encode("utf-8")
        except UnicodeEncodeError:
            self.leave_out(name, "its name is not valid UTF-8; rename it")
            return
        except ValueError as error:
            self.leave_out(name, str(error))
            return
        if not label or clip_id in self._clip_ids:
            self.leave_out(name, "it is listed more than once" if label else "it has no class name")
            return
        self._clip_ids.add(clip_id)
        self.clips.append(AudioClip(clip_id, str(path), label, split, source_id))

    def leave_out(self, name: str, reason: str) -> None:
        """Notes that the entry `name` is no clip, and why."""
        self.left_out.append({"file": name, "reason": reason})


def check_data_dir(data_dir: str | Path) -> Path:
    """`data_dir` as an absolute path; `ValueError` if it is no folder."""
    folder = Path(data_dir).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"`data_dir` is {str(data_dir)!r}, which is not a folder; give the folder with the clips.")
    return folder


def is_hidden(name: str) -> bool:
    """Whether a file or folder name belongs to the system rather than to the user's clips."""
    return name.startswith((".", "__MACOSX"))


def find_audio_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """
    The sound files below `folder` at any depth and the other files, both sorted. Hidden entries are skipped. Links to
    files are followed; links to folders are not (they can form circles) and count as other files. A folder that is
    called like a sound file is given as one, for the reader to refuse it by name, and searched.
    """
    audio, others = [], []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in folders + files:
            path = Path(parent, name)
            if path.suffix.lower() in AUDIO_EXTENSIONS and not is_hidden(name):
                audio.append(path)
            elif name in links or (name in files and not is_hidden(name)):
                others.append(path)
    return sorted(audio), sorted(others)


def ignored_files_warning(paths: list[Path], reason: str) -> list[str]:
    """One sentence about `paths` that were passed over, as a list; an empty list without such files."""
    if not paths:
        return []
    kinds = Counter("link to a folder" if path.is_dir() else path.suffix.lower() or "no extension" for path in paths)
    listed = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    return [f"Passed over, {reason}: {listed}."]


def clean_class_name(name: str) -> str:
    """A class name as it is stored: composed Unicode (file systems differ in that), no blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def path_inside(data_dir: Path, name: str) -> Path:
    """
    The path of the metadata entry `name`, which has to stay inside `data_dir`.

    Raises:
        ValueError: for an absolute path or one that leads out of the folder, and for one that no file can have.
    """
    if "\0" in name:
        raise ValueError("no file can have this name: it holds a zero byte")
    path = Path(os.path.normpath(data_dir / name))
    if os.path.isabs(name) or data_dir not in path.parents:
        raise ValueError("the path is no file inside the data folder; give it relative to that folder")
    return path


def find_metadata(data_dir: Path) -> Path | None:
    """The metadata file of `data_dir`, if it has one; `ValueError` if it has two."""
    found = [data_dir / name for name in METADATA_FILES if (data_dir / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"`data_dir` holds both {METADATA_FILES[0]} and {METADATA_FILES[1]}; keep one of them.")
    return found[0] if found else None


def read_metadata(path: Path) -> list[dict[str, str]]:
    """
    The rows of a metadata.csv or metadata.jsonl, all values as stripped strings, missing ones empty.

    Raises:
        ValueError: if the file cannot be parsed or has no rows.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                rows = list(csv.DictReader(file, restkey=""))
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} cannot be parsed: {error}. Save it as UTF-8 text.") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path.name} has to hold one clip per row; it has none, or rows that are no objects.")
    return [{name: "" if value is None else str(value).strip() for name, value in row.items()} for row in rows]


def find_source_column(rows: list[dict[str, str]]) -> str | None:
    """The column of `rows` that names the recording of each clip, if there is one."""
    return next((name for name in SOURCE_COLUMNS if any(name in row for row in rows)), None)


def find_column(rows: list[dict[str, str]], names: tuple[str, ...], path: Path) -> str:
    """The first of `names` that is a column of `rows`; `ValueError` naming the columns there are if none is."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for name in names:
        if name in columns:
            return name
    raise ValueError(
        f"{path.name} has the columns {columns}, none of them called {' or '.join(names)}. Add that column, or rename "
        f"the file to have the class taken from the folder of each clip."
    )

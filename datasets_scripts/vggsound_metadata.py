"""Which class and split does each clip of VGGSound have, and where do the files that say so come from?"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from melspec_gpt.datasets_scripts.downloads import download
from melspec_gpt.datasets_scripts.listed_clips import read_split_lists

LABELS_FILE = "vggsound.csv"
CHECKSUMS_FILE = "md5sum_vggsound.md5"
LISTS_PREFIX = "vggsound"
NUM_CLASSES = 309
CLIP_MILLISECONDS = 10_000
# The files with the facts about the clips -> repository, version and folder that their authors publish them in.
PUBLISHED_IN = {
    LABELS_FILE: "hche11/VGGSound/master/data",
    CHECKSUMS_FILE: "v-iashin/SpecVQGAN/5bc54f30eb89f82d129aa36ae3f1e90b60e73952/data",
    "vggsound_train.txt": "karchkha/MelSpec_GPT_VQVAE/dba5260ce91edee19dfac9c1c90d4e46d79776fe/data",
    "vggsound_valid.txt": "karchkha/MelSpec_GPT_VQVAE/dba5260ce91edee19dfac9c1c90d4e46d79776fe/data",
    "vggsound_test.txt": "karchkha/MelSpec_GPT_VQVAE/dba5260ce91edee19dfac9c1c90d4e46d79776fe/data",
}
# SpecVQGAN names a clip by its start and end in milliseconds, the data set itself by its start in seconds.
CLIP_NAMES = (re.compile(r"([\w-]{11})_(\d+)_\d+"), re.compile(r"([\w-]{11})_(\d{6})"))
# A clip of a video that has clips in several splits is kept in the first of these that the video is in.
SPLIT_PRIORITY = ("test", "validation", "train")


@dataclass(frozen=True)
class VGGSoundMetadata:
    """
    What is known about the clips.

    Args:
        labels (`dict[str, str]`): clip id -> class name.
        class_names (`list[str]`): all classes, sorted.
        splits (`dict[str, str | None]`): clip id -> split, `None` for one that is still to be chosen.
        leaking (`dict[str, str]`): clip id -> split that another clip of its video has; such clips are in no split.
    """

    labels: dict[str, str]
    class_names: list[str]
    splits: dict[str, str | None]
    leaking: dict[str, str]


def clip_id_of(path: Path) -> str | None:
    """`<YouTube id>_<start>_<end>`, in milliseconds, for the file of a clip; `None` for another file."""
    for pattern, scale in zip(CLIP_NAMES, (1, 1000), strict=True):
        if match := pattern.fullmatch(path.name):
            return _clip_id(match[1], int(match[2]) * scale)
    return None


def video_of(clip_id: str) -> str:
    """The YouTube id of a clip; it may hold underscores itself."""
    return clip_id.rsplit("_", 2)[0]


def fetch_metadata(folder: Path, base_url: str | None = None) -> None:
    """Fetches the files with the facts into `folder` unless they are there; all from `base_url` if that is given."""
    for name, published in PUBLISHED_IN.items():
        if not (folder / name).is_file():
            address = base_url or f"https://raw.githubusercontent.com/{published}"
            download(f"{address.rstrip('/')}/{name}", folder / name)


def read_vggsound_metadata(folder: Path) -> VGGSoundMetadata:
    """
    Reads vggsound.csv and, where they are there, the split lists. Without lists the split is the csv's own: test as it
    says, the rest still to be divided into training and validation.

    Raises:
        ValueError: if the csv is absent or not of the known form.
    """
    labels, splits = _read_labels(folder / LABELS_FILE)
    if (folder / f"{LISTS_PREFIX}_train.txt").is_file():
        splits = read_split_lists(folder, LISTS_PREFIX)
    leaking = _leaking_clips(splits)
    splits = {clip_id: split for clip_id, split in splits.items() if clip_id not in leaking}
    return VGGSoundMetadata(labels, sorted(set(labels.values())), splits, leaking)


def _read_labels(path: Path) -> tuple[dict[str, str], dict[str, str | None]]:
    """Clip id -> class, and clip id -> split as far as the csv decides it; a first row without numbers is a header."""
    if not path.is_file():
        raise ValueError(
            f"There is no {path}; it holds a row of YouTube id, start in seconds, class, train or test for each clip. "
            "Give its folder as `meta_dir`, or pass `--download`."
        )
    labels, splits = {}, {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and not _is_number(row[1:2])):
                continue
            if len(row) < 4 or not _is_number(row[1:2]):
                raise ValueError(
                    f"Line {number} of {path} is {row}; expected YouTube id, start in seconds, class, train or test."
                )
            clip_id = _clip_id(row[0].strip(), round(float(row[1]) * 1000))
            labels[clip_id] = row[2].strip()
            splits[clip_id] = "test" if row[3].strip() == "test" else None
    if not labels:
        raise ValueError(f"{path} holds no clip.")
    return labels, splits


def _leaking_clips(splits: Mapping[str, str | None]) -> dict[str, str]:
    """Clips whose video has clips in a split that comes before theirs in `SPLIT_PRIORITY`, with that split."""
    best: dict[str, str] = {}
    for clip_id, split in splits.items():
        video = video_of(clip_id)
        if split is not None and _priority(split) < _priority(best.get(video)):
            best[video] = split
    leaking = {clip_id: best.get(video_of(clip_id)) for clip_id in splits}
    return {clip_id: split for clip_id, split in leaking.items() if split not in (None, splits[clip_id])}


def _priority(split: str | None) -> int:
    return SPLIT_PRIORITY.index(split) if split in SPLIT_PRIORITY else len(SPLIT_PRIORITY)


def _clip_id(video: str, start: int) -> str:
    return f"{video}_{start}_{start + CLIP_MILLISECONDS}"


def _is_number(cells: list[str]) -> bool:
    return bool(cells) and re.fullmatch(r"\d+(\.\d+)?", cells[0].strip()) is not None

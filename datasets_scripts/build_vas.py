"""How does VAS, eight classes of sounds from videos, become a mel dataset with its official splits?"""

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from melspec_gpt.datasets_scripts.archive_parts import fetch_parts, unpack_parts
from melspec_gpt.datasets_scripts.audio_sources import AudioListing, check_data_dir
from melspec_gpt.datasets_scripts.build_arguments import (
    add_clip_arguments,
    add_output_arguments,
    run_build,
)
from melspec_gpt.datasets_scripts.clip_options import ClipOptions
from melspec_gpt.datasets_scripts.downloads import read_md5_list
from melspec_gpt.datasets_scripts.listed_clips import (
    AUTO_LAYOUT,
    FoundClips,
    add_listed_clips,
    choose_classes,
    find_clips,
    read_split_lists,
)
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.datasets_scripts.mel_files import CLIP_SECONDS, load_mel, mel_extractor
from melspec_gpt.datasets_scripts.source_arguments import add_archive_arguments, add_layout_argument

BASE_URL = "https://a3s.fi/swift/v1/AUTH_a235c0f452d648828f745589cde1219a/specvqgan_public/vas"
# Class -> number of clips in the published lists train and valid. Clips are numbered from 0 without a gap, and the
# last ones of each class are for validation.
SPLIT_SIZES = {
    "baby": (1933, 128),
    "cough": (315, 64),
    "dog": (2657, 128),
    "drum": (2478, 128),
    "fireworks": (2987, 128),
    "gun": (802, 64),
    "hammer": (319, 64),
    "sneeze": (282, 64),
}
CLASS_NAMES = list(SPLIT_SIZES)
# The published mels of videos shorter than 10 s repeat the sound at the length of all its AAC frames; the first frame
# is skipped where a sound is played once. Measured on the two such clips of the demo data. Samples.
REPEAT_GAP = 1024
ARCHIVE_TAIL = "_melspec_10s_22050hz"
# md5sum_vas.md5 of SpecVQGAN, the entries of the mels.
CHECKSUMS = {
    "baby_melspec_10s_22050hz.tar": "637c44028e14b9b2a402677391d15a7c",
    "cough_melspec_10s_22050hz.tar": "a28a6d5c4870903e69c1862e56305c65",
    "dog_melspec_10s_22050hz.tar": "b512318d5815539f018f4884747102f6",
    "drum_melspec_10s_22050hz.tar": "7ad30685d7d0e9ae412fa031be9e08ce",
    "fireworks_melspec_10s_22050hz.tar": "f641ab60ef4db208562b524cdb05669a",
    "gun_melspec_10s_22050hz.tar": "8489604751cf42cb77033773769303b3",
    "hammer_melspec_10s_22050hz.tar": "04cecbbba97f5ce462469f06bc36607c",
    "sneeze_melspec_10s_22050hz.tar": "6db969f5ad69f667470d73e917d76ea6",
}


def build_vas(
    data_dir: str | Path,
    output_dir: str | Path,
    layout: str = AUTO_LAYOUT,
    classes: Iterable[str] | None = None,
    splits_dir: str | Path | None = None,
    work_dir: str | Path | None = None,
    download: bool = False,
    base_url: str = BASE_URL,
    md5_file: str | Path | None = None,
    keep_archives: bool = False,
    clip_seconds: float = CLIP_SECONDS,
    short_clips: str = "repeat",
    keep_audio: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Builds the mel dataset of VAS (Chen et al., 2020, arXiv:2008.00820), from the mels that SpecVQGAN publishes or from
    the videos. A clip is known as `<class>/video_XXXXX` in all layouts; its class is the folder of that name above it,
    in any spelling of upper and lower case. Without training clips the dataset is built too, for evaluation.

    Args:
        data_dir (`str` or `Path`): holds, at any depth, `<class>/melspec_10s_22050hz/*_mel.npy` or the archives
            `<class>_melspec_10s_22050hz.tar`, RegNet's videos (`<class>/*.mp4`), or sound files (`<class>/*.wav`).
        output_dir (`str` or `Path`): the folder to write, see [`build_mel_dataset`].
        layout (`str`): `"features"`, `"videos"` or `"audio"`; `"auto"` takes the first of them that is there.
        classes (iterable of `str`): classes to keep; they are numbered anew, in alphabetical order. `None`: all eight.
        splits_dir (`str` or `Path`): folder with other lists, `vas_train.txt`, `vas_valid.txt` and optionally
            `vas_test.txt`, one `<class>/<name>` per line. `None`: the official split.
        work_dir (`str` or `Path`): where archives are unpacked; `None` for `data_dir`.
        download (`bool`): whether to fetch the archives of the mels (3.4 GB unpacked) into `work_dir` first.
        base_url (`str`): address of the folder with the archives.
        md5_file (`str` or `Path`): other checksums than those of the published archives, as md5sum writes them.
        keep_archives (`bool`): whether to keep fetched archives after unpacking.
        clip_seconds, short_clips: see [`MelFeatureExtractor`]; for videos and sound files.
        keep_audio, num_proc, overwrite: see [`build_mel_dataset`].

    Returns:
        The report, see [`build_mel_dataset`]; `missing` names the listed clips that are not there.

    Raises:
        ValueError: if no clip is found, for unknown classes, and as in [`build_mel_dataset`].
        ConnectionError: if a download fails.
    """
    if download:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
    data_dir = check_data_dir(data_dir)
    work_dir = data_dir if work_dir is None else Path(work_dir).expanduser().resolve()
    listing = AudioListing(class_names=choose_classes(CLASS_NAMES, classes))
    archives = [f"{name}{ARCHIVE_TAIL}.tar" for name in listing.class_names]
    checksums = CHECKSUMS if md5_file is None else read_md5_list(md5_file)
    if download:
        fetch_parts(archives, base_url, work_dir, checksums, keep_archives)
    unpack_parts(archives, data_dir, work_dir, checksums, listing)
    found = list_vas(listing, [data_dir, work_dir], layout, splits_dir)
    feature_extractor = mel_extractor(found.layout, clip_seconds, short_clips)
    return build_mel_dataset(
        listing,
        data_dir,
        output_dir,
        feature_extractor,
        clip_options=ClipOptions(repeat_gap=REPEAT_GAP if found.layout == "videos" else 0),
        load_mel=partial(load_mel, feature_extractor=feature_extractor),
        require_train=False,
        keep_audio=keep_audio,
        num_proc=num_proc,
        overwrite=overwrite,
    )


def list_vas(
    listing: AudioListing, folders: Iterable[Path], layout: str = AUTO_LAYOUT, splits_dir: str | Path | None = None
) -> FoundClips:
    """Adds the clips of VAS below `folders` to `listing`; gives the files. Arguments as in [`build_vas`]."""
    split_of_clip = official_splits() if splits_dir is None else read_split_lists(splits_dir, "vas")
    found = find_clips(folders, _clip_id, layout)
    add_listed_clips(listing, found, split_of_clip, label_of_clip=lambda clip_id: clip_id.split("/")[0])
    return found


def official_splits() -> dict[str, str]:
    """Clip id -> split of all 12 541 clips of VAS, in the order of the published lists."""
    splits = {}
    for split in ("train", "validation"):
        for name, (num_train, num_validation) in SPLIT_SIZES.items():
            numbers = range(num_train) if split == "train" else range(num_train, num_train + num_validation)
            splits.update({f"{name}/video_{number:05d}": split for number in numbers})
    return splits


def _clip_id(path: Path) -> str | None:
    """`dog/video_00012` for a file of that name below a folder `dog`, `None` for a file of no class."""
    folders = [folder.lower().removesuffix(ARCHIVE_TAIL) for folder in path.parts[:-1]]
    label = next((folder for folder in reversed(folders) if folder in SPLIT_SIZES), None)
    return None if label is None else f"{label}/{path.name}"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_vas`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Turn VAS (8 classes of sounds from videos) into a mel dataset with the official splits.",
    )
    parser.add_argument(
        "--data_dir",
        required=True,
        help="folder with SpecVQGAN's mels (<class>/melspec_10s_22050hz/*_mel.npy, or the archives "
        "<class>_melspec_10s_22050hz.tar), RegNet's videos (<class>/*.mp4) or sounds (<class>/*.wav), at any depth",
    )
    add_output_arguments(parser)
    add_layout_argument(parser)
    parser.add_argument(
        "--classes",
        nargs="+",
        choices=CLASS_NAMES,
        help="classes to keep; labels are numbered anew among them, in alphabetical order (default: all eight)",
    )
    parser.add_argument(
        "--splits_dir",
        help="folder with other lists, vas_train.txt, vas_valid.txt and perhaps vas_test.txt, one <class>/<name> per "
        "line (default: the official split, the last 128 or 64 clips of each class for validation)",
    )
    add_archive_arguments(parser, BASE_URL)
    add_clip_arguments(parser, CLIP_SECONDS)
    run_build(parser, build_vas, argv)


if __name__ == "__main__":
    main()

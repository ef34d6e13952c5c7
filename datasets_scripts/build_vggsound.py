"""How does VGGSound, 309 classes of sounds from YouTube, become a mel dataset with its published splits?"""

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from melspec_gpt.datasets_scripts.archive_parts import fetch_parts, unpack_parts
from melspec_gpt.datasets_scripts.archives import ARCHIVE_EXTENSIONS
from melspec_gpt.datasets_scripts.audio_sources import AudioListing, check_data_dir
from melspec_gpt.datasets_scripts.build_arguments import add_clip_arguments, add_output_arguments, run_build
from melspec_gpt.datasets_scripts.downloads import read_md5_list
from melspec_gpt.datasets_scripts.listed_clips import (
    AUTO_LAYOUT,
    FoundClips,
    add_listed_clips,
    choose_classes,
    find_clips,
)
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.datasets_scripts.mel_files import CLIP_SECONDS, load_mel, mel_extractor
from melspec_gpt.datasets_scripts.source_arguments import add_archive_arguments, add_layout_argument
from melspec_gpt.datasets_scripts.vggsound_metadata import (
    CHECKSUMS_FILE,
    NUM_CLASSES,
    VGGSoundMetadata,
    clip_id_of,
    fetch_metadata,
    read_vggsound_metadata,
    video_of,
)

BASE_URL = "https://a3s.fi/swift/v1/AUTH_a235c0f452d648828f745589cde1219a/specvqgan_public/vggsound"
NUM_PARTS = 64
VALIDATION_FRACTION = 0.1
# Archives of SpecVQGAN that hold features of the pictures.
PICTURE_ARCHIVES = "feature_"


def build_vggsound(
    data_dir: str | Path,
    output_dir: str | Path,
    meta_dir: str | Path | None = None,
    layout: str = AUTO_LAYOUT,
    classes: Iterable[str] | None = None,
    parts: Iterable[int] | None = None,
    work_dir: str | Path | None = None,
    download: bool = False,
    base_url: str = BASE_URL,
    metadata_url: str | None = None,
    md5_file: str | Path | None = None,
    keep_archives: bool = False,
    validation_fraction: float = VALIDATION_FRACTION,
    seed: int = 0,
    max_clips_per_class: int | None = None,
    clip_seconds: float = CLIP_SECONDS,
    short_clips: str = "repeat",
    keep_audio: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Builds the mel dataset of VGGSound (Chen et al., 2020, arXiv:2004.14368), from the mels that SpecVQGAN publishes in
    64 parts or from clips of sound or video. A clip is known as `<YouTube id>_<start>_<end>` (milliseconds). Clips of
    one video never share two splits: where lists say otherwise, those in the split that is held out are kept.

    Args:
        data_dir (`str` or `Path`): holds, at any depth, the clips: `<YouTube id>_<start>_<end>_mel.npy`, or sound or
            video files of that name or called `<YouTube id>_<start in seconds, six digits>`; or archives of them.
        output_dir (`str` or `Path`): the folder to write, see [`build_mel_dataset`].
        meta_dir (`str` or `Path`): holds vggsound.csv (classes), optionally vggsound_train.txt, vggsound_valid.txt and
            vggsound_test.txt (splits), and md5sum_vggsound.md5. `None` for `data_dir`.
        layout (`str`): `"features"`, `"videos"` or `"audio"`; `"auto"` takes the first of them that is there.
        classes (iterable of `str`): classes to keep; they are numbered anew, in alphabetical order. `None`: all.
        parts (iterable of `int`): which of the 64 archives to fetch; `None` for all. Each holds about 3000 clips.
        work_dir (`str` or `Path`): where archives are unpacked; `None` for `data_dir`.
        download (`bool`): whether to fetch the archives into `work_dir`, and absent metadata into `meta_dir`, first.
        base_url (`str`): address of the folder with the archives.
        metadata_url (`str`): address of a folder with the metadata; `None` for where their authors publish them.
        md5_file (`str` or `Path`): checksums of the archives; `None` for those in `meta_dir`.
        keep_archives (`bool`): whether to keep fetched archives after unpacking.
        validation_fraction (`float`), seed (`int`): share of the training clips held out, and the seed of the choice,
            where there are no split lists. Clips of one video stay together.
        max_clips_per_class (`int`): clips kept of each class; `None` keeps all.
        clip_seconds, short_clips: see [`MelFeatureExtractor`]; for videos and sound files.
        keep_audio, num_proc, overwrite: see [`build_mel_dataset`].

    Returns:
        The report, see [`build_mel_dataset`]; `missing` names the listed clips that are not there.

    Raises:
        ValueError: if no clip is found, without vggsound.csv, and as in [`build_mel_dataset`].
        ConnectionError: if a download fails.
    """
    part_names = _part_names(parts)
    if download:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
    data_dir = check_data_dir(data_dir)
    work_dir, meta_dir = (
        data_dir if path is None else Path(path).expanduser().resolve() for path in (work_dir, meta_dir)
    )
    if download:
        fetch_metadata(meta_dir, metadata_url)
    metadata = read_vggsound_metadata(meta_dir)
    listing = AudioListing(class_names=choose_classes(metadata.class_names, classes))
    checksums = _read_checksums(md5_file or meta_dir / CHECKSUMS_FILE, listing)
    if download:
        fetch_parts(part_names, base_url, work_dir, checksums, keep_archives)
    unpack_parts([*_part_names(None), *_other_archives(data_dir)], data_dir, work_dir, checksums, listing)
    found = list_vggsound(listing, metadata, [data_dir, work_dir], layout)
    feature_extractor = mel_extractor(found.layout, clip_seconds, short_clips)
    return build_mel_dataset(
        listing,
        data_dir,
        output_dir,
        feature_extractor,
        load_mel=partial(load_mel, feature_extractor=feature_extractor),
        require_train=False,
        validation_fraction=validation_fraction,
        seed=seed,
        max_clips_per_class=max_clips_per_class,
        keep_audio=keep_audio,
        num_proc=num_proc,
        overwrite=overwrite,
    )


def list_vggsound(
    listing: AudioListing, metadata: VGGSoundMetadata, folders: Iterable[Path], layout: str = AUTO_LAYOUT
) -> FoundClips:
    """Adds the clips of VGGSound below `folders` to `listing`; gives the files. Arguments as in [`build_vggsound`]."""
    found = find_clips(folders, clip_id_of, layout)
    if len(metadata.class_names) != NUM_CLASSES:
        listing.warnings.append(
            f"vggsound.csv names {len(metadata.class_names)} classes; the whole data set has {NUM_CLASSES}."
        )
    for clip_id in sorted(found.paths.keys() & metadata.leaking.keys()):
        del found.paths[clip_id]
        listing.leave_out(clip_id, f"another clip of its video is in the split {metadata.leaking[clip_id]}")
    add_listed_clips(listing, found, metadata.splits, metadata.labels.get, video_of)
    return found


def _part_names(parts: Iterable[int] | None) -> list[str]:
    numbers = list(range(1, NUM_PARTS + 1)) if parts is None else sorted(set(parts))
    wrong = [number for number in numbers if not 1 <= number <= NUM_PARTS]
    if wrong or not numbers:
        raise ValueError(f"`parts` holds {wrong}; the archives are numbered from 1 to {NUM_PARTS}.")
    return [f"melspec_10s_22050hz_{number:02d}.tar" for number in numbers]


def _other_archives(folder: Path) -> list[str]:
    """Names of the archives in `folder` beyond the 64 of SpecVQGAN that may hold clips."""
    names = sorted(path.name for path in folder.iterdir() if path.name.lower().endswith(ARCHIVE_EXTENSIONS))
    return [name for name in names if not name.startswith(PICTURE_ARCHIVES) and name not in _part_names(None)]


def _read_checksums(path: str | Path, listing: AudioListing) -> dict[str, str]:
    if not Path(path).is_file():
        listing.warnings.append(f"There is no {path}, so archives are not compared with the published ones.")
        return {}
    return read_md5_list(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_vggsound`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Turn VGGSound (309 classes of sounds from YouTube) into a mel dataset with the published splits.",
    )
    parser.add_argument(
        "--data_dir",
        required=True,
        help="folder with the clips at any depth: SpecVQGAN's mels (<YouTube id>_<start>_<end>_mel.npy), sound or "
        "video files of that name or called <YouTube id>_<start in seconds, six digits>, or archives of them",
    )
    add_output_arguments(parser)
    parser.add_argument(
        "--meta_dir",
        help="folder with vggsound.csv and, for the published splits, vggsound_train.txt, vggsound_valid.txt and "
        "vggsound_test.txt (default: --data_dir)",
    )
    add_layout_argument(parser)
    parser.add_argument(
        "--classes",
        nargs="+",
        help='classes to keep, such as "dog barking"; labels are numbered anew among them, in alphabetical order '
        "(default: all 309)",
    )
    add_archive_arguments(parser, BASE_URL)
    parser.add_argument("--metadata_url", help="address of a folder with the files of --meta_dir, for --download")
    parser.add_argument(
        "--parts",
        type=int,
        nargs="+",
        help="which of the 64 archives to fetch, such as 1 2 3; each holds about 3000 clips (default: all)",
    )
    parser.add_argument(
        "--validation_fraction",
        type=float,
        default=VALIDATION_FRACTION,
        help="share of the training clips held out where there are no split lists (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that choice (default: %(default)s)")
    parser.add_argument("--max_clips_per_class", type=int, help="clips kept of each class (default: all)")
    add_clip_arguments(parser, CLIP_SECONDS)
    run_build(parser, build_vggsound, argv)


if __name__ == "__main__":
    main()

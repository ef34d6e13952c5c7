"""How does the ESC-10 collection of environmental sounds become a mel dataset?"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from melspec_gpt.datasets_scripts.archives import find_unpacked, unpack
from melspec_gpt.datasets_scripts.build_arguments import add_clip_arguments, add_output_arguments, run_build
from melspec_gpt.datasets_scripts.downloads import download as fetch
from melspec_gpt.datasets_scripts.esc10_listing import TEST_FOLDS, VALIDATION_FOLDS, list_esc10
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

# Made anew by GitHub on request, so that it has no lasting checksum; a zip file checks each of its members itself.
ARCHIVE_URL = "https://github.com/karolpiczak/ESC-10/archive/refs/heads/master.zip"
ARCHIVE_NAME = "ESC-10.zip"
CLIP_SECONDS = 5.0


def build_esc10(
    data_dir: str | Path,
    output_dir: str | Path,
    clip_seconds: float = CLIP_SECONDS,
    validation_folds: Iterable[int] = VALIDATION_FOLDS,
    test_folds: Iterable[int] = TEST_FOLDS,
    classes: Iterable[str] | None = None,
    short_clips: str = "repeat",
    download: bool = False,
    archive_url: str = ARCHIVE_URL,
    keep_audio: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict:
    """
    Builds the mel dataset of ESC-10 (Piczak, 2015, doi:10.1145/2733373.2806390). Clips of one recording always share
    a fold, so splits are made of whole folds; every fold that is not named is for training. A split without clips is
    not written.

    Args:
        data_dir (`str` or `Path`): holds class folders such as `001 - Dog bark`, optionally a metadata.csv with the
            columns `filename`, `fold`, `class_name` (without it the fold is the number that a file name starts with);
            or a copy of ESC-50 (`meta/esc50.csv` and `audio`), of which the clips of ESC-10 are taken, with the same
            class names; or a folder with one of these in it.
        output_dir (`str` or `Path`): the folder to write, see [`build_mel_dataset`].
        clip_seconds (`float`): length of every clip, s.
        validation_folds, test_folds (iterable of `int`): the folds held out; empty for none.
        classes (iterable of `str`): names of the classes to keep; `None` keeps all.
        short_clips (`str`): `"repeat"` or `"zero"`, see [`MelFeatureExtractor`].
        download (`bool`): whether to fetch the public archive (40 MB) into `data_dir` first, unless it is there.
        archive_url (`str`): where from.
        keep_audio, num_proc, overwrite: see [`build_mel_dataset`].

    Returns:
        The report, see [`build_mel_dataset`].

    Raises:
        ValueError: for folders, classes or folds that do not exist, and as in [`build_mel_dataset`].
        ConnectionError: if the download fails.
    """
    refused = _fetch_esc10(Path(data_dir), archive_url) if download else []
    listing = list_esc10(data_dir, validation_folds, test_folds, classes)
    listing.left_out += refused
    feature_extractor = MelFeatureExtractor.from_clip_seconds(clip_seconds, short_clips=short_clips)
    return build_mel_dataset(
        listing,
        data_dir,
        output_dir,
        feature_extractor,
        keep_audio=keep_audio,
        num_proc=num_proc,
        overwrite=overwrite,
    )


def _fetch_esc10(data_dir: Path, archive_url: str) -> list[dict[str, str]]:
    """Fetches and unpacks the archive unless that was done before; gives the members that were refused."""
    archive = data_dir / ARCHIVE_NAME
    folder = archive.with_suffix("")
    unpacked = find_unpacked(folder, archive)
    if unpacked is None:
        unpacked = unpack(fetch(archive_url, archive), folder)
        archive.unlink()
    return unpacked.refused


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_esc10`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Turn the ESC-10 collection (10 classes of environmental sounds, 5 folds) into a mel dataset.",
    )
    parser.add_argument(
        "--data_dir",
        required=True,
        help="top folder of ESC-10, the one that holds '001 - Dog bark' and so on, or of ESC-50; with --download the "
        "folder to put it in",
    )
    add_output_arguments(parser)
    parser.add_argument(
        "--download", action="store_true", help="fetch the public archive (40 MB) into --data_dir unless it is there"
    )
    parser.add_argument("--archive_url", default=ARCHIVE_URL, help="where to fetch it (default: %(default)s)")
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

"""Which command-line options do the programs for published data sets share?"""

import argparse

from melspec_gpt.datasets_scripts.listed_clips import AUTO_LAYOUT, LAYOUTS


def add_layout_argument(parser: argparse.ArgumentParser) -> None:
    """The option that says what the clips are read from."""
    parser.add_argument(
        "--layout",
        choices=(AUTO_LAYOUT, *LAYOUTS),
        default=AUTO_LAYOUT,
        help="what to read the clips from: published mels (features), videos or sound files (audio); by default the "
        "first of them that is there",
    )


def add_archive_arguments(parser: argparse.ArgumentParser, base_url: str) -> None:
    """Options of the programs that fetch and unpack archives of mels."""
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the archives first and unpack them; what is there already is not fetched again, and a broken "
        "download goes on where it stopped",
    )
    parser.add_argument("--base_url", default=base_url, help="address of the folder with the archives")
    parser.add_argument(
        "--md5_file",
        help="checksums of the archives, as md5sum writes them (default: those of the published archives)",
    )
    parser.add_argument("--work_dir", help="folder for fetched and unpacked archives (default: --data_dir)")
    parser.add_argument("--keep_archives", action="store_true", help="keep fetched archives after unpacking them")

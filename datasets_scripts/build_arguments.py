"""Which command-line options do the build programs share, and how is a program run from them?"""

import argparse
import logging
from collections.abc import Callable, Sequence


def add_clip_arguments(parser: argparse.ArgumentParser, clip_seconds: float) -> None:
    """Options of every program that turns sound files into a mel dataset."""
    parser.add_argument(
        "--clip_seconds",
        type=float,
        default=clip_seconds,
        help="length of every clip in seconds: longer files are cut, shorter ones filled up (default: %(default)s)",
    )
    parser.add_argument(
        "--short_clips",
        choices=("repeat", "zero"),
        default="repeat",
        help="how to fill up a file that is too short: play it again, or append silence (default: %(default)s)",
    )
    parser.add_argument("--num_proc", type=int, default=None, help="worker processes (default: one, without workers)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every program that writes a dataset."""
    parser.add_argument("--output_dir", required=True, help="folder to write; it has to be new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace the earlier build in --output_dir")


def run_build(parser: argparse.ArgumentParser, build: Callable, argv: Sequence[str] | None = None) -> None:
    """
    Calls `build` with the parsed options, which carry the names of its arguments. What a user can put right (a
    `ValueError`, or an `OSError` such as a full disk) ends the program with that sentence instead of a traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = vars(parser.parse_args(argv))
    try:
        build(**options)
    except (OSError, ValueError) as error:
        parser.error(str(error))

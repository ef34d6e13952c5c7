"""Which command-line options do the build programs share, and how is a program run from them?"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from melspec_gpt.datasets_scripts.clip_options import ClipOptions

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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
    parser.add_argument(
        "--keep_audio", action="store_true", help="store the waveforms beside the mels, for train_vocoder"
    )
    parser.add_argument("--num_proc", type=int, default=None, help="worker processes (default: one, without workers)")


def add_cutting_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the programs that cut, trim and level clips, for [`cutting_options`]."""
    parser.add_argument(
        "--hop_seconds",
        type=float,
        default=None,
        help="distance between the clips that are cut from a longer file, in seconds; 0: only the first clip of each "
        "file (default: the length of a clip, so that all of the file is used)",
    )
    parser.add_argument(
        "--trim_silence",
        type=float,
        default=None,
        metavar="DB",
        help="remove the start and the end of each clip while they are this many dB below its loudest part; 40 suits "
        "most recordings (default: keep them)",
    )
    parser.add_argument(
        "--loudness",
        type=float,
        default=None,
        metavar="DBFS",
        help="level to bring each clip to, the root mean square of its audible part; -20 suits most recordings "
        "(default: leave the levels as they are)",
    )


def cutting_options(
    clip_seconds: float, hop_seconds: float | None, trim_silence: float | None, loudness: float | None
) -> ClipOptions:
    """The choices of [`add_cutting_arguments`], where no hop means the length of a clip and 0 the first clip only."""
    hop_seconds = clip_seconds if hop_seconds is None else hop_seconds
    return ClipOptions(hop_seconds=hop_seconds or None, trim_silence=trim_silence, loudness=loudness)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every program that writes a dataset."""
    parser.add_argument("--output_dir", required=True, help="folder to write; it has to be new or empty")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the earlier build in --output_dir, and throw away an unfinished one that has other settings",
    )


def run_build(parser: argparse.ArgumentParser, build: Callable, argv: Sequence[str] | None = None) -> None:
    """
    Calls `build` with the parsed options, which carry the names of its arguments; a path may begin with `~`. What a
    user can put right (a `ValueError`, or an `OSError` such as a full disk) ends the program with that sentence
    instead of a traceback, and Ctrl-C with exit code 130.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = {
        name: os.path.expanduser(value) if isinstance(value, str) else value
        for name, value in vars(parser.parse_args(argv)).items()
    }
    try:
        build(**options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

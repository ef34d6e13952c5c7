"""How do the archives that a data set is published in become files, fetched where they are wanted?"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from melspec_gpt.datasets_scripts.archives import ARCHIVE_EXTENSIONS, find_unpacked, unpack
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.downloads import check_md5, download

logger = logging.getLogger(__name__)


def fetch_parts(
    names: Iterable[str],
    base_url: str,
    folder: Path,
    checksums: Mapping[str, str],
    keep_archives: bool = False,
) -> None:
    """
    Fetches the archives `names` from below `base_url` and unpacks each into a folder of its name in `folder`; one that
    is unpacked already is passed over. An archive that was fetched is removed when it is unpacked.

    Args:
        names (iterable of `str`): file names of the archives.
        base_url (`str`): address of the folder they lie in.
        folder (`Path`): where to put them; made if it does not exist.
        checksums (`Mapping[str, str]`): file name -> md5.
        keep_archives (`bool`): whether to keep the fetched archives too.

    Raises:
        ValueError, ConnectionError, OSError: as in [`download`] and [`unpack`].
    """
    for name in names:
        archive = folder / name
        if find_unpacked(unpacked_folder(folder, name), archive) is not None:
            continue
        was_there = archive.is_file()
        download(f"{base_url.rstrip('/')}/{name}", archive, checksums.get(name))
        unpack(archive, unpacked_folder(folder, name))
        if not (was_there or keep_archives):
            archive.unlink()


def unpack_parts(
    names: Iterable[str], data_dir: Path, work_dir: Path, checksums: Mapping[str, str], listing: AudioListing
) -> None:
    """
    Unpacks those of the archives `names` that lie in `data_dir`, each into a folder of its name in `work_dir`. An
    archive that is damaged or has a wrong checksum, and members that are refused, are left out by name in `listing`;
    the others are used.

    Args:
        names (iterable of `str`): file names of the archives.
        data_dir, work_dir (`Path`): where they lie, and where to unpack them.
        checksums (`Mapping[str, str]`): file name -> md5; an archive without one is not checked.
        listing (`AudioListing`): gets the entries.
    """
    for name in names:
        archive, folder = data_dir / name, unpacked_folder(work_dir, name)
        try:
            unpacked = find_unpacked(folder, archive)
        except ValueError:
            listing.warnings.append(f"{name} is not unpacked: {folder} is there already and is used as it is.")
            continue
        try:
            if unpacked is None and archive.is_file():
                logger.info("Unpacking %s into %s", archive, folder)
                check_md5(archive, checksums.get(name))
                unpacked = unpack(archive, folder)
        except ValueError as error:
            listing.leave_out(name, str(error))
        if unpacked is not None:
            listing.left_out += unpacked.refused


def unpacked_folder(folder: Path, name: str) -> Path:
    """The folder in `folder` that the archive `name` is unpacked into: its name without the ending."""
    endings = sorted(ARCHIVE_EXTENSIONS, key=len, reverse=True)
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return folder / name[: len(name) - len(ending)]

"""How is an archive from elsewhere unpacked without trusting anything that it says?"""

import errno
import json
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from tqdm import tqdm

ARCHIVE_EXTENSIONS = (".tar", ".tar.gz", ".tgz", ".zip")
MARKER = ".unpacked.json"
CHUNK_BYTES = 1 << 20
# An archive may grow to this many times its size (spectrograms and sounds stay far below), or to the floor.
MAX_GROWTH = 100
GROWTH_FLOOR_BYTES = 64 << 20
MAX_MEMBERS = 1_000_000
# What reading a damaged, encrypted or oddly named member raises (a zip with a password: RuntimeError).
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    RuntimeError,
    ValueError,
)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
IS_ENCRYPTED = 0x1  # bit of a zip member's flags


@dataclass(frozen=True)
class UnpackedArchive:
    """
    What came out of an archive.

    Args:
        folder (`Path`): where the files lie.
        num_files (`int`): how many were written.
        refused (`list[dict]`): members that were not, each with `file` and `reason`.
    """

    folder: Path
    num_files: int
    refused: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Member:
    """
    One entry of an archive.

    Args:
        name (`str`): as the archive has it.
        is_folder (`bool`): whether it is a folder; these are made where a file needs them.
        objection (`str`): why it is no plain file; `None` for one.
        open (`Callable`): gives its bytes.
    """

    name: str
    is_folder: bool
    objection: str | None
    open: Callable[[], BinaryIO]


class _TooLarge(Exception):
    """The archive grows beyond its limit."""


def unpack(archive: str | Path, folder: str | Path) -> UnpackedArchive:
    """
    Unpacks a tar, tar.gz or zip file into `folder`. Only plain files are written, and only below `folder`: absolute
    names, names with "..", links, devices and encrypted or damaged members are refused one by one and reported, the
    others are unpacked. It is done in a hidden folder beside, which is renamed at the end, so `folder` is there
    completely or not at all; a hidden marker file in it lets a second call return at once. A `folder` that was
    unpacked from another version of the archive is replaced.

    Args:
        archive (`str` or `Path`): the archive.
        folder (`str` or `Path`): the folder to make.

    Raises:
        ValueError: if the file is no archive, holds nothing that can be unpacked, or grows beyond 100 times its size
            (64 MiB for a small one), a million members or the free disk; or if `folder` exists and is not ours.
    """
    archive, folder = Path(archive), Path(folder)
    earlier = find_unpacked(folder, archive)
    if earlier is not None:
        return earlier
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        num_files, refused = _unpack_members(archive, unfinished)
        marker = {"archive": _identity(archive), "num_files": num_files, "refused": refused}
        (unfinished / MARKER).write_text(json.dumps(marker, indent=2), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except _TooLarge as error:
        raise ValueError(f"{archive.name} is not unpacked: {error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return UnpackedArchive(folder, num_files, refused)


def find_unpacked(folder: str | Path, archive: str | Path) -> UnpackedArchive | None:
    """
    What an earlier [`unpack`] of `archive` left in `folder`: also if the archive itself was removed since, but not if
    it was replaced by another.

    Raises:
        ValueError: if `folder` exists and was not made by [`unpack`] from an archive of that name.
    """
    folder, archive = Path(folder), Path(archive)
    if not folder.exists():
        return None
    marker = _read_marker(folder / MARKER)
    if marker is None or marker["archive"]["name"] != archive.name:
        raise ValueError(
            f"{folder} exists and was not unpacked from {archive.name}; move it away, or remove the archive if the "
            "files are there already."
        )
    if archive.is_file() and marker["archive"] != _identity(archive):
        return None
    return UnpackedArchive(folder, marker["num_files"], marker["refused"])


def _read_marker(path: Path) -> dict | None:
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        return marker if {"archive", "num_files", "refused"} <= marker.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _identity(archive: Path) -> dict[str, str | int]:
    return {"name": archive.name, "size": archive.stat().st_size, "modified_ns": archive.stat().st_mtime_ns}


def _unpack_members(archive: Path, folder: Path) -> tuple[int, list[dict[str, str]]]:
    """Writes the members below `folder`; gives how many files were written, and the refusals."""
    budget = _Budget(archive, folder)
    num_files, refused = 0, []
    members = _members(archive)
    bar = tqdm(desc=f"Unpacking {archive.name}", unit=" files", disable=None)
    with bar:
        try:
            for member in members:
                budget.count_member()
                if member.is_folder:
                    continue
                reason = member.objection or _objection_to_name(member.name) or _write(member, folder, budget)
                if reason:
                    refused.append({"file": f"{archive.name}/{member.name}", "reason": reason})
                else:
                    num_files += 1
                    bar.update()
        except DAMAGE as error:
            _raise_if_disk_full(error)
            if num_files == 0:
                raise ValueError(f"{archive.name} cannot be unpacked: {error or type(error).__name__}.") from error
            reason = f"it is damaged or ends early ({error or type(error).__name__}); {num_files} files came out"
            refused.append({"file": archive.name, "reason": reason})
    if num_files == 0:
        first = f": {refused[0]['file']}: {refused[0]['reason']}" if refused else ""
        raise ValueError(f"{archive.name} holds no file that can be unpacked{first}.")
    return num_files, refused


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    return _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            objection = None
            if info.flag_bits & IS_ENCRYPTED:
                objection = "it is encrypted"
            elif kind not in (0, stat.S_IFREG):
                objection = "it is a link or a device, no plain file"
            yield _Member(info.filename, info.is_dir(), objection, partial(file.open, info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as file:
        for info in file:
            objection = None if info.isreg() else "it is a link or a device, no plain file"
            yield _Member(info.name, info.isdir(), objection, partial(file.extractfile, info))
        # tarfile stops without a word at a broken header; a whole archive ends in blocks of zeros.
        file.fileobj.seek(file.offset)
        if file.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the end mark is missing")


def _objection_to_name(name: str) -> str | None:
    """Why a member's name leads out of the folder, on any system; `None` if it does not."""
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.drive or path.root:
        return "its name is an absolute path"
    if ".." in path.parts:
        return "its name leads out of the folder"
    return None


def _write(member: _Member, folder: Path, budget: "_Budget") -> str | None:
    """Writes one member below `folder`. Gives the reason if that is not possible; then nothing of it is left."""
    target = folder / member.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return "a file of that name came before it"
        with member.open() as source, open(target, "xb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                budget.take(len(chunk))
                sink.write(chunk)
    except DAMAGE as error:
        _raise_if_disk_full(error)
        with suppress(OSError, ValueError):  # a name that cannot be used cannot be removed either
            target.unlink(missing_ok=True)
        return f"it cannot be unpacked ({error})"
    return None


def _raise_if_disk_full(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise error


class _Budget:
    """How much an archive may still grow."""

    def __init__(self, archive: Path, folder: Path):
        self.size = archive.stat().st_size
        self.bytes_left = max(MAX_GROWTH * self.size, GROWTH_FLOOR_BYTES)
        self.free = shutil.disk_usage(folder).free
        self.members_left = MAX_MEMBERS

    def count_member(self) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise _TooLarge(f"it has more than {MAX_MEMBERS} members")

    def take(self, num_bytes: int) -> None:
        self.bytes_left -= num_bytes
        self.free -= num_bytes
        if self.bytes_left < 0:
            raise _TooLarge(
                f"its {self.size} bytes grow to more than {MAX_GROWTH} times as many, as no honest one does"
            )
        if self.free < 0:
            raise _TooLarge("the disk has no room for it; make room or choose another folder")

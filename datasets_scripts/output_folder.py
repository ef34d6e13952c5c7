"""How does a build write a folder so that it is complete or not there, and goes on where a killed one stopped?"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

REPORT_FILE = "build_report.json"
# The part of a report that says what the build was made from.
SETTINGS_KEY = "settings"
WORK_SUFFIX = ".partial"
TEMPORARY_SUFFIX = ".tmp"


class WorkFolder:
    """
    The folder beside `output_dir` in which a build works until it is complete.

    Args:
        output_dir (`str` or `Path`): the folder to make.

    Attributes:
        dataset (`Path`): what becomes `output_dir`.
        shards (`Path`): notes on the finished shards, see [`arrow_shards`].
        finished_report (`dict`): the report of the build that already lies in `output_dir`, if that was made from the
            same settings and there is nothing to do.
    """

    def __init__(self, output_dir: str | Path):
        self.output_dir = Path(output_dir).expanduser().resolve()
        self.path = self.output_dir.with_name(self.output_dir.name + WORK_SUFFIX)
        self.dataset = self.path / "dataset"
        self.shards = self.path / "shards"
        self.finished_report: dict[str, Any] | None = None
        self._plan = self.path / "plan.json"
        self._previous = self.path / "previous"
        self._lock = FileLock(self.path / "lock")

    def publish(self) -> None:
        """Makes `dataset` the output folder, in place of an earlier build, and removes the rest."""
        sync_folder(self.dataset)
        if self.output_dir.exists():
            shutil.rmtree(self._previous, ignore_errors=True)
            self.output_dir.rename(self._previous)
        try:
            self.dataset.rename(self.output_dir)
        except OSError:
            if self._previous.exists():
                self._previous.rename(self.output_dir)
            raise
        self.discard()

    def discard(self) -> None:
        """Removes everything that was written for this build."""
        shutil.rmtree(self.path, ignore_errors=True)

    def lock(self) -> None:
        """Keeps other processes out of the folder until this one ends, however it ends."""
        own = (self.dataset, self.shards, self._plan, self._previous, Path(self._lock.lock_file))
        _check_own(self.path, {path.name for path in own})
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise ValueError(
                f"Another process is building {str(self.output_dir)!r}; wait until it ends, or choose another "
                "`output_dir`."
            ) from error

    def release(self) -> None:
        """Lets go of the folder, and removes it unless it holds work that is worth to be continued."""
        if self.path.exists() and not self._previous.exists() and not any(self.shards.glob("*")):
            self.discard()
        self._lock.release()

    def begin(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Takes over what a killed build with the same settings left here; what another one left only to remove it."""
        earlier = read_json(self._plan)
        if earlier is not None and earlier != settings and not overwrite:
            raise ValueError(
                f"{str(self.path)!r} holds an unfinished build {_difference(earlier, settings)}. Repeat its command "
                "to finish it, or pass `--overwrite` (`overwrite=True`) to begin anew."
            )
        if earlier != settings:
            for folder in (self.dataset, self.shards):
                shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.dataset, self.shards):
            folder.mkdir(exist_ok=True)
        for unfinished in self.path.rglob(f"*{TEMPORARY_SUFFIX}"):
            unfinished.unlink()
        write_json(self._plan, settings)


@contextmanager
def work_folder(
    output_dir: str | Path, overwrite: bool, source_dir: str | Path, settings: dict[str, Any]
) -> Iterator[WorkFolder]:
    """
    Gives the folder to build `output_dir` in. It is for the block to call `publish` in the end. If the block fails
    after a shard is finished, the folder stays for the next call with the same settings; an earlier `output_dir` stays
    as it was until `publish`.

    Args:
        output_dir (`str` or `Path`): the folder to make.
        overwrite (`bool`): whether an earlier build of these programs, finished or not, may be replaced.
        source_dir (`str` or `Path`): what the build reads; neither folder may contain the other.
        settings (`dict`): all that the result depends on, as JSON gives it back.

    Raises:
        ValueError: if `output_dir` must not be written, holds a build with other settings, or is being written by
            another process.
    """
    work = WorkFolder(output_dir)
    _check_apart(work.output_dir, Path(source_dir).expanduser().resolve())
    _check_replaceable(work.output_dir, overwrite, settings)
    work.lock()
    try:
        # Once more, as another process may have finished just now.
        _check_replaceable(work.output_dir, overwrite, settings)
        if work.output_dir.exists() and any(work.output_dir.iterdir()) and not overwrite:
            work.finished_report = read_json(work.output_dir / REPORT_FILE)
            work.discard()
        else:
            work.begin(settings, overwrite)
        yield work
    finally:
        work.release()


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Writes `report` as build_report.json."""
    write_json(folder / REPORT_FILE, report)


def read_json(path: Path) -> Any:
    """What a JSON file holds; `None` if there is no such file, or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is whole or not there, also after a power failure."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    # Names that are not valid UTF-8 are written with escapes.
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        sync_file(file)
    temporary.rename(path)


def sync_file(file) -> None:
    """Waits until what was written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names of the files in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_apart(output_dir: Path, source_dir: Path) -> None:
    if output_dir == source_dir or output_dir in source_dir.parents or source_dir in output_dir.parents:
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} and the source {str(source_dir)!r} lie in each other; choose an "
            "`output_dir` beside it."
        )


def _check_own(path: Path, names: set[str]) -> None:
    """`ValueError` if the work folder holds anything else than `names`."""
    entries = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    foreign = [name for name in entries if name not in names and not name.endswith(TEMPORARY_SUFFIX)]
    if foreign or (path.exists() and not path.is_dir()):
        raise ValueError(f"{str(path)!r} is needed to work in, but is something else; move it away.")


def _check_replaceable(output_dir: Path, overwrite: bool, settings: dict[str, Any]) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`output_dir` {str(output_dir)!r} is a file; give a folder.")
    if not output_dir.exists() or not any(output_dir.iterdir()):
        return
    report = read_json(output_dir / REPORT_FILE)
    if report is None:
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} is not empty and holds no {REPORT_FILE}, so it is not an earlier build "
            "and is not replaced; choose another folder, or remove this one yourself."
        )
    earlier = report.get(SETTINGS_KEY, {})
    if earlier != settings and not overwrite:
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} is not empty: it holds a build {_difference(earlier, settings)}; "
            "choose another folder, or pass `--overwrite` (`overwrite=True`) to replace it."
        )


def _difference(earlier: dict[str, Any], settings: dict[str, Any]) -> str:
    names = [f"`{name}`" for name in settings if earlier.get(name) != settings[name]]
    return f"with other {', '.join(names)}" if names else "of another program"

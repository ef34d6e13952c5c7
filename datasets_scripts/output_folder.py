"""How does a build program write a folder so that it is either complete or not there?"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPORT_FILE = "build_report.json"


@dataclass(frozen=True)
class WorkFolders:
    """Where a build writes: `result` becomes the output folder, `cache` is thrown away."""

    result: Path
    cache: Path


@contextmanager
def output_folder(output_dir: str | Path, overwrite: bool, source_dir: str | Path) -> Iterator[WorkFolders]:
    """
    Gives folders to write in, beside `output_dir` on the same disk. When the block ends well, `result` is renamed to
    `output_dir`; when it fails, nothing is left and an earlier `output_dir` stays as it was.

    Args:
        output_dir (`str` or `Path`): the folder to make.
        overwrite (`bool`): whether an earlier build of these programs may be replaced.
        source_dir (`str` or `Path`): what the build reads; neither folder may contain the other.

    Raises:
        ValueError: if `output_dir` must not be written.
    """
    output_dir = Path(output_dir).expanduser().resolve()
    source_dir = Path(source_dir).expanduser().resolve()
    if output_dir == source_dir or output_dir in source_dir.parents or source_dir in output_dir.parents:
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} and the source {str(source_dir)!r} lie in each other; choose an "
            "`output_dir` beside it."
        )
    _check_replaceable(output_dir, overwrite)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    folders = WorkFolders(result=work / "result", cache=work / "cache")
    try:
        folders.result.mkdir()
        folders.cache.mkdir()
        yield folders
        _replace(output_dir, folders.result, previous=work / "previous")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_replaceable(output_dir: Path, overwrite: bool) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`output_dir` {str(output_dir)!r} is a file; give a folder.")
    if not output_dir.exists() or not any(output_dir.iterdir()):
        return
    if not overwrite:
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} is not empty; choose another folder, or pass `--overwrite` "
            "(`overwrite=True`) to replace it."
        )
    if not (output_dir / REPORT_FILE).is_file():
        raise ValueError(
            f"`output_dir` {str(output_dir)!r} holds no {REPORT_FILE}, so it is not an earlier build and is not "
            "replaced; choose another folder, or remove this one yourself."
        )


def _replace(output_dir: Path, result: Path, previous: Path) -> None:
    if not output_dir.exists():
        result.rename(output_dir)
        return
    output_dir.rename(previous)
    try:
        result.rename(output_dir)
    except OSError:
        previous.rename(output_dir)
        raise

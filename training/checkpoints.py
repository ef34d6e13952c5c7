"""Where do the checkpoints of a run lie, which one is the newest, which ones may go, and how is a folder replaced?"""

import os
import re
import shutil
from pathlib import Path

# Names of folders that are being written, and of complete ones whose successor is being put in their place.
INCOMPLETE, OUTDATED = "incomplete-", "outdated-"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")
LATEST = "latest"


def checkpoints_folder(output_dir: str) -> Path:
    return Path(output_dir) / "checkpoints"


def list_checkpoints(output_dir: str) -> dict[int, Path]:
    """Complete checkpoints by step, in ascending order. A half-written one still has its temporary name."""
    folder = checkpoints_folder(output_dir)
    matches = [(CHECKPOINT_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*") if path.is_dir()]
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def find_checkpoint(resume_from: str | None, output_dir: str) -> Path | None:
    """
    The checkpoint to resume from: `resume_from` is a folder, or "latest" for the newest one of `output_dir`, which is
    `None` if there is none yet.

    Raises:
        ValueError: if the folder does not exist, or if `output_dir` holds later checkpoints than that one: they would
            be taken for this run's.
    """
    existing = list_checkpoints(output_dir)
    if resume_from == LATEST:
        return list(existing.values())[-1] if existing else None
    checkpoint, step = None, 0
    if resume_from is not None:
        checkpoint = Path(resume_from)
        match = CHECKPOINT_NAME.fullmatch(checkpoint.resolve().name)
        if not checkpoint.is_dir() or not match:
            raise ValueError(
                f'`resume_from_checkpoint` is {resume_from!r}; expected "{LATEST}" or an existing checkpoint-N folder.'
            )
        step = int(match[1])
    later = [path.name for number, path in existing.items() if number > step]
    if later:
        raise ValueError(
            f"`output_dir` {output_dir!r} holds {', '.join(later)} of another run. Continue it with "
            f"`resume_from_checkpoint` {LATEST!r}, delete them, or choose another `output_dir`."
        )
    return checkpoint


def rotate_checkpoints(output_dir: str, limit: int | None) -> None:
    """Deletes the oldest checkpoints until `limit` are left (`None` keeps all)."""
    if limit is not None:
        for path in list(list_checkpoints(output_dir).values())[:-limit]:
            delete_folder(path)


def delete_folder(folder: Path) -> None:
    """Deletes a folder; one that is half deleted when the process is killed does not have its name any more."""
    remainder = folder.with_name(INCOMPLETE + folder.name)
    folder.rename(remainder)
    shutil.rmtree(remainder)


def replace_folder(source: Path, target: Path) -> None:
    """
    Gives the complete folder `source` its final name, once its files are on the disk. What had that name before stays
    complete until then, if necessary under a name from which [`recover_folder`] brings it back.
    """
    flush_folder(source)
    outdated = target.with_name(OUTDATED + target.name)
    if target.exists():
        shutil.rmtree(outdated, ignore_errors=True)
        target.rename(outdated)
    source.rename(target)
    flush(target.parent)
    shutil.rmtree(outdated, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Puts in order what a process that was killed while it wrote `target` has left behind."""
    outdated = target.with_name(OUTDATED + target.name)
    if outdated.exists() and not target.exists():
        outdated.rename(target)
    shutil.rmtree(outdated, ignore_errors=True)
    shutil.rmtree(target.with_name(INCOMPLETE + target.name), ignore_errors=True)


def recover_checkpoints(output_dir: str) -> None:
    """[`recover_folder`] for every checkpoint."""
    folder = checkpoints_folder(output_dir)
    for prefix in (OUTDATED, INCOMPLETE):
        for path in folder.glob(f"{prefix}checkpoint-*"):
            recover_folder(folder / path.name.removeprefix(prefix))


def move_files(source: Path, target: Path) -> None:
    """Moves every file of the complete folder `source` into `target`; none of them is ever half there."""
    flush_folder(source)
    for path in sorted(source.iterdir()):
        path.replace(target / path.name)
    source.rmdir()
    flush(target)


def flush_folder(folder: Path) -> None:
    """Waits until everything in a folder is on the disk, so that it survives a crash of the machine."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk."""
    if os.name != "posix":
        return  # other systems neither open folders nor flush a file that is opened for reading
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

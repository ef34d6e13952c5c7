"""Where do the checkpoints of a run lie, which one is the newest, and which ones may go?"""

import re
import shutil
from pathlib import Path

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
            shutil.rmtree(path)


def replace_folder(source: Path, target: Path) -> None:
    """Gives the complete folder `source` its final name; what had that name before is deleted."""
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)

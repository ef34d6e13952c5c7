"""Where does a conversion write, so that the folder is either complete or not there, and what does it report?"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .conversion_parity import ParityRow

REPORT_FILE = "conversion_report.json"


@contextmanager
def new_folder(output_dir: str | Path) -> Iterator[Path]:
    """
    A folder to write in, beside `output_dir`. When the block ends well, it is renamed to `output_dir`; when it fails,
    nothing is left, not even parents of `output_dir` that were made for it.

    Args:
        output_dir (`str` or `Path`): the folder to make; it has to be new or empty.

    Raises:
        ValueError: if there is something already.
        OSError: if it cannot be written.
    """
    output_dir = Path(os.path.realpath(output_dir))
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"--output_dir {str(output_dir)!r} is no folder; give a new or an empty one.")
    if output_dir.is_dir() and any(output_dir.iterdir()):
        raise ValueError(f"--output_dir {str(output_dir)!r} is not empty; give a new or an empty folder.")
    new_parents = [parent for parent in output_dir.parents if not parent.exists()]
    work = None
    try:
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
        result = work / "result"
        result.mkdir()
        yield result
        result.rename(output_dir)
    except BaseException:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        for parent in new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    work.rmdir()


def check_parity(rows: Mapping[str, Sequence[ParityRow]]) -> None:
    """
    Raises:
        ValueError: if a quantity of a part is further from the original than it may be.
    """
    for part, part_rows in rows.items():
        for row in part_rows:
            if not row.is_within:
                raise ValueError(
                    f"The converted {part} does not compute what the original does: {row.quantity} is off by "
                    f"{row.max_abs_error:.1e}, more than {row.tolerance:.1e}. The checkpoint is of a variant that is "
                    "not known here; nothing was written."
                )


def parity_table(rows: Mapping[str, Sequence[ParityRow]]) -> str:
    """The errors as lines of text."""
    lines = [f"{'part':<17}{'quantity':<27}{'max error':>10}{'tolerance':>11}"]
    lines += [
        f"{part:<17}{row.quantity:<27}{row.max_abs_error:>10.1e}{row.tolerance:>11.1e}"
        for part, part_rows in rows.items()
        for row in part_rows
    ]
    return "\n".join(lines)


def write_report(
    folder: Path,
    kind: str,
    checkpoint: str,
    rows: Mapping[str, Sequence[ParityRow]],
    dropped: Mapping[str, Sequence[str]],
) -> None:
    """
    Writes conversion_report.json.

    Args:
        folder (`Path`): where.
        kind (`str`): the kind of checkpoint.
        checkpoint (`str`): name of the file.
        rows (`Mapping[str, Sequence[ParityRow]]`): errors of each part.
        dropped (`Mapping[str, Sequence[str]]`): names of the tensors that were left behind, by reason.
    """
    report = {
        "kind": kind,
        "checkpoint": checkpoint,
        "parity": {part: [asdict(row) for row in part_rows] for part, part_rows in rows.items()},
        "dropped": {reason: list(names) for reason, names in dropped.items()},
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / REPORT_FILE).write_text(text, encoding="utf-8")

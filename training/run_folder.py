"""How does a training write its folder, so that being killed or a full disk never costs what is already there?"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError

from melspec_gpt.training.checkpoints import (
    INCOMPLETE,
    checkpoints_folder,
    list_checkpoints,
    move_files,
    recover_checkpoints,
    recover_folder,
    replace_folder,
    rotate_checkpoints,
)

BEST = "best"
FINAL = "final"
# In the folder of the best model.
BEST_STEP_FILE = "best_step.txt"


def check_writable(output_dir: str) -> None:
    """
    Creates the folder of a run, before any work goes into it.

    Raises:
        OSError: if nothing can be written there.
    """
    try:
        checkpoints_folder(output_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir) as file:
            file.write(b"written")
    except OSError as error:
        raise OSError(f"`output_dir` {output_dir!r} cannot be written: {error}") from error


class RunFolder:
    """
    The folder of a run. Every process has to call every method; what has a final name is always complete.

    Args:
        accelerator ([`~accelerate.Accelerator`]): of the run.
        output_dir (`str`): the folder.
        checkpoints_total_limit (`int`, *optional*): checkpoints to keep; by default all.
    """

    def __init__(self, accelerator: Accelerator, output_dir: str, checkpoints_total_limit: int | None = None):
        self.accelerator = accelerator
        self.output_dir = output_dir
        self.checkpoints_total_limit = checkpoints_total_limit

    @property
    def best(self) -> Path:
        """Folder of the model with the lowest validation loss."""
        return Path(self.output_dir) / BEST

    def recover(self) -> None:
        """Puts in order what an earlier session left behind that was killed while it wrote."""
        if self.accelerator.is_main_process:
            recover_checkpoints(self.output_dir)
            recover_folder(self.best)
            recover_folder(Path(self.output_dir) / FINAL)
        self.accelerator.wait_for_everyone()

    def write_checkpoint(self, step: int, write: Callable[[str], Any]) -> Path:
        """Calls `write(folder)` for the checkpoint of a step, then deletes the oldest ones."""
        if self.accelerator.is_main_process:
            recover_checkpoints(self.output_dir)
        folder = checkpoints_folder(self.output_dir) / f"checkpoint-{step}"
        self._write(folder, write, replace_folder)
        if self.accelerator.is_main_process:
            rotate_checkpoints(self.output_dir, self.checkpoints_total_limit)
        return folder

    def write_best(self, write: Callable[[str], Any], step: int) -> None:
        """Calls `write(folder)` for the best model, which is the one of `step`."""

        def write_with_step(folder: str) -> None:
            write(folder)
            if self.accelerator.is_main_process:
                Path(folder, BEST_STEP_FILE).write_text(f"{step}\n", encoding="utf-8")

        self._write(self.best, write_with_step, replace_folder)

    def write_final(self, write: Callable[[str], Any]) -> None:
        """Calls `write(folder)` for the final model, whose files then lie in the folder of the run itself."""
        self._write(Path(self.output_dir) / FINAL, write, lambda source, target: move_files(source, target.parent))

    def take_over_best(self, checkpoint: Path, step: int) -> bool:
        """
        Makes the best model of the run that a checkpoint is of the best one here.

        Args:
            checkpoint (`Path`): the checkpoint, of this run or another.
            step (`int`): step of the best model that the checkpoint knows of.

        Returns:
            `bool`: whether there is that model. Another run may have replaced it since by that of a later step.
        """
        run = checkpoint.resolve().parents[1]
        source, is_own = run / BEST, run == Path(self.output_dir).resolve()
        exists = source.is_dir() and checkpoint.resolve().parent == checkpoints_folder(run)
        # What one process sees counts for all.
        exists = broadcast_object_list([exists and (is_own or _is_of_step(source, step))])[0]
        if exists and not is_own:
            self._write(self.best, lambda folder: self._copy(source, folder), replace_folder)
        return exists

    def copy_best(self, folder: str) -> None:
        """A `write` for [`write_final`] that takes the best model."""
        self._copy(self.best, folder, ignore=shutil.ignore_patterns(BEST_STEP_FILE))

    def _copy(self, source: Path, folder: str, ignore: Callable | None = None) -> None:
        if self.accelerator.is_main_process:
            shutil.copytree(source, folder, ignore=ignore, dirs_exist_ok=True)

    def _write(self, folder: Path, write: Callable[[str], Any], finish: Callable[[Path, Path], None]) -> None:
        temporary = folder.with_name(INCOMPLETE + folder.name)
        try:
            if self.accelerator.is_main_process:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            write(str(temporary))
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                finish(temporary, folder)
        # A full disk is an OSError in Python, but another error in the libraries that write weights.
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(self._explain(folder, error)) from error

    def _explain(self, folder: Path, error: Exception) -> str:
        complete = list(list_checkpoints(self.output_dir).values())
        remedy = (
            "make room there"
            if not complete
            else (f"{complete[-1].name} is complete: make room, and continue it with `resume_from_checkpoint` latest")
        )
        return f"{folder} could not be written ({error}); {remedy}."


def _is_of_step(best: Path, step: int) -> bool:
    """Whether a best model is the one of `step`; older runs did not note theirs."""
    file = best / BEST_STEP_FILE
    return not file.is_file() or file.read_text(encoding="utf-8").strip() == str(step)

"""What does a run take over from a checkpoint, and what do its own settings decide?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from melspec_gpt.training.checkpoints import find_checkpoint
from melspec_gpt.training.loop_state import OtherBatchesError
from melspec_gpt.training.optimization import group_settings, restore_group_settings

if TYPE_CHECKING:
    from melspec_gpt.training.loop import TrainingLoop


def resume(loop: TrainingLoop) -> None:
    """
    Continues from the checkpoint that `resume_from_checkpoint` names, if there is one; every process has to call this.

    Raises:
        ValueError: if there is no such checkpoint, or if it is of another training.
    """
    loop.folder.recover()
    resume_from = loop.arguments.resume_from_checkpoint
    checkpoint = find_checkpoint(resume_from, loop.arguments.output_dir)
    # Nobody may write a checkpoint before everybody has looked.
    loop.accelerator.wait_for_everyone()
    if checkpoint is not None:
        _read_state(loop, checkpoint)
        _take_over_best(loop, checkpoint)
        loop.announce(f"resumed from {checkpoint} at step {loop.state.step}")
    elif resume_from is not None:
        loop.announce(f"no checkpoint in {loop.arguments.output_dir} yet: starting from the beginning")


def _read_state(loop: TrainingLoop, checkpoint: Path) -> None:
    settings = {name: group_settings(optimizer) for name, optimizer in loop.optimizers.items()}
    try:
        loop.accelerator.load_state(str(checkpoint))
    except OtherBatchesError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        raise ValueError(
            f"`resume_from_checkpoint` {str(checkpoint)!r} does not fit this run: {reason}. What is trained has "
            "to be as it was (the model, `ema_decay`, `codebook_learning`, `discriminator_weight`); to change it, "
            "start anew in another `output_dir`."
        ) from error
    # The arguments count, not what they were before.
    for name, optimizer in loop.optimizers.items():
        restore_group_settings(optimizer, settings[name])
    loop.means.load(checkpoint, loop.accelerator.process_index)


def _take_over_best(loop: TrainingLoop, checkpoint: Path) -> None:
    state = loop.state
    if not loop.folder.take_over_best(checkpoint, state.best_step) and state.best_step >= 0:
        loop.announce(
            f"the best model so far, of step {state.best_step}, is not beside {checkpoint}: looking for the best one "
            "from here on"
        )
        state.forget_best()

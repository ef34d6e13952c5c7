"""When does a training have to stop because its numbers are none any more?"""

import math

import torch


def check_step(loss: torch.Tensor, gradient_norm: torch.Tensor, step: int) -> None:
    """
    Called before an optimizer moves the weights.

    Args:
        loss (`torch.FloatTensor` of shape `()`): of this process.
        gradient_norm (`torch.FloatTensor` of shape `()`): of the gradients of all processes: the same number on each
            of them, so that they stop together.
        step (`int`): steps done.

    Raises:
        FloatingPointError: if one of them is NaN or infinite.
    """
    if not math.isfinite((loss.detach() + gradient_norm).item()):  # one look at the device in the usual case
        check_finite("training loss", loss.item(), step)
        check_finite("norm of the gradients", gradient_norm.item(), step)


def check_finite(what: str, value: float, step: int) -> None:
    """
    Raises:
        FloatingPointError: if `value` is NaN or infinite.
    """
    if not math.isfinite(value):
        raise FloatingPointError(
            f"The {what} is {value} at step {step}. Lower `learning_rate`, lengthen `warmup_steps`, or look for "
            "broken clips in the data set; `resume_from_checkpoint` continues from the last checkpoint."
        )

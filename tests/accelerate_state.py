"""How does a test set what Accelerate keeps for the whole process?"""

from accelerate.state import AcceleratorState, GradientState


def forget_accelerate() -> None:
    """Accelerate starts anew in this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()

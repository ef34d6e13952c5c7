"""How do tests of one process and of several live in one session? Accelerate keeps its state for the whole process."""

from accelerate.state import AcceleratorState, GradientState


def forget_accelerate() -> None:
    """Accelerate starts anew in this process, and in those that are forked from it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()

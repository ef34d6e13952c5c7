"""Which codes of a clip are hidden from the encoder, so that it learns to read clips with gaps?"""

import torch

MASK_KINDS = ("random", "span", "band", "start", "end")
# The parts of a clip, or of its time steps, that a gap can take.
SMALLEST_SHARE = 0.05
LARGEST_SHARE = 0.75


def random_code_mask(grid_shape: tuple[int, int], generator: torch.Generator, kind: str | None = None) -> torch.Tensor:
    """
    A random gap in a clip.

    Args:
        grid_shape (`tuple[int, int]`): frequency rows and time steps of the code grid.
        generator (`torch.Generator`): source of the random numbers (on the CPU).
        kind (`str`, *optional*): "random" (single codes), "span" (time steps in the middle), "band" (neighbouring
            frequency rows), "start" or "end" of the clip; by default one of them at random.

    Returns:
        `torch.BoolTensor` of shape `(rows * steps,)`: True where a code is hidden, time-major as the codes are. At
        least one code is hidden and, in a grid of more than one, at least one is not.

    Raises:
        ValueError: if there is no such kind.
    """
    rows, steps = grid_shape
    if kind is None:
        kind = MASK_KINDS[_integer(0, len(MASK_KINDS) - 1, generator)]
    share = SMALLEST_SHARE + (LARGEST_SHARE - SMALLEST_SHARE) * torch.rand((), generator=generator).item()
    if kind == "random":
        order = torch.rand(rows * steps, generator=generator).argsort()
        return order < _part(share, rows * steps)
    mask = torch.zeros(steps, rows, dtype=torch.bool)
    if kind == "band":
        height = _integer(1, max(1, rows - 1), generator)
        lowest = _integer(0, rows - height, generator)
        mask[:, lowest : lowest + height] = True
    elif kind in ("span", "start", "end"):
        length = _part(share, steps)
        first = {"start": 0, "end": steps - length}.get(kind)
        first = _integer(0, steps - length, generator) if first is None else first
        mask[first : first + length] = True
    else:
        raise ValueError(f"`kind` is {kind!r}; choose one of {list(MASK_KINDS)}.")
    return mask.flatten()


def _part(share: float, whole: int) -> int:
    """A share of `whole`, but something, and not all of it if that can be helped."""
    return min(max(1, round(share * whole)), max(1, whole - 1))


def _integer(lowest: int, highest: int, generator: torch.Generator) -> int:
    return int(torch.randint(lowest, highest + 1, (), generator=generator))

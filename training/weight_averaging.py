"""Which weights are validated and kept, if not those of the last step? A moving average of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


class WeightAverage:
    """
    Exponential moving average of the weights and buffers of a module (Polyak and Juditsky, 1992).

    It starts short, with a decay of at most (1 + step) / (10 + step), so that the initial weights are soon forgotten.
    Every process keeps the same one; of a sharded module, its own shards.

    Args:
        module (`nn.Module`): without wrappers, where it is trained.
        decay (`float`): share of the old average in the new one, for each step.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module = module
        self.decay = decay
        self.average = {name: value.clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the module its averaged weights, and afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.module.state_dict().items():
            own = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(own)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Whole tensors; every process has to call this."""
        return {
            name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in self.average.items()
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, value in self.average.items():
            new = state[name].to(value.device)
            if isinstance(value, DTensor):
                new = distribute_tensor(new, value.device_mesh, value.placements)
            value.copy_(new)

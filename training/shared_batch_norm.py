"""How does a batch norm see the whole batch when several processes share it?"""

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function


class SharedBatchNorm2d(nn.BatchNorm2d):
    """
    Batch norm whose mean and variance are those of all processes' examples, of which each has equally many. A training
    then does not depend on how its batch is split up. PyTorch's `SyncBatchNorm` does the same on GPUs only.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps (B, C, H, W) of this process, normalised."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(maps)
        values = maps.float()
        mean = mean_across_processes(values.mean((0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = mean_across_processes(centred.square().mean((0, 2, 3)))
        self._follow(mean.detach(), variance.detach(), values.numel() // len(mean) * dist.get_world_size())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


class _MeanAcrossProcesses(Function):
    """Mean of a tensor over the processes; so is its gradient, as each process depends on the tensors of all."""

    @staticmethod
    def forward(context, tensor: torch.Tensor) -> torch.Tensor:
        return _reduced(tensor) / dist.get_world_size()

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return _reduced(gradient) / dist.get_world_size()


def mean_across_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The mean of `tensor` over all processes, through which gradients flow back to all of them."""
    return _MeanAcrossProcesses.apply(tensor)


def _reduced(tensor: torch.Tensor) -> torch.Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total

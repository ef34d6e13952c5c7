"""The batch norm of several processes: on half a batch each it does what one process does on the whole batch."""

import torch
import torch.distributed as dist
from clean_processes import run_on_two_processes
from torch import nn

from melspec_gpt.training.shared_batch_norm import SharedBatchNorm2d

CHANNELS = 3


def maps() -> torch.Tensor:
    return 2 + 3 * torch.randn(4, CHANNELS, 5, 6, generator=torch.Generator().manual_seed(0))


def passed(norm: nn.BatchNorm2d, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs, and the gradient of the inputs for a loss that treats every position differently."""
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    inputs = inputs.clone().requires_grad_()
    outputs = norm(inputs)
    outputs.pow(3).sum().backward()
    return outputs.detach(), inputs.grad


def test_one_process_has_a_plain_batch_norm():
    norm = SharedBatchNorm2d(CHANNELS)
    for one, other in zip(passed(norm, maps()), passed(nn.BatchNorm2d(CHANNELS), maps()), strict=True):
        assert torch.equal(one, other)


def pass_on_two_processes() -> None:
    rank = dist.get_rank()
    half = slice(2 * rank, 2 * rank + 2)
    shared, plain = SharedBatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)
    outputs, gradients = passed(shared, maps()[half])
    whole_outputs, whole_gradients = passed(plain, maps())
    torch.testing.assert_close(outputs, whole_outputs[half], atol=1e-5, rtol=1e-5)
    # Each process has half of the loss; its inputs get gradients from both, through mean and variance.
    torch.testing.assert_close(gradients, whole_gradients[half], atol=1e-3, rtol=1e-3)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(shared.get_buffer(name), buffer)


def test_two_processes_share_mean_and_variance():
    run_on_two_processes(pass_on_two_processes)


def test_evaluation_uses_the_running_averages():
    norm = SharedBatchNorm2d(CHANNELS).eval()
    torch.testing.assert_close(norm(maps()), maps() / (1 + norm.eps) ** 0.5)

"""The step against the discriminator: whose weights move, and how strongly the tokenizer is pulled."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from melspec_gpt.modeling.modeling_patch_discriminator import PatchDiscriminator
from melspec_gpt.training.adversarial_step import adversarial_term, judge, plays, train_discriminator


class OneProcessLoop:
    """As much of the training loop as a step needs; the losses to optimise are noted."""

    def __init__(self, **arguments):
        torch.manual_seed(0)
        self.last_layer = nn.Conv2d(1, 1, 3, padding=1)
        model = SimpleNamespace(decoder=SimpleNamespace(conv_out=self.last_layer))
        self.modules = {"model": model, "discriminator": PatchDiscriminator(2)}
        settings = {"discriminator_weight": 0.8, "discriminator_start": 3, "adaptive_weight": True}
        self.arguments = SimpleNamespace(**(settings | arguments))
        self.state = SimpleNamespace(step=3)
        self.accelerator = SimpleNamespace(reduce=lambda tensor, reduction: tensor)
        self.optimized = {}

    def unwrapped(self, name="model"):
        return self.modules[name]

    def optimize(self, loss, name):
        loss.backward()
        self.optimized[name] = loss

    def reconstruction(self) -> torch.Tensor:
        return self.last_layer(torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))).squeeze(1)


def gradient(loss: torch.Tensor, loop: OneProcessLoop) -> torch.Tensor:
    return torch.autograd.grad(loss, loop.last_layer.weight)[0]


def test_term_has_value_and_gradient_of_the_generator_loss():
    loop = OneProcessLoop(adaptive_weight=False)
    reconstruction = loop.reconstruction()
    term, metrics = adversarial_term(loop, reconstruction, reconstruction.abs().mean())
    direct = -0.8 * loop.modules["discriminator"](loop.reconstruction()).mean()
    torch.testing.assert_close(term, direct)
    torch.testing.assert_close(gradient(term, loop), gradient(direct, loop))
    assert metrics.keys() == {"generator_loss"}


def test_adaptive_term_pulls_as_strongly_as_the_reconstruction():
    loop = OneProcessLoop(discriminator_weight=1.0)
    reconstruction = loop.reconstruction()
    term, metrics = adversarial_term(loop, reconstruction, reconstruction.abs().mean())
    pull = gradient(term, loop).norm()
    expected = gradient(loop.reconstruction().abs().mean(), loop).norm()
    small = 1e-4 * metrics["adaptive_weight"]
    torch.testing.assert_close(pull + small, expected)


def test_tokenizer_step_leaves_the_discriminator_alone():
    loop = OneProcessLoop()
    reconstruction = loop.reconstruction()
    term, _ = adversarial_term(loop, reconstruction, reconstruction.abs().mean())
    term.backward()
    assert all(parameter.grad is None for parameter in loop.modules["discriminator"].parameters())


def test_discriminator_step_leaves_the_tokenizer_alone():
    loop = OneProcessLoop()
    metrics = train_discriminator(loop, torch.randn(2, 32, 32), loop.reconstruction())
    assert loop.last_layer.weight.grad is None
    assert loop.optimized["discriminator"] is metrics["discriminator_loss"]
    assert all(parameter.grad is not None for parameter in loop.modules["discriminator"].parameters())


def test_discriminator_learns_to_tell_noise_from_silence():
    loop = OneProcessLoop()
    optimizer = torch.optim.Adam(loop.modules["discriminator"].parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        metrics = train_discriminator(loop, torch.randn(2, 32, 32), 0.01 * torch.randn(2, 32, 32))
        optimizer.step()
    assert metrics["logits_real"] > metrics["logits_fake"] + 1


@torch.no_grad()
def test_judgement_has_a_row_for_each_clip():
    loop = OneProcessLoop()
    loop.modules["discriminator"].eval()
    features, reconstruction = torch.randn(3, 32, 32), torch.randn(3, 32, 32)
    values = judge(loop, features, reconstruction)
    assert all(value.shape == (3,) for value in values.values())
    alone = judge(loop, features[1:2], reconstruction[1:2])
    for name, value in alone.items():
        torch.testing.assert_close(value, values[name][1:2])


@pytest.mark.parametrize(("step", "weight", "expected"), [(2, 1.0, False), (3, 1.0, True), (3, 0.0, False)])
def test_the_discriminator_plays_from_its_start_on(step, weight, expected):
    loop = OneProcessLoop(discriminator_weight=weight)
    loop.state.step = step
    assert plays(loop) == expected


def test_without_a_discriminator_nobody_plays():
    loop = OneProcessLoop()
    del loop.modules["discriminator"]
    assert not plays(loop)

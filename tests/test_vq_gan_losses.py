"""The adversarial losses of the audio tokenizer against values computed by hand, and the spectral convergence."""

import pytest
import torch

from melspec_gpt.training.vq_gan_losses import (
    LARGEST_ADAPTIVE_WEIGHT,
    adaptive_weight,
    discriminator_hinge_loss,
    generator_loss,
    spectral_convergence,
    weight_from_start,
)


def test_hinge_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    # recordings: 0, 0.5, 2; reconstructions: 0, 1
    assert discriminator_hinge_loss(real, fake).item() == pytest.approx((2.5 / 3 + 1 / 2) / 2)


def test_hinge_loss_leaves_alone_what_is_told_apart():
    real, fake = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    discriminator_hinge_loss(real, fake).backward()
    assert real.grad.item() == fake.grad.item() == 0


def test_generator_wants_high_logits():
    logits = torch.tensor([1.0, -3.0], requires_grad=True)
    loss = generator_loss(logits)
    loss.backward()
    assert loss.item() == 1.0
    assert (logits.grad < 0).all()


def test_adaptive_weight_is_the_ratio_of_the_gradients_of_a_layer():
    """For y = w x: the gradient of the mean of |y - target| is the mean of sign x, that of mean(a y) is mean(a x)."""
    layer, inputs = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0, 2.0])
    outputs = layer * inputs
    reconstruction_loss = outputs.abs().mean()  # gradient 1.5
    adversarial_loss = (4 * outputs).mean()  # gradient 6
    losses = (reconstruction_loss, adversarial_loss)
    gradients = [torch.autograd.grad(loss, layer, retain_graph=True)[0] for loss in losses]
    weight = adaptive_weight(*gradients)
    assert weight.item() == pytest.approx(1.5 / 6.0001)
    assert not weight.requires_grad


def test_adaptive_weight_is_limited():
    assert adaptive_weight(torch.tensor([5.0]), torch.tensor([0.0])).item() == LARGEST_ADAPTIVE_WEIGHT
    assert adaptive_weight(torch.tensor([0.0]), torch.tensor([1.0])).item() == 0


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (9, 0.0), (10, 0.8), (11, 0.8)])
def test_weight_is_zero_before_the_start(step, expected):
    assert weight_from_start(step, weight=0.8, start=10) == expected


def test_spectral_convergence_of_magnitudes():
    """20 dB quieter is a tenth of the magnitude, an error of 0.9 of it; silence is an error of all."""
    features = torch.full((3, 4, 5), 0.5)
    quieter = features - torch.tensor([0.0, 0.4, 1.5])[:, None, None]  # a unit is 50 dB
    expected = torch.tensor([0.0, 0.9, 1 - 10**-3.75])
    torch.testing.assert_close(spectral_convergence(quieter, features), expected, atol=1e-5, rtol=0)


def test_spectral_convergence_of_silence_is_bounded():
    silence = torch.full((2, 80, 16), -1.0)
    reconstruction = torch.stack([silence[0], silence[0] + 1.5])
    assert spectral_convergence(reconstruction, silence).tolist() == [0, 1]


def test_spectral_convergence_cuts_off_overshoot():
    loudest = torch.ones(1, 4, 5)
    assert spectral_convergence(loudest + 0.5, loudest).item() == 0

import torch

from melspec_gpt.training.texture_loss import WINDOWS, local_contrast, texture_loss


def noise(seed: int, strength: float = 0.2) -> torch.Tensor:
    return strength * torch.randn(2, 40, 64, generator=torch.Generator().manual_seed(seed))


def test_equal_spectrograms_have_no_loss():
    assert texture_loss(noise(0), noise(0)).item() == 0


def test_smoothing_costs_more_than_another_draw_of_the_same_noise():
    smooth = torch.zeros_like(noise(0))
    assert texture_loss(smooth, noise(0)) > 3 * texture_loss(noise(1), noise(0))


def test_a_constant_offset_does_not_matter():
    torch.testing.assert_close(texture_loss(noise(0) + 0.5, noise(0)), torch.tensor(0.0), atol=1e-5, rtol=0)


def test_contrast_is_the_standard_deviation_of_noise():
    for window in WINDOWS:
        expected = 0.2 * (1 - 1 / (window[0] * window[1])) ** 0.5
        torch.testing.assert_close(local_contrast(noise(0), window).mean().item(), expected, atol=0.02, rtol=0)


def test_gradient_reaches_a_constant_reconstruction():
    reconstruction = (noise(1) * 0.01).requires_grad_()
    texture_loss(reconstruction, noise(0)).backward()
    assert reconstruction.grad.abs().sum() > 0


def test_short_clips_are_compared_at_the_windows_that_fit():
    assert texture_loss(noise(1)[..., :16], noise(0)[..., :16]) > 0

import torch

from melspec_gpt.modeling.modeling_griffin_lim import PEAK_LIMIT, GriffinLimVocoder


def features_at(level: float) -> torch.Tensor:
    """A noise-like mel (1, 80, 40) around `level` on the [-1, 1] scale."""
    noise = 0.05 * torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(0))
    return (level + noise).clamp(-1, 1)


def test_every_frame_gives_one_hop_of_samples():
    assert GriffinLimVocoder()(features_at(0.0)).shape == (1, 40 * 256)


def test_loud_features_are_scaled_and_not_clipped():
    quiet, loud = GriffinLimVocoder()(features_at(-0.2)), GriffinLimVocoder()(features_at(0.9))
    assert quiet.abs().max() < PEAK_LIMIT
    torch.testing.assert_close(loud.abs().max().item(), PEAK_LIMIT)
    assert (loud.abs() > 0.99 * PEAK_LIMIT).float().mean() < 0.001


def test_ten_decibels_more_in_the_mel_are_ten_decibels_more_in_the_sound():
    quiet, loud = GriffinLimVocoder()(features_at(-0.5)), GriffinLimVocoder()(features_at(-0.3))
    torch.testing.assert_close(20 * torch.log10(loud.std() / quiet.std()).item(), 10.0, atol=0.3, rtol=0)


def test_silence_is_inaudible():
    assert GriffinLimVocoder()(torch.full((1, 80, 40), -1.0)).abs().max() < 1e-3

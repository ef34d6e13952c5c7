import torch
import torchaudio

from melspec_gpt.modeling.modeling_griffin_lim import PEAK_LIMIT, GriffinLimVocoder, griffin_lim


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


def test_phases_are_those_of_torchaudio():
    magnitudes = torch.rand(2, 513, 41, generator=torch.Generator().manual_seed(0))
    expected = torchaudio.functional.griffinlim(
        magnitudes,
        window=torch.hann_window(1024),
        n_fft=1024,
        hop_length=256,
        win_length=1024,
        power=1.0,
        n_iter=32,
        momentum=0.99,
        length=40 * 256,
        rand_init=False,
    )
    waveforms = griffin_lim(magnitudes, n_fft=1024, hop_length=256, num_samples=40 * 256, num_iterations=32)
    torch.testing.assert_close(waveforms, expected, atol=1e-5, rtol=0)

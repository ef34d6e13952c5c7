"""The losses of the vocoder: what counts as equal, how they grow, what they leave out, and where gradients go."""

import math

import pytest
import torch

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.vocoder_losses import (
    SILENCE,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    mel_distance,
    stft_distance,
    stft_distances,
    stft_magnitudes,
)

GEOMETRY = MelFeatureExtractor().spectrogram_geometry


def noise(level: float = 0.1, seed: int = 0) -> torch.Tensor:
    return level * torch.randn(2, 8192, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window_length", [256, 2048])
def test_white_noise_has_its_level_as_magnitude(window_length):
    power = stft_magnitudes(noise(0.1), window_length)[:, 1:-1].square().mean()
    assert power.sqrt().item() == pytest.approx(0.1, rel=0.05)


def test_distance_to_itself_is_nothing_and_has_a_gradient():
    waveforms = noise().requires_grad_()
    distance = stft_distance(waveforms, waveforms.detach())
    distance.sum().backward()
    assert distance.max() < 0.01
    assert torch.isfinite(waveforms.grad).all()


def test_twice_as_loud_is_one_norm_and_the_logarithm_of_two_away():
    convergence, log_magnitude = stft_distances(2 * noise(), noise(), 512)
    torch.testing.assert_close(convergence, torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(log_magnitude, torch.full((2,), math.log(2)), atol=1e-3, rtol=0)


def test_the_sign_of_a_waveform_does_not_count():
    torch.testing.assert_close(stft_distance(-noise(seed=1), noise()), stft_distance(noise(seed=1), noise()))


def test_all_silence_is_the_same():
    quiet = noise(SILENCE / 20)
    assert stft_distances(quiet, torch.zeros_like(quiet), 1024)[1].max() < 1e-6


def test_a_breath_in_a_pause_does_not_outweigh_everything():
    convergence, _ = stft_distances(noise(1e-3), torch.zeros(2, 8192), 1024)
    assert (convergence < 2).all()


def test_distance_of_a_clip_does_not_depend_on_the_others():
    waveforms, targets = noise(seed=1), noise() * torch.tensor([[1.0], [5.0]])
    together = stft_distance(waveforms, targets)
    alone = torch.cat([stft_distance(*pair) for pair in zip(waveforms.split(1), targets.split(1), strict=True)])
    torch.testing.assert_close(together, alone)


def test_a_click_at_another_time_is_heard_by_the_short_window():
    clicks = torch.zeros(2, 1, 8192)
    clicks[0, 0, 4000] = clicks[1, 0, 4300] = 1
    short, long = (sum(stft_distances(*clicks, length)) for length in (256, 2048))
    assert short > 1.5 * long


def test_gradient_is_finite_for_silence():
    waveforms = torch.zeros(1, 4096, requires_grad=True)
    stft_distance(waveforms, noise()[:1, :4096]).sum().backward()
    assert torch.isfinite(waveforms.grad).all()


def test_mel_distance_is_the_change_of_level_in_nepers():
    torch.testing.assert_close(
        mel_distance(2 * noise(), noise(), GEOMETRY), torch.full((2,), math.log(2)), atol=1e-3, rtol=0
    )


def test_mel_distance_of_one_pitch_forgives_the_phase():
    time, envelope = torch.arange(8192) / GEOMETRY["sampling_rate"], 0.3 * torch.hann_window(8192)[None]
    sine, cosine = (envelope * wave(2 * math.pi * 1000 * time) for wave in (torch.sin, torch.cos))
    another_pitch = envelope * torch.sin(2 * math.pi * 1400 * time)
    assert mel_distance(sine, cosine, GEOMETRY) < 0.2 * mel_distance(sine, another_pitch, GEOMETRY)


def test_mel_distance_measures_the_features_of_the_extractor():
    extractor = MelFeatureExtractor(num_samples=8192, num_mel_frames=32, num_frames=32)
    clips = noise(0.05), noise(0.2, seed=1)
    mels = [extractor.mel_spectrogram(clip) for clip in clips]
    # A mel of 0 to 1 is 100 dB; the distance has a frame more, at the end.
    expected = (mels[0] - mels[1]).abs().mean((1, 2)) * 100 / 20 * math.log(10)
    torch.testing.assert_close(mel_distance(*clips, extractor.spectrogram_geometry), expected, rtol=0.02, atol=0)


def test_mel_distance_has_a_finite_gradient_with_silence_and_empty_bands():
    waveforms = torch.zeros(1, 4096, requires_grad=True)
    narrow = GEOMETRY | {"num_mel_bins": 400}
    mel_distance(waveforms, noise()[:1, :4096], narrow).sum().backward()
    assert torch.isfinite(waveforms.grad).all()


def maps(*scores: float, hidden: float = 0.0) -> list[list[torch.Tensor]]:
    """What a discriminator of one hidden layer returns, one scale for each score."""
    return [[torch.full((2, 3, 5), hidden), torch.full((2, 1, 4), score)] for score in scores]


@pytest.mark.parametrize(
    ("real", "made", "loss"),
    [((1.0, 3.0), (-1.0, -2.0), 0.0), ((0.0, 0.0), (0.0, 0.0), 1.0), ((-1.0, 1.0), (-1.0, 1.0), 1.0)],
)
def test_hinge_loss_of_the_discriminators(real, made, loss):
    assert discriminator_loss(maps(*real), maps(*made)).item() == pytest.approx(loss)


def test_the_vocoder_wants_high_scores():
    assert adversarial_loss(maps(2.0, -1.0)).item() == pytest.approx(-0.5)


def test_feature_matching_compares_hidden_layers_only():
    assert feature_matching_loss(maps(5.0, 5.0, hidden=1.0), maps(-5.0, -5.0, hidden=0.5)).item() == 0.5


def test_feature_matching_does_not_move_the_recordings():
    real = [[torch.ones(1, 1, 4, requires_grad=True), torch.ones(1, 1, 4)]]
    made = [[torch.zeros(1, 1, 4, requires_grad=True), torch.ones(1, 1, 4)]]
    feature_matching_loss(real, made).backward()
    assert real[0][0].grad is None
    assert made[0][0].grad is not None

"""How far is a vocoder's waveform from the recording, and what do the discriminators make of it?"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from melspec_gpt.modeling.mel_filters import mel_filters
from melspec_gpt.training.vq_gan_losses import discriminator_hinge_loss, generator_loss

# Samples. Short windows tell when something happens, long ones at which frequency.
WINDOW_LENGTHS = (256, 512, 1024, 2048)
# Of a magnitude, relative to full scale: what is below (-80 dB) is silence, and all silence is the same.
SILENCE = 1e-4
# A clip counts as at least this loud (-60 dB) in the spectral convergence, or a breath of noise in a pause would
# outweigh all the other clips.
QUIET = 1e-3
# Sum of a filter that lies between two frequencies of the spectrum: its band is silent.
EMPTY_BAND = 1e-8

FeatureMaps = Sequence[Sequence[torch.Tensor]]


def stft_magnitudes(waveforms: torch.Tensor, window_length: int) -> torch.Tensor:
    """
    Magnitude spectra with Hann windows that overlap by three quarters, scaled so that white noise has its standard
    deviation as magnitude at any window length.

    Args:
        waveforms (`torch.FloatTensor` of shape `(batch_size, samples)`): more than half a window long.
        window_length (`int`): samples.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, window_length // 2 + 1, frames)`.
    """
    window = torch.hann_window(window_length, device=waveforms.device)
    spectra = torch.stft(
        waveforms, window_length, window_length // 4, window=window / window.norm(), return_complex=True
    )
    # Not `abs`, whose gradient at 0 is not defined.
    return (spectra.real.square() + spectra.imag.square() + SILENCE**2 / 100).sqrt()


def stft_distances(
    waveforms: torch.Tensor, targets: torch.Tensor, window_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Distance of two spectra at one resolution, in the two measures of Yamamoto et al. (2020, arXiv:1910.11480).

    Args:
        waveforms (`torch.FloatTensor` of shape `(batch_size, samples)`): made by a vocoder.
        targets (`torch.FloatTensor` of the same shape): recorded.
        window_length (`int`): samples.

    Returns:
        Two `torch.FloatTensor` of shape `(batch_size,)`: the spectral convergence, which is the norm of the difference
        as a share of the norm of the target (of -60 dB for a quieter one), and the mean absolute difference of the
        natural logarithms, in which magnitudes below -80 dB are raised to that.
    """
    made, recorded = stft_magnitudes(waveforms, window_length), stft_magnitudes(targets, window_length)
    difference = (made - recorded).square().mean((1, 2)).clamp(min=SILENCE**2 / 100).sqrt()
    convergence = difference / recorded.square().mean((1, 2)).sqrt().clamp(min=QUIET)
    log_made, log_recorded = (magnitudes.clamp(min=SILENCE).log() for magnitudes in (made, recorded))
    return convergence, (log_made - log_recorded).abs().mean((1, 2))


def stft_distance(
    waveforms: torch.Tensor, targets: torch.Tensor, window_lengths: Sequence[int] = WINDOW_LENGTHS
) -> torch.Tensor:
    """
    Multi-resolution STFT distance: spectral convergence plus log-magnitude difference, see [`stft_distances`], as the
    mean over several window lengths.

    Args:
        waveforms (`torch.FloatTensor` of shape `(batch_size, samples)`): made by a vocoder.
        targets (`torch.FloatTensor` of the same shape): recorded.
        window_lengths (`Sequence[int]`): samples.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`.
    """
    return torch.stack([sum(stft_distances(waveforms, targets, length)) for length in window_lengths]).mean(0)


def mel_distance(waveforms: torch.Tensor, targets: torch.Tensor, geometry: Mapping[str, int | float]) -> torch.Tensor:
    """
    Distance of the mel bands, which a vocoder is given and so can meet even where the phases are noise: the mel
    spectrogram loss of Kong et al. (2020, arXiv:2010.05646).

    Args:
        waveforms (`torch.FloatTensor` of shape `(batch_size, samples)`): made by a vocoder.
        targets (`torch.FloatTensor` of the same shape): recorded.
        geometry (`Mapping`): [`~MelFeatureExtractor.spectrogram_geometry`] of the features.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`: mean absolute difference of the natural logarithms of the bands,
        in which magnitudes below -80 dB, the end of the features' scale, are raised to that.
    """
    n_fft = geometry["n_fft"]
    names = ("num_mel_bins", "sampling_rate", "n_fft", "min_frequency", "max_frequency")
    filters = mel_filters(*(geometry[name] for name in names)).to(waveforms.device)
    bands = filters / filters.sum(dim=1, keepdim=True).clamp(min=EMPTY_BAND)
    made, recorded = (
        (bands @ stft_magnitudes(clips, n_fft)).clamp(min=SILENCE).log() for clips in (waveforms, targets)
    )
    return (made - recorded).abs().mean((1, 2))


def discriminator_loss(real: FeatureMaps, made: FeatureMaps) -> torch.Tensor:
    """
    [`discriminator_hinge_loss`] of the scores, mean over the scales.

    Args:
        real, made (`FeatureMaps`): what the discriminator returns for recordings and for the vocoder's waveforms.
    """
    pairs = zip(real, made, strict=True)
    return torch.stack(
        [discriminator_hinge_loss(real_maps[-1], made_maps[-1]) for real_maps, made_maps in pairs]
    ).mean()


def adversarial_loss(made: FeatureMaps) -> torch.Tensor:
    """[`generator_loss`] of the scores of the vocoder's waveforms, mean over the scales."""
    return torch.stack([generator_loss(maps[-1]) for maps in made]).mean()


def feature_matching_loss(real: FeatureMaps, made: FeatureMaps) -> torch.Tensor:
    """
    Mean absolute difference of what the hidden layers of the discriminators see (Kumar et al., 2019,
    arXiv:1910.06711), mean over layers and scales. No gradient reaches the recordings' maps.

    Args:
        real, made (`FeatureMaps`): what the discriminator returns for recordings and for the vocoder's waveforms.
    """
    losses = [
        F.l1_loss(made_map, real_map.detach())
        for real_maps, made_maps in zip(real, made, strict=True)
        for real_map, made_map in zip(real_maps[:-1], made_maps[:-1], strict=True)
    ]
    return torch.stack(losses).mean()

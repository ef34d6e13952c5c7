"""Which frequencies belong to which mel band? The Slaney filter bank."""

import math

import torch

# The scale of Slaney's Auditory Toolbox (1998): linear up to 1000 Hz, which is 15 mel, and logarithmic above.
HZ_PER_MEL = 200 / 3
LINEAR_MELS = 15
LINEAR_HZ = 1000
LOG_STEP = math.log(6.4) / 27


def mel_filters(
    num_mel_bins: int, sampling_rate: int, n_fft: int, min_frequency: float, max_frequency: float
) -> torch.FloatTensor:
    """
    Triangular filters at even distances on the mel scale, each of area 1 over the frequencies in Hz: the filter bank
    of librosa, in PyTorch.

    Args:
        num_mel_bins (`int`): mel bands.
        sampling_rate (`int`): samples per second, Hz.
        n_fft (`int`): window of the spectrum, samples.
        min_frequency, max_frequency (`float`): edges of the mel bands, Hz.

    Returns:
        `torch.FloatTensor` of shape `(num_mel_bins, n_fft // 2 + 1)`: weights of the frequencies in each band.
    """
    points = torch.linspace(_to_mel(min_frequency), _to_mel(max_frequency), num_mel_bins + 2)
    logarithmic = LINEAR_HZ * torch.exp(LOG_STEP * (points - LINEAR_MELS))
    edges = torch.where(points < LINEAR_MELS, points * HZ_PER_MEL, logarithmic).unsqueeze(1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    frequencies = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1)
    triangles = torch.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre))
    return triangles.clamp(min=0) * (2 / (high - low))


def _to_mel(frequency: float) -> float:
    if frequency < LINEAR_HZ:
        return frequency / HZ_PER_MEL
    return LINEAR_MELS + math.log(frequency / LINEAR_HZ) / LOG_STEP

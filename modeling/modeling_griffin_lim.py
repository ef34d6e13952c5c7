"""How does a log-mel spectrogram sound when there are no vocoder weights?"""

import torch
from torch import nn

from .mel_filters import mel_filters

# Griffin-Lim's phases can pile up higher than those of the recording, whose peaks are at most 1.
PEAK_LIMIT = 0.95
MOMENTUM = 0.99
# Keeps the phase of a zero from being a division by zero.
EPSILON = 1e-16


class GriffinLimVocoder(nn.Module):
    """
    Waveform from log-mel features without trained weights: the log scale is undone, the mel bands are spread over
    the linear spectrum by the pseudo-inverse of the filter bank, and the phase is found by the fast Griffin-Lim
    algorithm (Perraudin et al., 2013). The same features always give the same waveform.

    Args:
        num_mel_bins (`int`): mel bands.
        sampling_rate (`int`): samples per second, Hz.
        n_fft, hop_length (`int`): window and hop, samples.
        min_frequency, max_frequency (`float`): edges of the mel bands, Hz.
        num_iterations (`int`): Griffin-Lim iterations.
    """

    def __init__(
        self,
        num_mel_bins: int = 80,
        sampling_rate: int = 22050,
        n_fft: int = 1024,
        hop_length: int = 256,
        min_frequency: float = 125.0,
        max_frequency: float = 7600.0,
        num_iterations: int = 32,
    ):
        super().__init__()
        self.num_mel_bins = num_mel_bins
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.num_iterations = num_iterations

    def mel_to_linear(self, device: torch.device) -> torch.Tensor:
        """Pseudo-inverse (n_fft // 2 + 1, num_mel_bins) of the Slaney filter bank, made when needed: no weights."""
        filters = mel_filters(
            self.num_mel_bins, self.sampling_rate, self.n_fft, self.min_frequency, self.max_frequency
        )
        return torch.linalg.pinv(filters).to(device)

    @torch.no_grad()
    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1].

        Returns:
            `torch.FloatTensor` of shape `(batch_size, hop_length * frames)`: the waveform. One that would peak above
            0.95 is scaled down to that as a whole, so that no file format clips it.
        """
        log_mel = (input_features.float().clamp(-1, 1) + 1) / 2
        mel = 10 ** (log_mel * 5 - 4)  # inverse of (20 * log10(mel) - 20 + 100) / 100
        magnitudes = (self.mel_to_linear(mel.device) @ mel).clamp(min=0)
        # One more frame than features, because a centred transform of n hops has n + 1 frames.
        magnitudes = torch.cat([magnitudes, magnitudes[..., -1:]], dim=-1)
        num_samples = self.hop_length * input_features.shape[-1]
        waveforms = griffin_lim(magnitudes, self.n_fft, self.hop_length, num_samples, self.num_iterations)
        peaks = waveforms.abs().amax(-1, keepdim=True)
        return waveforms * (PEAK_LIMIT / peaks.clamp(min=PEAK_LIMIT))


def griffin_lim(
    magnitudes: torch.Tensor, n_fft: int, hop_length: int, num_samples: int, num_iterations: int
) -> torch.Tensor:
    """
    Waveforms whose spectra have the given magnitudes, as nearly as there are any. Each iteration replaces the phases
    by those of the nearest real spectrum, carried on by a momentum of 0.99 (Perraudin et al., 2013, algorithm 2). The
    phases begin at zero, so that there is nothing random in it.

    Args:
        magnitudes (`torch.FloatTensor` of shape `(batch_size, n_fft // 2 + 1, frames)`): of a centred transform.
        n_fft, hop_length (`int`): window and hop, samples.
        num_samples (`int`): length of the waveforms.
        num_iterations (`int`): more come closer.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_samples)`.
    """
    geometry = {"n_fft": n_fft, "hop_length": hop_length, "window": torch.hann_window(n_fft).to(magnitudes)}
    phases = torch.ones_like(magnitudes, dtype=torch.complex64)
    previous = torch.zeros_like(phases)
    for _ in range(num_iterations):
        waveforms = torch.istft(magnitudes * phases, length=num_samples, **geometry)
        rebuilt = torch.stft(waveforms, return_complex=True, **geometry)
        # Of rebuilt + momentum * (rebuilt - previous) only the phase counts, so the factor of `rebuilt` may be 1.
        phases = rebuilt - previous.mul_(MOMENTUM / (1 + MOMENTUM))
        phases /= phases.abs().add_(EPSILON)
        previous = rebuilt
    return torch.istft(magnitudes * phases, length=num_samples, **geometry)

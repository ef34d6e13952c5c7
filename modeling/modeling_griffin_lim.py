"""How does a log-mel spectrogram sound when there are no vocoder weights?"""

import torch
import torchaudio
from torch import nn

# Griffin-Lim's phases can pile up higher than those of the recording, whose peaks are at most 1.
PEAK_LIMIT = 0.95


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
        filters = torchaudio.functional.melscale_fbanks(
            n_freqs=self.n_fft // 2 + 1,
            f_min=self.min_frequency,
            f_max=self.max_frequency,
            n_mels=self.num_mel_bins,
            sample_rate=self.sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        return torch.linalg.pinv(filters.t()).to(device)

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
        waveforms = torchaudio.functional.griffinlim(
            magnitudes,
            window=torch.hann_window(self.n_fft, device=mel.device),
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.n_fft,
            power=1.0,
            n_iter=self.num_iterations,
            momentum=0.99,
            length=self.hop_length * input_features.shape[-1],
            rand_init=False,  # the same features always give the same waveform
        )
        peaks = waveforms.abs().amax(-1, keepdim=True)
        return waveforms * (PEAK_LIMIT / peaks.clamp(min=PEAK_LIMIT))

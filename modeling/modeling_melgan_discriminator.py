"""Does a waveform sound recorded or made by a vocoder? The discriminators of MelGAN, needed in training only."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

NEGATIVE_SLOPE = 0.2
STRIDE = 4
STRIDED_TAPS = 10 * STRIDE + 1
CHANNELS_PER_GROUP = 4


class MelGANScaleDiscriminator(nn.Module):
    """
    One discriminator: a stack of strided convolutions in groups, whose windows overlap widely. Every score judges a
    window of the waveform, not the whole clip.

    Args:
        base_channels (`int`): channels of the first convolution; each strided one has four times as many.
        max_channels (`int`): the most channels of a convolution.
        num_layers (`int`): strided convolutions; each makes the signal four times shorter.
    """

    def __init__(self, base_channels: int, max_channels: int, num_layers: int):
        super().__init__()
        channels = base_channels
        convolutions = [nn.Conv1d(1, channels, 15, padding=7, padding_mode="reflect")]
        for _ in range(num_layers):
            widened = min(STRIDE * channels, max_channels)
            options = {"stride": STRIDE, "padding": STRIDED_TAPS // 2, "groups": channels // CHANNELS_PER_GROUP}
            convolutions.append(nn.Conv1d(channels, widened, STRIDED_TAPS, **options))
            channels = widened
        widened = min(2 * channels, max_channels)
        convolutions += [nn.Conv1d(channels, widened, 5, padding=2), nn.Conv1d(widened, 1, 3, padding=1)]
        self.convolutions = nn.ModuleList(weight_norm(convolution) for convolution in convolutions)

    def forward(self, signals: torch.Tensor) -> list[torch.Tensor]:
        """Waveforms (B, 1, T) -> the output of every layer, (B, channels, T'); the last one are the scores."""
        *hidden, last = self.convolutions
        feature_maps = []
        for convolution in hidden:
            signals = F.leaky_relu(convolution(signals), NEGATIVE_SLOPE)
            feature_maps.append(signals)
        return [*feature_maps, last(signals)]


class MelGANDiscriminator(nn.Module):
    """
    Multi-scale discriminator of MelGAN (Kumar et al., 2019, arXiv:1910.06711): the same network, with weights of its
    own each time, hears the waveform at its full rate and at rates halved by average pooling. The defaults are the
    sizes of the paper.

    Args:
        base_channels (`int`): channels of the first convolutions, a multiple of 4.
        max_channels (`int`): the most channels of a convolution, a multiple of 4.
        num_layers (`int`): strided convolutions of each scale.
        num_scales (`int`): sampling rates.

    Raises:
        ValueError: if a size is impossible.
    """

    def __init__(self, base_channels: int = 16, max_channels: int = 1024, num_layers: int = 4, num_scales: int = 3):
        super().__init__()
        for name, channels in (("base_channels", base_channels), ("max_channels", max_channels)):
            if channels < CHANNELS_PER_GROUP or channels % CHANNELS_PER_GROUP:
                raise ValueError(f"`{name}` is {channels}; it has to be a multiple of {CHANNELS_PER_GROUP}.")
        if num_layers < 1 or num_scales < 1:
            raise ValueError(f"`num_layers` is {num_layers}, `num_scales` {num_scales}; both have to be 1 or more.")
        self.scales = nn.ModuleList(
            MelGANScaleDiscriminator(base_channels, max_channels, num_layers) for _ in range(num_scales)
        )

    def forward(self, waveforms: torch.Tensor) -> list[list[torch.Tensor]]:
        """
        Args:
            waveforms (`torch.FloatTensor` of shape `(batch_size, samples)`): mono, in [-1, 1].

        Returns:
            `list[list[torch.FloatTensor]]`: for each scale, the full rate first, the feature maps of its layers, each
            of shape `(batch_size, channels, positions)`. The last map of a scale has one channel: the scores, high
            for what seems recorded.
        """
        signals = waveforms.unsqueeze(1)
        outputs = []
        for scale in self.scales:
            outputs.append(scale(signals))
            signals = F.avg_pool1d(signals, 4, stride=2, padding=1, count_include_pad=False)
        return outputs

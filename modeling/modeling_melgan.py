"""How does a log-mel spectrogram become a waveform with trained weights? The generator of MelGAN."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from transformers import PreTrainedModel
from transformers import initialization as init

from ..configuration.configuration_melgan import MelGANConfig
from .portable_code import PortableCodeMixin

NEGATIVE_SLOPE = 0.2
OUTER_TAPS = 7  # of the first and the last convolution


class MelGANConv(nn.Conv1d):
    """
    Convolution with mirrored edges that keeps the length: (B, in, 1, T) -> (B, out, 1, T).

    The signals of this network are pictures of height one with the channels last in memory: PyTorch's
    two-dimensional convolutions then run 1.4 times faster on a CPU than its one-dimensional ones. The weights keep
    the shapes of a one-dimensional convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1):
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.margin = (kernel_size - 1) // 2 * dilation

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        if self.margin:
            signals = F.pad(signals, (self.margin, self.margin, 0, 0), mode="reflect")
        return F.conv2d(signals, self.weight.unsqueeze(2), self.bias, dilation=(1, *self.dilation))


class MelGANUpsample(nn.ConvTranspose1d):
    """Transposed convolution that lengthens a signal: (B, in, 1, T) -> (B, out, 1, ratio * T)."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int):
        # Two windows of `2 * ratio` samples meet in every sample; the paddings make the length a multiple of `ratio`.
        padding = {"padding": ratio // 2 + ratio % 2, "output_padding": ratio % 2}
        super().__init__(in_channels, out_channels, 2 * ratio, stride=ratio, **padding)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        return F.conv_transpose2d(
            signals,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, *self.stride),
            padding=(0, *self.padding),
            output_padding=(0, *self.output_padding),
        )


class MelGANResidualBlock(nn.Module):
    """A dilated convolution of three taps and a pointwise one, beside a pointwise shortcut, all C channels wide."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.dilated_conv = MelGANConv(channels, channels, 3, dilation=dilation)
        self.pointwise_conv = MelGANConv(channels, channels, 1)
        self.shortcut = MelGANConv(channels, channels, 1)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        residual = self.shortcut(signals)
        signals = self.dilated_conv(F.leaky_relu(signals, NEGATIVE_SLOPE))
        return residual + self.pointwise_conv(F.leaky_relu(signals, NEGATIVE_SLOPE))


class MelGANStage(nn.Module):
    """One upsampling, then residual blocks that look ever further: (B, in, 1, T) -> (B, out, 1, ratio * T)."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, dilations: list[int]):
        super().__init__()
        self.upsample = MelGANUpsample(in_channels, out_channels, ratio)
        self.blocks = nn.ModuleList(MelGANResidualBlock(out_channels, dilation) for dilation in dilations)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        signals = self.upsample(F.leaky_relu(signals, NEGATIVE_SLOPE))
        for block in self.blocks:
            signals = block(signals)
        return signals


class MelGANVocoder(PortableCodeMixin, PreTrainedModel):
    """
    Generator of MelGAN (Kumar et al., 2019, arXiv:1910.06711): features to a waveform in one pass.

    The convolutions come with weight normalization, as they are trained; [`~MelGANVocoder.remove_weight_norm`] turns
    them into plain ones for use.
    """

    config_class = MelGANConfig
    base_model_prefix = "melgan"
    main_input_name = "input_features"
    input_modalities = "audio"
    _no_split_modules = ["MelGANResidualBlock"]

    def __init__(self, config: MelGANConfig):
        super().__init__(config)
        num_stages = len(config.upsample_ratios)
        channels = [config.base_channels * 2 ** (num_stages - level) for level in range(num_stages + 1)]
        dilations = [3**index for index in range(config.num_residual_layers)]
        self.conv_in = MelGANConv(config.num_mel_bins, channels[0], OUTER_TAPS)
        self.stages = nn.ModuleList(
            MelGANStage(channels[index], channels[index + 1], ratio, dilations)
            for index, ratio in enumerate(config.upsample_ratios)
        )
        self.conv_out = MelGANConv(channels[-1], 1, OUTER_TAPS)
        # A mirrored edge needs more positions than it adds; the first stage's blocks have the fewest for theirs.
        self.min_frames = max(self.conv_in.margin, dilations[-1] // config.upsample_ratios[0]) + 1
        if config.weight_norm:
            for convolution in self._convolutions():
                weight_norm(convolution)
        self.post_init()

    def _convolutions(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d))]

    @torch.no_grad()
    def _init_weights(self, module):
        # What PyTorch does by default. The original asks for N(0, 0.02), but writes it to a tensor that its weight
        # norm overwrites; with such small weights no gradient would reach the first layers.
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            if parametrize.is_parametrized(module, "weight"):
                magnitude, direction = module.parametrizations.weight.parameters()
                init.kaiming_uniform_(direction, a=5**0.5)
                init.copy_(magnitude, torch.norm_except_dim(direction))
            else:
                init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.bias, -bound, bound)

    def remove_weight_norm(self) -> None:
        """
        Folds magnitude and direction of every weight into one tensor: the same waveform, slightly faster. The model is
        saved and loaded in that form from then on. Does nothing a second time.
        """
        if not self.config.weight_norm:
            return
        for convolution in self._convolutions():
            weight = convolution.weight.detach()
            # `parametrize.remove_parametrizations` would delete `weight` from the class, which deep copies share.
            convolution.__class__ = type(convolution).__base__
            del convolution.parametrizations
            convolution.weight = nn.Parameter(weight)
        self.config.weight_norm = False

    def _check_features(self, input_features: torch.Tensor) -> None:
        shape = tuple(input_features.shape)
        if len(shape) != 3 or shape[1] != self.config.num_mel_bins or shape[2] < self.min_frames:
            raise ValueError(
                f"`input_features` has shape {shape}; expected (batch, {self.config.num_mel_bins}, frames) with at "
                f"least {self.min_frames} frames. MelFeatureExtractor makes such features."
            )

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """
        Features to a waveform.

        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1]. They are
                mapped to [0, 1], the range the original vocoder was trained on, and not clamped.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, hop_length * frames)`: the waveform, mono, in [-1, 1].

        Raises:
            ValueError: if the shape does not fit the model.
        """
        self._check_features(input_features)
        features = (input_features + 1) / 2
        if self.training or features.device.type != "cpu":
            return self._waveforms(features)
        # Longer than a cache as they are, the signals of one clip at a time are 1.4 to 1.6 times faster on a CPU. In
        # training, with its short segments, that would halve the speed of bfloat16.
        return torch.cat([self._waveforms(clip) for clip in features.split(1)])

    def _waveforms(self, features: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, hop_length * frames) of features (B, num_mel_bins, frames) in [0, 1]."""
        signals = self.conv_in(features.unsqueeze(2).contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            signals = stage(signals)
        return torch.tanh(self.conv_out(F.leaky_relu(signals, NEGATIVE_SLOPE))).flatten(1)

"""What are the encoder and decoder of the audio tokenizer made of? The layers of the VQGAN autoencoder."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from ..configuration.configuration_mel_vq import MelVQConfig
from .modeling_attention import eager_attention_forward


def group_norm(config: MelVQConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)


class MelVQResidualBlock(nn.Module):
    """Two normalised 3 x 3 convolutions beside a skip connection: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, config: MelVQConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(config, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(config, out_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = self.shortcut(hidden_states)
        hidden_states = self.conv1(F.silu(self.norm1(hidden_states)))
        hidden_states = self.conv2(self.dropout(F.silu(self.norm2(hidden_states))))
        return residual + hidden_states


class MelVQAttention(nn.Module):
    """Single-head self-attention over all positions of the feature map."""

    is_causal = False

    def __init__(self, config: MelVQConfig, channels: int):
        super().__init__()
        self.config = config
        self.scaling = channels**-0.5
        self.norm = group_norm(config, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(
        self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        normed = self.norm(hidden_states)
        query, key, value = (
            layer(normed).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.query, self.key, self.value)
        )  # each (B, 1, H * W, C)
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, weights = attention_interface(self, query, key, value, None, scaling=self.scaling, **kwargs)
        attended = attended.squeeze(2).transpose(1, 2).reshape(hidden_states.shape)  # from (B, H * W, 1, C)
        return hidden_states + self.output(attended), weights


class MelVQDownsample(nn.Module):
    """Strided convolution that halves both axes; one zero row and column are added at the far ends."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(hidden_states, (0, 1, 0, 1)))


class MelVQUpsample(nn.Module):
    """Nearest-neighbour doubling of both axes, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(hidden_states, scale_factor=2.0, mode="nearest"))


class MelVQLevel(GradientCheckpointingLayer):
    """All blocks of one resolution, then an optional change of resolution."""

    def __init__(self, config: MelVQConfig, level: int, in_channels: int, num_blocks: int, resample: nn.Module | None):
        super().__init__()
        out_channels = config.base_channels * config.channel_multipliers[level]
        has_attention = level in config.attention_levels
        self.blocks = nn.ModuleList(
            MelVQResidualBlock(config, in_channels if index == 0 else out_channels, out_channels)
            for index in range(num_blocks)
        )
        self.attentions = nn.ModuleList(
            MelVQAttention(config, out_channels) for _ in range(num_blocks if has_attention else 0)
        )
        self.resample = resample if resample is not None else nn.Identity()

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        for index, block in enumerate(self.blocks):
            hidden_states = block(hidden_states)
            if self.attentions:
                hidden_states, _ = self.attentions[index](hidden_states, **kwargs)
        return self.resample(hidden_states)


class MelVQMiddle(nn.Sequential):
    """Residual block, attention, residual block at the coarsest resolution."""

    def __init__(self, config: MelVQConfig, channels: int):
        super().__init__(
            MelVQResidualBlock(config, channels, channels),
            MelVQAttention(config, channels),
            MelVQResidualBlock(config, channels, channels),
        )

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        block_before, attention, block_after = self
        hidden_states, _ = attention(block_before(hidden_states), **kwargs)
        return block_after(hidden_states)


class MelVQEncoder(nn.Module):
    """Features (B, 1, num_mel_bins, frames) -> latents (B, latent_channels, rows, steps)."""

    def __init__(self, config: MelVQConfig):
        super().__init__()
        channels = [config.base_channels * multiplier for multiplier in config.channel_multipliers]
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(1, config.base_channels, 3, padding=1)
        self.levels = nn.ModuleList(
            MelVQLevel(
                config,
                level,
                in_channels=config.base_channels if level == 0 else channels[level - 1],
                num_blocks=config.num_res_blocks,
                resample=MelVQDownsample(channels[level]) if level < last else None,
            )
            for level in range(len(channels))
        )
        self.middle = MelVQMiddle(config, channels[-1])
        self.norm_out = group_norm(config, channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], config.latent_channels, 3, padding=1)

    def forward(self, features: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        hidden_states = self.conv_in(features)
        for level in self.levels:
            hidden_states = level(hidden_states, **kwargs)
        return self.conv_out(F.silu(self.norm_out(self.middle(hidden_states, **kwargs))))


class MelVQDecoder(nn.Module):
    """Latents (B, latent_channels, rows, steps) -> features (B, 1, num_mel_bins, frames)."""

    def __init__(self, config: MelVQConfig):
        super().__init__()
        channels = [config.base_channels * multiplier for multiplier in config.channel_multipliers]
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(config.latent_channels, channels[-1], 3, padding=1)
        self.middle = MelVQMiddle(config, channels[-1])
        # from the coarsest level to the finest
        self.levels = nn.ModuleList(
            MelVQLevel(
                config,
                level,
                in_channels=channels[min(level + 1, last)],
                num_blocks=config.num_res_blocks + 1,
                resample=MelVQUpsample(channels[level]) if level > 0 else None,
            )
            for level in reversed(range(len(channels)))
        )
        self.norm_out = group_norm(config, channels[0])
        self.conv_out = nn.Conv2d(channels[0], 1, 3, padding=1)

    def forward(self, latents: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        hidden_states = self.middle(self.conv_in(latents), **kwargs)
        for level in self.levels:
            hidden_states = level(hidden_states, **kwargs)
        return self.conv_out(F.silu(self.norm_out(hidden_states)))

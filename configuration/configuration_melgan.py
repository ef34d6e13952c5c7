"""Which sizes does the MelGAN vocoder have, and how many samples does it make of one mel frame?"""

from dataclasses import field
from math import prod

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .strict_fields import StrictFieldsMixin
from .value_checks import check_sizes


@strict
class MelGANConfig(StrictFieldsMixin, PreTrainedConfig):
    r"""
    Configuration of [`MelGANVocoder`], a convolutional network that turns log-mel features into a waveform. The
    defaults are those of the original vocoder: 256 samples per frame at 22 050 Hz, 4.3 million weights.

    Args:
        num_mel_bins (`int`): mel bands of the input features.
        base_channels (`int`): channels at the full sampling rate; each upsampling before it halves the channels.
        upsample_ratios (`list[int]`): factors by which the upsamplings lengthen the signal, first to last.
        num_residual_layers (`int`): residual blocks after each upsampling. Block `j` has dilation `3**j`.
        sampling_rate (`int`): samples per second of the waveform, Hz.
        weight_norm (`bool`): whether the weights are stored as magnitude and direction (Salimans and Kingma, 2016,
            arXiv:1602.07868). [`~MelGANVocoder.remove_weight_norm`] makes it `False`.

    Raises:
        ValueError: if a size is impossible.
    """

    model_type = "melgan"

    num_mel_bins: int = 80
    base_channels: int = 32
    upsample_ratios: list[int] | tuple[int, ...] = field(default_factory=lambda: [8, 8, 2, 2])
    num_residual_layers: int = 3
    sampling_rate: int = 22050
    weight_norm: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        # The strict validation would run it too, but wraps its ValueError in another exception type.
        self.validate_architecture()

    @property
    def hop_length(self) -> int:
        """Samples per mel frame."""
        return prod(self.upsample_ratios)

    def validate_architecture(self):
        """Part of the strict validation: every size has to be possible."""
        super().validate_architecture()
        check_sizes(self, "num_mel_bins", "base_channels", "num_residual_layers", "sampling_rate")
        if not self.upsample_ratios or min(self.upsample_ratios) < 2:
            raise ValueError(f"`upsample_ratios` is {self.upsample_ratios}; give one factor >= 2 per upsampling.")

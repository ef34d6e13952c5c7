"""Which sizes does the VQ audio tokenizer have, and which grid of codes follows from them?"""

from dataclasses import field

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_melgan import MelGANConfig
from .strict_fields import StrictFieldsMixin
from .value_checks import check_dropouts, check_sizes, check_spectrogram


@strict
class MelVQConfig(StrictFieldsMixin, PreTrainedConfig):
    r"""
    Configuration of [`MelVQModel`], the convolutional VQ autoencoder that turns a log-mel spectrogram into codes.
    The defaults are those of the original 10-second VAS model: 80 x 848 features become a 5 x 53 grid, 265 codes.

    Args:
        num_mel_bins (`int`): mel bands of the input features.
        num_frames (`int`): mel frames of one clip (hop 256 at 22 050 Hz: 86.13 frames per second).
        base_channels (`int`): channels of the first and last resolution level.
        channel_multipliers (`list[int]`): channels of each level, as multiples of `base_channels`. Each level after
            the first halves both axes.
        num_res_blocks (`int`): residual blocks of each encoder level (the decoder has one more).
        attention_levels (`list[int]`): levels whose residual blocks are followed by self-attention.
        latent_channels (`int`): channels that leave the encoder.
        codebook_dim (`int`): size of one codebook vector.
        codebook_size (`int`): number of codebook vectors.
        commitment_cost (`float`): weight of the commitment term (van den Oord et al., 2017, eq. 3).
        dropout (`float`): dropout inside the residual blocks.
        norm_num_groups (`int`): groups of every GroupNorm.
        sampling_rate (`int`): samples per second of the audio behind the features, Hz.
        n_fft, hop_length (`int`): window and hop of the mel spectrogram, samples.
        min_frequency, max_frequency (`float`): edges of the mel bands, Hz.
        vocoder (`MelGANConfig` or `dict`, *optional*): the vocoder inside the tokenizer, trained on the same kind of
            mel spectrogram. Without one, waveforms come from the Griffin-Lim algorithm.

    Raises:
        ValueError: if the sizes contradict each other or those of the vocoder.
    """

    model_type = "mel_vq"
    sub_configs_defaults = {"vocoder": SubConfigSpec(MelGANConfig, optional=True)}

    num_mel_bins: int = 80
    num_frames: int = 848
    base_channels: int = 128
    channel_multipliers: list[int] | tuple[int, ...] = field(default_factory=lambda: [1, 1, 2, 2, 4])
    num_res_blocks: int = 2
    attention_levels: list[int] | tuple[int, ...] = field(default_factory=lambda: [4])
    latent_channels: int = 256
    codebook_dim: int = 256
    codebook_size: int = 128
    commitment_cost: float | int = 0.25
    dropout: float | int = 0.0
    norm_num_groups: int = 32
    sampling_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 256
    min_frequency: float | int = 125.0
    max_frequency: float | int = 7600.0
    vocoder: PreTrainedConfig | dict | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        # The strict validation would run it too, but wraps its ValueError in another exception type.
        self.validate_architecture()

    @property
    def downsampling_factor(self) -> int:
        """Input positions per code, along either axis."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Codes of one clip as (frequency rows, time steps)."""
        return self.num_mel_bins // self.downsampling_factor, self.num_frames // self.downsampling_factor

    @property
    def num_codes(self) -> int:
        """Codes of one clip."""
        rows, steps = self.grid_shape
        return rows * steps

    def validate_architecture(self):
        """Part of the strict validation: every size has to fit the others."""
        super().validate_architecture()
        check_sizes(self, "base_channels", "num_res_blocks", "latent_channels", "codebook_dim", "norm_num_groups")
        check_dropouts(self, "dropout")
        check_spectrogram(self)
        if not self.commitment_cost >= 0:
            raise ValueError(f"`commitment_cost` is {self.commitment_cost}; it has to be 0 or more.")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ValueError(f"`channel_multipliers` is {self.channel_multipliers}; give one factor >= 1 per level.")
        factor = self.downsampling_factor
        for name in ("num_mel_bins", "num_frames"):
            value = getattr(self, name)
            if value < factor or value % factor:
                raise ValueError(f"`{name}` is {value}; it has to be a multiple of {factor}, the downsampling factor.")
        for multiplier in self.channel_multipliers:
            if self.base_channels * multiplier % self.norm_num_groups:
                raise ValueError(
                    f"`base_channels` {self.base_channels} x {multiplier} is not divisible by `norm_num_groups` "
                    f"{self.norm_num_groups}; change one of them."
                )
        levels = range(len(self.channel_multipliers))
        if not set(self.attention_levels) <= set(levels):
            raise ValueError(f"`attention_levels` is {self.attention_levels}; the levels are 0 to {levels[-1]}.")
        if self.codebook_size < 2:
            raise ValueError(f"`codebook_size` is {self.codebook_size}; it has to be at least 2.")
        self.check_vocoder(self.vocoder)

    def check_vocoder(self, vocoder: PreTrainedConfig | None) -> None:
        """
        Whether a vocoder can speak for this tokenizer; `None` always can.

        Raises:
            ValueError: if it is made for other features, or is no MelGAN.
        """
        if vocoder is None:
            return
        # By its type name: code loaded from a Hub repository brings a class of its own.
        if vocoder.model_type != MelGANConfig.model_type:
            raise ValueError(f"`vocoder` is a {vocoder.model_type!r} config; give a {MelGANConfig.model_type!r} one.")
        for name in ("num_mel_bins", "sampling_rate"):
            if getattr(vocoder, name) != getattr(self, name):
                raise ValueError(
                    f"`vocoder.{name}` is {getattr(vocoder, name)}, but `{name}` of the audio tokenizer is "
                    f"{getattr(self, name)}; both have to work on the same features."
                )
        if vocoder.hop_length != self.hop_length:
            raise ValueError(
                f"`vocoder.upsample_ratios` is {vocoder.upsample_ratios}, {vocoder.hop_length} samples per frame, but "
                f"`hop_length` of the audio tokenizer is {self.hop_length}; their product has to equal it."
            )

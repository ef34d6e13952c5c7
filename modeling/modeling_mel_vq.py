"""The audio tokenizer: log-mel features -> codes -> log-mel features -> waveform."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_mel_vq import MelVQConfig
from .modeling_griffin_lim import GriffinLimVocoder
from .modeling_mel_vq_layers import MelVQAttention, MelVQDecoder, MelVQEncoder, MelVQLevel
from .modeling_melgan import MelGANVocoder
from .modeling_vector_quantizer import VectorQuantizer
from .portable_code import PortableCodeMixin


@dataclass
class MelVQOutput(ModelOutput):
    """
    Output of [`MelVQModel`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): `reconstruction_loss + codebook_loss`.
        reconstruction_loss (`torch.FloatTensor` of shape `()`): mean absolute error on the [-1, 1] scale.
        codebook_loss (`torch.FloatTensor` of shape `()`): codebook and commitment terms.
        perplexity (`torch.FloatTensor` of shape `()`): exp(entropy) of the codes of this batch.
        reconstruction (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): decoded features.
        audio_codes (`torch.LongTensor` of shape `(batch_size, 1, num_codes)`): codes, time-major.
        latents (`torch.FloatTensor` of shape `(batch_size, codebook_dim, rows, steps)`): before quantization.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*): on request, the input of the first level and the output
            of every level, the encoder's first, each of shape `(batch_size, channels, height, width)`.
        attentions (`tuple(torch.FloatTensor)`, *optional*): on request, the weights of every attention, the encoder's
            first, each of shape `(batch_size, 1, height * width, height * width)` (eager attention only).
    """

    loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    codebook_loss: torch.FloatTensor | None = None
    perplexity: torch.FloatTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    audio_codes: torch.LongTensor | None = None
    latents: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class MelVQEncoderOutput(ModelOutput):
    """
    Output of [`MelVQModel.encode`].

    Args:
        audio_codes (`torch.LongTensor` of shape `(batch_size, 1, num_codes)`): codes, time-major.
        quantized_representation (`torch.FloatTensor` of shape `(batch_size, codebook_dim, rows, steps)`): the
            codebook vectors of the codes.
    """

    audio_codes: torch.LongTensor | None = None
    quantized_representation: torch.FloatTensor | None = None


@dataclass
class MelVQDecoderOutput(ModelOutput):
    """
    Output of [`MelVQModel.decode`].

    Args:
        input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): decoded features.
        audio_values (`torch.FloatTensor` of shape `(batch_size, hop_length * frames)`): the waveform, mono, in
            float32 whatever the precision of the model.
    """

    input_features: torch.FloatTensor | None = None
    audio_values: torch.FloatTensor | None = None


class MelVQModel(PortableCodeMixin, PreTrainedAudioTokenizerBase):
    """
    VQ autoencoder over log-mel spectrograms, after SpecVQGAN (Iashin and Rahtu, 2021, arXiv:2110.08791).

    Codes come out time-major: all frequency rows of step 0, the lowest band first, then those of step 1, and so on.
    Any number of frames that is a multiple of `config.downsampling_factor` is accepted.

    Waveforms come from `vocoder`, which is saved and loaded with the tokenizer, or from the Griffin-Lim algorithm if
    it is `None`. The loss of this model does not reach the vocoder.
    """

    config_class = MelVQConfig
    base_model_prefix = "mel_vq"
    main_input_name = "input_features"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MelVQLevel"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": MelVQLevel, "attentions": MelVQAttention}

    def __init__(self, config: MelVQConfig):
        super().__init__(config)
        self.encoder = MelVQEncoder(config)
        self.pre_quantization = nn.Conv2d(config.latent_channels, config.codebook_dim, 1)
        self.quantizer = VectorQuantizer(config.codebook_size, config.codebook_dim, config.commitment_cost)
        self.post_quantization = nn.Conv2d(config.codebook_dim, config.latent_channels, 1)
        self.decoder = MelVQDecoder(config)
        self.griffin_lim = GriffinLimVocoder(
            num_mel_bins=config.num_mel_bins,
            sampling_rate=config.sampling_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            min_frequency=config.min_frequency,
            max_frequency=config.max_frequency,
        )
        self.vocoder = None if config.vocoder is None else MelGANVocoder(config.vocoder)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -1 / module.num_embeddings, 1 / module.num_embeddings)

    def set_vocoder(self, vocoder: MelGANVocoder | None) -> None:
        """
        Puts a vocoder into the tokenizer, in place of the one it has; `None` takes it out.

        Args:
            vocoder (`MelGANVocoder`, *optional*): not copied, but moved to the tokenizer's device and precision.

        Raises:
            ValueError: if the vocoder is made for other features; the tokenizer then stays as it was.
        """
        config = None if vocoder is None else vocoder.config
        self.config.check_vocoder(config)
        self.config.vocoder = config
        self.vocoder = None if vocoder is None else vocoder.to(self.device, self.dtype)

    def _check_features(self, input_features: torch.Tensor) -> None:
        factor = self.config.downsampling_factor
        shape = tuple(input_features.shape)
        if len(shape) != 3 or 0 in shape or shape[1] != self.config.num_mel_bins or shape[2] % factor:
            raise ValueError(
                f"`input_features` has shape {shape}; expected (batch, {self.config.num_mel_bins}, frames) with "
                f"frames a multiple of {factor}, and nothing empty. MelFeatureExtractor makes such features."
            )

    def _latents(self, input_features: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        self._check_features(input_features)
        return self.pre_quantization(self.encoder(input_features.unsqueeze(1), **kwargs))

    def _features(self, quantized: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        return self.decoder(self.post_quantization(quantized), **kwargs).squeeze(1)

    def _waveform(self, features: torch.Tensor) -> torch.Tensor:
        if self.vocoder is None:
            return self.griffin_lim(features)
        # The decoder overshoots the range that the vocoder was trained on.
        return self.vocoder(features.clamp(-1, 1)).float()

    def _to_grid(self, audio_codes: torch.Tensor) -> torch.Tensor:
        """Time-major codes (B, 1, num_codes) or (B, num_codes) -> (B, rows, steps)."""
        rows = self.config.grid_shape[0]
        codes = audio_codes.squeeze(1) if audio_codes.dim() == 3 and audio_codes.shape[1] == 1 else audio_codes
        if codes.dim() != 2 or codes.numel() == 0 or codes.shape[1] % rows:
            raise ValueError(
                f"`audio_codes` has shape {tuple(audio_codes.shape)}; expected (batch, 1, n) or (batch, n) with n a "
                f"multiple of {rows}, the frequency rows of the code grid, and nothing empty."
            )
        low, high = codes.min(), codes.max()
        last = self.config.codebook_size - 1
        if low < 0 or high > last:
            raise ValueError(
                f"`audio_codes` holds values from {low} to {high}; codes are 0 to {last}. Remove class tokens first."
            )
        return codes.reshape(codes.shape[0], -1, rows).transpose(1, 2)

    @staticmethod
    def _to_sequence(grid: torch.Tensor) -> torch.Tensor:
        """Codes (B, rows, steps) -> time-major (B, 1, num_codes)."""
        return grid.transpose(1, 2).flatten(1).unsqueeze(1)

    def encode(self, input_features: torch.Tensor) -> MelVQEncoderOutput:
        """
        Features to codes.

        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1].

        Raises:
            ValueError: if the shape does not fit the model.
        """
        codes = self.quantizer.nearest_codes(self._latents(input_features))
        return MelVQEncoderOutput(
            audio_codes=self._to_sequence(codes), quantized_representation=self.quantizer.lookup(codes)
        )

    def decode(
        self,
        audio_codes: torch.Tensor | None = None,
        quantized_representation: torch.Tensor | None = None,
        return_audio: bool = True,
    ) -> MelVQDecoderOutput:
        """
        Codes (or their codebook vectors) to features and a waveform.

        Args:
            audio_codes (`torch.LongTensor` of shape `(batch_size, 1, num_codes)`): codes, time-major.
            quantized_representation (`torch.FloatTensor` of shape `(batch_size, codebook_dim, rows, steps)`): instead
                of `audio_codes`.
            return_audio (`bool`): whether to make the waveform; without it `audio_values` is `None`.

        Raises:
            ValueError: unless exactly one of the two inputs is given, or if `audio_codes` holds anything but codes.
        """
        if (audio_codes is None) == (quantized_representation is None):
            raise ValueError("Give exactly one of `audio_codes` and `quantized_representation`.")
        if quantized_representation is None:
            quantized_representation = self.quantizer.lookup(self._to_grid(audio_codes))
        features = self._features(quantized_representation)
        return MelVQDecoderOutput(
            input_features=features, audio_values=self._waveform(features) if return_audio else None
        )

    @capture_outputs
    def forward(self, input_features: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> MelVQOutput:
        """
        Reconstructs the features through the codes, with the training loss.

        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1].
        """
        latents = self._latents(input_features, **kwargs)
        quantized = self.quantizer(latents)
        reconstruction = self._features(quantized.quantized, **kwargs)
        reconstruction_loss = F.l1_loss(reconstruction, input_features)
        return MelVQOutput(
            loss=reconstruction_loss + quantized.loss,
            reconstruction_loss=reconstruction_loss,
            codebook_loss=quantized.loss,
            perplexity=quantized.perplexity,
            reconstruction=reconstruction,
            audio_codes=self._to_sequence(quantized.codes),
            latents=latents,
        )

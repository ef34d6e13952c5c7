"""Does a converted model compute what the original computes? Compared on random input with its own formulas."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .modeling_mel_gpt import MelGPTForCausalLM
from .modeling_mel_gpt_vae import MelGPTVAEModel
from .modeling_mel_vq import MelVQModel
from .modeling_melgan import MelGANVocoder
from .original_reference import (
    Tensors,
    class_logits,
    decoder_logits,
    melgan_waveform,
    posterior,
    quantize,
    vq_features,
    vq_latents,
)

# Of the largest value of a quantity, or of 1 if that is larger. The order of the sums in float32 moves results by less
# than a tenth of it, up to 24 layers of width 1024; GELU's tanh approximation moves logits by three times as much.
RELATIVE_TOLERANCE = 1e-4
# Enough for every layer of the autoencoder to see its edges and its middle.
MAXIMUM_STEPS = 6
VOCODER_FRAMES = 32
SEED = 0


@dataclass(frozen=True)
class ParityRow:
    """How far our `quantity` is from the original's, and how far it may be."""

    quantity: str
    max_abs_error: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether the error is small enough; NaN is not."""
        return self.max_abs_error <= self.tolerance


def compare(quantity: str, ours: torch.Tensor, theirs: torch.Tensor) -> ParityRow:
    """The largest difference between two tensors of the same shape."""
    tolerance = RELATIVE_TOLERANCE * max(1.0, theirs.abs().max().item())
    return ParityRow(quantity, (ours - theirs).abs().max().item(), tolerance)


@torch.no_grad()
def gpt_parity(model: MelGPTForCausalLM, weights: Mapping[str, torch.Tensor]) -> list[ParityRow]:
    """Logits and loss of one random sentence."""
    config = model.config
    codes = torch.randint(config.codebook_size, (1, config.num_codes), generator=_generator())
    classes = torch.randint(config.num_labels, (1,), generator=_generator())
    sentences = torch.cat([config.codebook_size + classes[:, None], codes], dim=1)
    outputs = model(sentences, labels=sentences)
    expected = class_logits(weights, classes, codes, config.num_attention_heads)
    return [
        compare("logits", outputs.logits[:, :-1, : config.codebook_size], expected),
        compare("loss", outputs.loss, F.cross_entropy(expected.transpose(1, 2), codes)),
    ]


@torch.no_grad()
def vae_parity(model: MelGPTVAEModel, weights: Mapping[str, torch.Tensor]) -> list[ParityRow]:
    """Posterior of one random clip of codes, and logits of its reconstruction from a random latent."""
    config = model.config
    codes = torch.randint(config.codebook_size, (1, config.num_codes), generator=_generator())
    latents = torch.randn(1, config.latent_size, generator=_generator())
    encoded = model.encode(codes)
    mean, log_variance = posterior(weights, codes, config.encoder.num_attention_heads)
    logits = decoder_logits(weights, latents, codes, config.decoder.num_attention_heads)
    return [
        compare("mean", encoded.mean, mean),
        compare("log variance", encoded.log_variance, log_variance),
        compare("decoder logits", model(codes, latents=latents).logits[..., : config.codebook_size], logits),
    ]


@torch.no_grad()
def vq_parity(model: MelVQModel, weights: Mapping[str, torch.Tensor], prefix: str = "") -> list[ParityRow]:
    """Latents, codes, loss and decoded features of a short random spectrogram."""
    config = model.config
    tensors = Tensors(weights, prefix)
    rows, steps = config.grid_shape[0], min(config.grid_shape[1], MAXIMUM_STEPS)
    size = (1, config.num_mel_bins, steps * config.downsampling_factor)
    features = torch.rand(size, generator=_generator()) * 2 - 1
    codes = torch.randint(config.codebook_size, (1, rows, steps), generator=_generator())
    outputs = model(features)
    latents = vq_latents(tensors, features)
    quantized = quantize(tensors, latents)
    chosen = outputs.audio_codes.view(1, steps, rows).transpose(1, 2)
    decoded = model.decode(codes.transpose(1, 2).reshape(1, 1, -1), return_audio=False).input_features
    return [
        compare("latents", outputs.latents, latents),
        # Two vectors may be equally near: the distance has to be the smallest, whatever the code.
        compare(
            "squared distances of codes",
            quantized.distances.gather(-1, chosen.unsqueeze(-1)).squeeze(-1),
            quantized.distances.amin(-1),
        ),
        compare("codebook loss", outputs.codebook_loss, quantized.loss),
        compare("decoded features", decoded, vq_features(tensors, codes)),
    ]


@torch.no_grad()
def melgan_parity(model: MelGANVocoder, weights: Mapping[str, torch.Tensor]) -> list[ParityRow]:
    """Waveform of a short random spectrogram."""
    frames = max(VOCODER_FRAMES, model.min_frames)
    features = torch.rand(1, model.config.num_mel_bins, frames, generator=_generator()) * 2 - 1
    return [compare("waveform", model(features), melgan_waveform(weights, (features + 1) / 2))]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)

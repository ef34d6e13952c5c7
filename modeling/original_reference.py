"""
What does the original compute? Its forward passes, written out on the tensors of its own checkpoints.

Nothing here is shared with our models: a conversion is checked against these functions. The formulas are those of the
networks that the original builds on: minGPT, the VQGAN of SpecVQGAN (Iashin and Rahtu, 2021, arXiv:2110.08791) and
the generator of MelGAN (Kumar et al., 2019, arXiv:1910.06711).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F


class Tensors:
    """
    Tensors of a state dict under a common prefix, in float32.

    Args:
        weights (`Mapping[str, torch.Tensor]`): the state dict.
        prefix (`str`): what the names begin with.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], prefix: str = ""):
        self.weights = weights
        self.prefix = prefix

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.weights[self.prefix + name].float()

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.weights

    def under(self, prefix: str) -> "Tensors":
        """The tensors whose names go on with `prefix`."""
        return Tensors(self.weights, self.prefix + prefix)


# Transformers


def transformer(tensors: Tensors, embeddings: torch.Tensor, num_heads: int) -> torch.Tensor:
    """
    Output of the original's transformer, head included. A position sees those that the mask in the checkpoint allows.

    Args:
        tensors (`Tensors`): those of the transformer.
        embeddings (`torch.Tensor` of shape `(batch_size, length, width)`): what it reads, without positions.
        num_heads (`int`): attention heads.
    """
    length = embeddings.shape[1]
    hidden = embeddings + tensors["pos_emb"][:, :length]
    layer = 0
    while f"blocks.{layer}.ln1.weight" in tensors:
        block = tensors.under(f"blocks.{layer}.")
        hidden = hidden + _masked_attention(block.under("attn."), _layer_norm(block.under("ln1."), hidden), num_heads)
        inner = _linear(block.under("mlp.0."), _layer_norm(block.under("ln2."), hidden))
        hidden = hidden + _linear(block.under("mlp.2."), 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2))))
        layer += 1
    return _layer_norm(tensors.under("ln_f."), hidden) @ tensors["head.weight"].t()


def _masked_attention(tensors: Tensors, hidden: torch.Tensor, num_heads: int) -> torch.Tensor:
    batch_size, length, width = hidden.shape
    query, key, value = (
        _linear(tensors.under(f"{name}."), hidden).view(batch_size, length, num_heads, width // num_heads)
        for name in ("query", "key", "value")
    )
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(width // num_heads)
    scores = scores.masked_fill(tensors["mask"][:, :, :length, :length] == 0, float("-inf"))
    mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)
    return _linear(tensors.under("proj."), mixed.reshape(batch_size, length, width))


def _linear(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    return hidden @ tensors["weight"].t() + tensors["bias"]


def _layer_norm(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    centred = hidden - hidden.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * tensors["weight"] + tensors["bias"]


def class_logits(
    weights: Mapping[str, torch.Tensor], classes: torch.Tensor, codes: torch.Tensor, num_heads: int
) -> torch.Tensor:
    """
    Logits `(batch_size, num_codes, codebook_size)` of the class-conditional GPT; row `i` predicts code `i`.

    Args:
        weights (`Mapping[str, torch.Tensor]`): the state dict.
        classes (`torch.LongTensor` of shape `(batch_size,)`): labels.
        codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): codes, time-major.
        num_heads (`int`): attention heads.
    """
    tensors = Tensors(weights, "transformer.")
    embeddings = [tensors["embedder.weight"][classes[:, None]], tensors["tok_emb.weight"][codes[:, :-1]]]
    return transformer(tensors, torch.cat(embeddings, dim=1), num_heads)


def posterior(
    weights: Mapping[str, torch.Tensor], codes: torch.Tensor, num_heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log variance, each `(batch_size, latent_size)`, of the GPT-VAE's encoder at its last position."""
    tensors = Tensors(weights, "encoder.transformer.")
    return transformer(tensors, tensors["tok_emb.weight"][codes], num_heads)[:, -1].chunk(2, dim=-1)


def decoder_logits(
    weights: Mapping[str, torch.Tensor], latents: torch.Tensor, codes: torch.Tensor, num_heads: int
) -> torch.Tensor:
    """Logits `(batch_size, num_codes, codebook_size)` of the GPT-VAE's decoder after `latents` and earlier codes."""
    tensors = Tensors(weights, "decoder.transformer.")
    embeddings = torch.cat([latents[:, None], tensors["tok_emb.weight"][codes[:, :-1]]], dim=1)
    return transformer(tensors, embeddings, num_heads)


# Audio tokenizer


@dataclass
class Quantization:
    """
    How latents meet the codebook.

    Args:
        distances (`torch.Tensor` of shape `(batch_size, rows, steps, codebook_size)`): squared, to all vectors.
        codes (`torch.LongTensor` of shape `(batch_size, rows, steps)`): the nearest vectors.
        loss (`torch.Tensor` of shape `()`): codebook term and 0.25 times the commitment term.
        perplexity (`torch.Tensor` of shape `()`): of the codes.
    """

    distances: torch.Tensor
    codes: torch.Tensor
    loss: torch.Tensor
    perplexity: torch.Tensor


def vq_latents(tensors: Tensors, features: torch.Tensor) -> torch.Tensor:
    """Latents `(batch_size, codebook_dim, rows, steps)` of features `(batch_size, mel_bins, frames)` in [-1, 1]."""
    encoder = tensors.under(_stack_name(tensors, "encoder"))
    hidden = _conv(encoder.under("conv_in."), features[:, None])
    level = 0
    while f"down.{level}.block.0.norm1.weight" in encoder:
        hidden = _vq_level(encoder.under(f"down.{level}."), hidden)
        if f"down.{level}.downsample.conv.weight" in encoder:
            convolution = encoder.under(f"down.{level}.downsample.conv.")
            padded = F.pad(hidden, (0, 1, 0, 1))
            hidden = F.conv2d(padded, convolution["weight"], convolution["bias"], stride=2)
        level += 1
    hidden = _vq_end(encoder, _vq_middle(encoder, hidden))
    return _conv(tensors.under("quant_conv."), hidden)


def quantize(tensors: Tensors, latents: torch.Tensor) -> Quantization:
    """Nearest codebook vectors, the VQ loss with commitment cost 0.25, and the perplexity of the codes."""
    codebook = codebook_of(tensors)
    vectors = latents.permute(0, 2, 3, 1)
    distances = (vectors[..., None, :] - codebook).square().sum(-1)
    codes = distances.argmin(-1)
    error = F.mse_loss(codebook[codes], vectors)
    shares = F.one_hot(codes.flatten(), len(codebook)).float().mean(0)
    perplexity = torch.exp(-(shares * torch.log(shares + 1e-10)).sum())
    return Quantization(distances, codes, error + 0.25 * error, perplexity)


def vq_features(tensors: Tensors, codes: torch.Tensor) -> torch.Tensor:
    """Features `(batch_size, mel_bins, frames)` of codes `(batch_size, rows, steps)`."""
    decoder = tensors.under(_stack_name(tensors, "decoder"))
    vectors = codebook_of(tensors)[codes].permute(0, 3, 1, 2)
    hidden = _conv(decoder.under("conv_in."), _conv(tensors.under("post_quant_conv."), vectors))
    hidden = _vq_middle(decoder, hidden)
    num_levels = 0
    while f"up.{num_levels}.block.0.norm1.weight" in decoder:
        num_levels += 1
    for level in reversed(range(num_levels)):
        hidden = _vq_level(decoder.under(f"up.{level}."), hidden)
        if f"up.{level}.upsample.conv.weight" in decoder:
            doubled = hidden.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            hidden = _conv(decoder.under(f"up.{level}.upsample.conv."), doubled)
    return _vq_end(decoder, hidden)[:, 0]


def codebook_of(tensors: Tensors) -> torch.Tensor:
    """The codebook `(codebook_size, codebook_dim)`, under either of its names."""
    name = "_vq_vae._embedding.weight"
    return tensors[name if name in tensors else "quantize.embedding.weight"]


def _stack_name(tensors: Tensors, name: str) -> str:
    return f"_{name}." if f"_{name}.conv_in.weight" in tensors else f"{name}."


def _conv(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    weight = tensors["weight"]
    return F.conv2d(hidden, weight, tensors["bias"], padding=weight.shape[-1] // 2)


def _group_norm(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    return F.group_norm(hidden, 32, tensors["weight"], tensors["bias"], eps=1e-6)


def _swish(hidden: torch.Tensor) -> torch.Tensor:
    return hidden * torch.sigmoid(hidden)


def _vq_level(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    block = 0
    while f"block.{block}.norm1.weight" in tensors:
        hidden = _residual_block(tensors.under(f"block.{block}."), hidden)
        if f"attn.{block}.q.weight" in tensors:
            hidden = _spatial_attention(tensors.under(f"attn.{block}."), hidden)
        block += 1
    return hidden


def _vq_middle(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    hidden = _residual_block(tensors.under("mid.block_1."), hidden)
    hidden = _spatial_attention(tensors.under("mid.attn_1."), hidden)
    return _residual_block(tensors.under("mid.block_2."), hidden)


def _vq_end(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    return _conv(tensors.under("conv_out."), _swish(_group_norm(tensors.under("norm_out."), hidden)))


def _residual_block(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    inner = _conv(tensors.under("conv1."), _swish(_group_norm(tensors.under("norm1."), hidden)))
    inner = _conv(tensors.under("conv2."), _swish(_group_norm(tensors.under("norm2."), inner)))
    if "nin_shortcut.weight" in tensors:
        hidden = _conv(tensors.under("nin_shortcut."), hidden)
    return hidden + inner


def _spatial_attention(tensors: Tensors, hidden: torch.Tensor) -> torch.Tensor:
    normed = _group_norm(tensors.under("norm."), hidden)
    query, key, value = (_conv(tensors.under(f"{name}."), normed).flatten(2) for name in ("q", "k", "v"))
    weights = (query.transpose(1, 2) @ key / math.sqrt(query.shape[1])).softmax(-1)  # (B, queries, keys)
    mixed = (value @ weights.transpose(1, 2)).view(hidden.shape)
    return hidden + _conv(tensors.under("proj_out."), mixed)


# Vocoder


def melgan_waveform(weights: Mapping[str, torch.Tensor], mel: torch.Tensor) -> torch.Tensor:
    """Waveform `(batch_size, samples)` of a mel spectrogram `(batch_size, mel_bins, frames)` in [0, 1]."""
    tensors = Tensors(weights, "model.")
    indices = sorted({int(name.split(".")[1]) for name in weights})
    hidden = _padded_conv(tensors.under(f"{indices[0]}."), mel, dilation=1)
    dilation = 1
    for index in indices[1:-1]:
        layer = tensors.under(f"{index}.")
        if "shortcut.bias" in layer:
            inner = _padded_conv(layer.under("block.2."), F.leaky_relu(hidden, 0.2), dilation)
            inner = _padded_conv(layer.under("block.4."), F.leaky_relu(inner, 0.2), dilation=1)
            hidden = _padded_conv(layer.under("shortcut."), hidden, dilation=1) + inner
            dilation *= 3
        else:
            weight = _normed_weight(layer)
            ratio = weight.shape[-1] // 2
            hidden = F.conv_transpose1d(
                F.leaky_relu(hidden, 0.2),
                weight,
                layer["bias"],
                stride=ratio,
                padding=ratio // 2 + ratio % 2,
                output_padding=ratio % 2,
            )
            dilation = 1
    return torch.tanh(_padded_conv(tensors.under(f"{indices[-1]}."), F.leaky_relu(hidden, 0.2), dilation=1))[:, 0]


def _padded_conv(tensors: Tensors, hidden: torch.Tensor, dilation: int) -> torch.Tensor:
    weight = _normed_weight(tensors)
    margin = dilation * (weight.shape[-1] // 2)
    if margin:
        hidden = F.pad(hidden, (margin, margin), mode="reflect")
    return F.conv1d(hidden, weight, tensors["bias"], dilation=dilation)


def _normed_weight(tensors: Tensors) -> torch.Tensor:
    """Magnitude times direction (Salimans and Kingma, 2016, arXiv:1602.07868), one magnitude per first index."""
    direction = tensors["weight_v"]
    return tensors["weight_g"] * direction / direction.square().sum((1, 2), keepdim=True).sqrt()

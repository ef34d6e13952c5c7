"""Which configuration does a model of the original have, as far as its tensors tell?"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers.utils import logging

from ..configuration.configuration_mel_gpt import MelGPTConfig
from ..configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from ..configuration.configuration_mel_vq import MelVQConfig
from ..configuration.configuration_melgan import MelGANConfig
from .original_weights import OriginalWeights

logger = logging.get_logger(__name__)

# Attention heads leave no trace in the tensors; these are the original's models, by layers and width.
ORIGINAL_HEADS = {(24, 1024): 16, (36, 1280): 20, (40, 1472): 23}
DEFAULT_HEADS = 16
# The classes of VAS in the original's order.
VAS_CLASSES = ("baby", "cough", "dog", "drum", "fireworks", "gun", "hammer", "sneeze")
DEFAULT_NUM_FRAMES = 848


def gpt_config(original: OriginalWeights, num_heads: int | None, class_names: Sequence[str] | None) -> MelGPTConfig:
    """
    Sizes of the class-conditional GPT, with the original's dropouts.

    Args:
        original (`OriginalWeights`): the tensors.
        num_heads (`int`, *optional*): attention heads; by default those of the original's model of that size.
        class_names (`Sequence[str]`, *optional*): names of the classes; by default those of VAS, if there are eight.

    Raises:
        ValueError: if the tensors are not those of such a model, or the options do not fit them.
    """
    num_classes, _ = original.shape("transformer.embedder.weight", 2)
    sizes = _transformer_sizes(original, "transformer.", num_heads)
    return MelGPTConfig(
        **sizes,
        num_codes=sizes["max_position_embeddings"] - 1,
        id2label=dict(enumerate(_class_names(num_classes, class_names))),
    )


def vae_config(original: OriginalWeights, num_heads: int | None) -> MelGPTVAEConfig:
    """Sizes of the GPT-VAE. Arguments and errors as in [`gpt_config`]."""
    encoder = _transformer_sizes(original, "encoder.transformer.", num_heads)
    decoder = _transformer_sizes(original, "decoder.transformer.", num_heads)
    return MelGPTVAEConfig(
        encoder=encoder | {"num_codes": encoder["max_position_embeddings"]},
        decoder=decoder | {"num_codes": decoder["max_position_embeddings"] - 1},
        latent_size=decoder["hidden_size"],
    )


def vq_config(original: OriginalWeights, prefix: str, num_frames: int | None) -> MelVQConfig:
    """
    Sizes of the audio tokenizer.

    Args:
        original (`OriginalWeights`): the tensors.
        prefix (`str`): what the names of its tensors begin with inside a larger checkpoint.
        num_frames (`int`, *optional*): mel frames of one clip, 848 by default.

    Raises:
        ValueError: if the tensors are not those of such a model.
    """
    is_specvqgan = is_specvqgan_layout(original, prefix)
    encoder = f"{prefix}{'' if is_specvqgan else '_'}encoder."
    codebook = f"{prefix}{'quantize.embedding' if is_specvqgan else '_vq_vae._embedding'}.weight"
    base_channels = original.shape(f"{encoder}conv_in.weight", 4)[0]
    codebook_size, codebook_dim = original.shape(codebook, 2)
    level_names = [f"{encoder}down.{level}." for level in range(original.count(rf"{encoder}down\.(\d+)\."))]
    channels = [original.shape(f"{name}block.0.conv1.weight", 4)[0] for name in level_names]
    return MelVQConfig(
        num_frames=DEFAULT_NUM_FRAMES if num_frames is None else num_frames,
        base_channels=base_channels,
        channel_multipliers=[_quotient(value, base_channels, level_names[0]) for value in channels],
        num_res_blocks=original.count(rf"{encoder}down\.0\.block\.(\d+)\."),
        attention_levels=[level for level, name in enumerate(level_names) if f"{name}attn.0.q.weight" in original],
        latent_channels=original.shape(f"{encoder}conv_out.weight", 4)[0],
        codebook_dim=codebook_dim,
        codebook_size=codebook_size,
    )


def is_specvqgan_layout(original: OriginalWeights, prefix: str = "") -> bool:
    """Whether an audio tokenizer's tensors carry SpecVQGAN's names."""
    return f"{prefix}encoder.conv_in.weight" in original


def melgan_config(original: OriginalWeights, settings: Mapping[str, Any]) -> MelGANConfig:
    """
    Sizes of the vocoder.

    Args:
        original (`OriginalWeights`): the tensors.
        settings (`Mapping[str, Any]`): the content of `args.yml`, which has to agree with the tensors.

    Raises:
        ValueError: if the tensors are not those of such a model, or `settings` say otherwise.
    """
    # The convolutions outside the residual blocks: the first one, the upsamplings, the last one.
    outer = sorted(
        int(match[1]) for name in original.weights if (match := re.fullmatch(r"model\.(\d+)\.weight_v", name))
    )
    upsamplings = [f"model.{index}.weight_v" for index in outer[1:-1]]
    if not upsamplings:
        raise ValueError("The checkpoint has no upsampling layers 'model.N.weight_v'; it is no MelGAN generator.")
    num_residual_layers = original.count(r"model\.(\d+)\.shortcut\.") // len(upsamplings)
    config = MelGANConfig(
        num_mel_bins=original.shape("model.1.weight_v", 3)[1],
        base_channels=original.shape(upsamplings[-1], 3)[1],
        upsample_ratios=[original.shape(name, 3)[2] // 2 for name in upsamplings],
        num_residual_layers=num_residual_layers,
    )
    _check_settings(config, settings)
    return config


def _check_settings(config: MelGANConfig, settings: Mapping[str, Any]) -> None:
    expected = {
        "n_mel_channels": config.num_mel_bins,
        "ngf": config.base_channels,
        "n_residual_layers": config.num_residual_layers,
    }
    for name, value in expected.items():
        if settings.get(name) != value:
            raise ValueError(
                f"args.yml says {name!r} is {settings.get(name)!r}, but the weights are those of {value}; the two "
                "files do not belong together."
            )


def _transformer_sizes(original: OriginalWeights, prefix: str, num_heads: int | None) -> dict[str, int]:
    codebook_size, hidden_size = original.shape(f"{prefix}tok_emb.weight", 2)
    num_layers = original.count(rf"{prefix}blocks\.(\d+)\.")
    if num_heads is None:
        num_heads = _original_heads(num_layers, hidden_size)
    if num_heads < 1 or hidden_size % num_heads:
        raise ValueError(
            f"--num_attention_heads {num_heads} does not divide the width {hidden_size} of the model; give the number "
            "it was trained with, which the checkpoint does not hold."
        )
    return {
        "codebook_size": codebook_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "intermediate_size": original.shape(f"{prefix}blocks.0.mlp.0.weight", 2)[0],
        "max_position_embeddings": original.shape(f"{prefix}pos_emb", 3)[1],
    }


def _original_heads(num_layers: int, hidden_size: int) -> int:
    if (num_layers, hidden_size) in ORIGINAL_HEADS:
        return ORIGINAL_HEADS[num_layers, hidden_size]
    logger.warning(
        f"The original had no model of {num_layers} layers and width {hidden_size}: taking {DEFAULT_HEADS} attention "
        "heads. The comparison below cannot notice a wrong number; if it was another, give --num_attention_heads."
    )
    return DEFAULT_HEADS


def _class_names(num_classes: int, class_names: Sequence[str] | None) -> list[str]:
    if class_names is None and num_classes == len(VAS_CLASSES):
        return list(VAS_CLASSES)
    if class_names is None or len(class_names) != num_classes:
        given = "none are given" if class_names is None else f"{len(class_names)} are given"
        raise ValueError(
            f"The model has {num_classes} classes, but {given}: pass the {num_classes} names in the order of the "
            "training with --class_names."
        )
    return list(class_names)


def _quotient(channels: int, base_channels: int, name: str) -> int:
    if channels % base_channels:
        raise ValueError(f"A level has {channels} channels, no multiple of the {base_channels} of {name!r}.")
    return channels // base_channels

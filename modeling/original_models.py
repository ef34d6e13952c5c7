"""Which model of ours holds the weights of a checkpoint of the original?"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from ..configuration.configuration_mel_gpt import MelGPTConfig
from .modeling_mel_gpt import MelGPTForCausalLM
from .modeling_mel_gpt_vae import MelGPTVAEModel
from .modeling_mel_vq import MelVQModel
from .modeling_melgan import MelGANVocoder
from .original_key_rules import gpt_name, melgan_name, vae_name, vq_name
from .original_sizes import gpt_config, is_specvqgan_layout, melgan_config, vae_config, vq_config
from .original_weights import OriginalWeights

CLASS_EMBEDDINGS = "transformer.embedder.weight"


def gpt_model(
    original: OriginalWeights, num_heads: int | None, class_names: Sequence[str] | None
) -> MelGPTForCausalLM:
    """
    The class-conditional GPT. The original has no null class; ours gets the mean of the class embeddings, which is
    nearer to "no class in particular" than any other vector it could have without training.

    Arguments and errors as in [`gpt_config`].
    """
    with torch.device("meta"):
        model = MelGPTForCausalLM(gpt_config(original, num_heads, class_names))
    _check_masks(original, "transformer.", model.config)
    classes = original.take(CLASS_EMBEDDINGS)
    return _fill(model, original, gpt_name, partial(_transformer_weight, classes=classes))


def vae_model(original: OriginalWeights, num_heads: int | None) -> MelGPTVAEModel:
    """
    The GPT-VAE. The ids that the original lacks, a hidden code in the encoder and the place of the latent in the
    decoder, get the mean of the code embeddings.

    Arguments and errors as in [`vae_config`].
    """
    with torch.device("meta"):
        model = MelGPTVAEModel(vae_config(original, num_heads))
    _check_masks(original, "encoder.transformer.", model.config.encoder)
    _check_masks(original, "decoder.transformer.", model.config.decoder)
    return _fill(model, original, vae_name, _transformer_weight)


def vq_model(original: OriginalWeights, num_frames: int | None, prefix: str = "") -> MelVQModel:
    """The audio tokenizer, without a vocoder. Arguments and errors as in [`vq_config`]."""
    with torch.device("meta"):
        model = MelVQModel(vq_config(original, prefix, num_frames))
    num_levels = len(model.config.channel_multipliers)
    is_specvqgan = is_specvqgan_layout(original, prefix)
    return _fill(model, original, lambda name: prefix + vq_name(name, num_levels, is_specvqgan))


def melgan_model(original: OriginalWeights, settings: Mapping[str, Any]) -> MelGANVocoder:
    """The vocoder, with its weight normalization. Arguments and errors as in [`melgan_config`]."""
    with torch.device("meta"):
        model = MelGANVocoder(melgan_config(original, settings))
    config = model.config
    names = partial(
        melgan_name, num_stages=len(config.upsample_ratios), num_residual_layers=config.num_residual_layers
    )
    return _fill(model, original, names)


def _fill(
    model: PreTrainedModel,
    original: OriginalWeights,
    names: Callable[[str], str],
    adapt: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
) -> PreTrainedModel:
    """
    Gives a model on the meta device the weights of the original.

    Args:
        model (`PreTrainedModel`): the model.
        original (`OriginalWeights`): the tensors.
        names (`Callable`): from our name of a weight to the original's.
        adapt (`Callable`, *optional*): from the original's name and tensor to our weight, where they are laid out
            differently.

    Raises:
        ValueError: if a tensor is missing, is no usable weight, or has a shape that does not fit the others.
    """
    state = {}
    for name, weight in model.state_dict().items():
        original_name = names(name)
        tensor = original.take(original_name)
        value = tensor if adapt is None else adapt(original_name, tensor)
        if value.shape != weight.shape:
            raise ValueError(
                f"{original_name!r} has the shape {tuple(tensor.shape)}, which does not fit the other tensors: "
                f"`{name}` would be {tuple(value.shape)} in place of {tuple(weight.shape)}."
            )
        state[name] = value
    model.load_state_dict(state, assign=True)
    return model.eval()


def _check_masks(original: OriginalWeights, prefix: str, config: MelGPTConfig) -> None:
    """
    Raises:
        ValueError: if a mask, which is not converted, is not the one that our model makes.
    """
    expected = torch.ones(1, 1, config.max_position_embeddings, config.max_position_embeddings)
    if config.is_causal:
        expected = expected.tril()
    for layer in range(config.num_hidden_layers):
        name = f"{prefix}blocks.{layer}.attn.mask"
        original.shape(name, expected.ndim)
        if not torch.equal(original.weights[name].float(), expected):
            raise ValueError(
                f"{name!r} is not the {'causal' if config.is_causal else 'full'} mask of "
                f"{config.max_position_embeddings} positions: this variant of the model cannot be converted."
            )


def _transformer_weight(name: str, tensor: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:
    """Our layout of a tensor: position embeddings without a batch axis, one table of codes, classes and null class."""
    if name.endswith(".pos_emb"):
        return tensor.squeeze(0)
    if name.endswith(".tok_emb.weight"):
        rows = [tensor] if classes is None else [tensor, classes]
        if len({row.shape[1:] for row in rows}) > 1:
            raise ValueError(
                f"{CLASS_EMBEDDINGS!r} has the shape {tuple(classes.shape)}, {name!r} {tuple(tensor.shape)}."
            )
        return torch.cat([*rows, rows[-1].mean(0, keepdim=True)])
    return tensor

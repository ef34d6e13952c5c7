"""How does a GPT-VAE get the encoder, or all weights, of an earlier training?"""

import json

from safetensors.torch import load_file
from torch import nn
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME, cached_file

from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel

ENCODER_PARTS = ("encoder", "encoder_head")
DECODER_PARTS = ("latent_projection", "decoder", "lm_head")


def copy_encoder(model: MelGPTVAEModel, source: str, keep_decoder: bool = False) -> None:
    """
    Gives `model` the encoder of a training: its trunk and its head, what the original calls the keys that contain
    "encoder". The decoder stays as it is unless `keep_decoder`.

    Args:
        model ([`MelGPTVAEModel`]): gets the weights.
        source (`str`): the output folder of a training (or a Hub name), or one of its checkpoints.
        keep_decoder (`bool`): whether to copy everything else, too.

    Raises:
        ValueError: if `source` holds no GPT-VAE, or if what is copied has other sizes.
    """
    try:
        weights = load_file(cached_file(source, SAFE_WEIGHTS_NAME))
    except OSError as error:
        raise ValueError(
            f"`init_encoder_from` {source!r} holds no {SAFE_WEIGHTS_NAME}; expected the output folder of a "
            f"train_gpt_vae run, or one of its checkpoints: {error}"
        ) from error
    trunks = ("encoder", "decoder") if keep_decoder else ("encoder",)
    _check_heads(model, source, trunks)
    for name in ENCODER_PARTS + (DECODER_PARTS if keep_decoder else ()):
        prefix = f"{name}."
        part = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        _load(model.get_submodule(name), part, f"`init_encoder_from` {source!r}: {name}")


def _check_heads(model: MelGPTVAEModel, source: str, trunks: tuple[str, ...]) -> None:
    """The number of attention heads shows in no weight; only a checkpoint of a running training does not tell it."""
    path = cached_file(source, CONFIG_NAME, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    for trunk in trunks:
        heads = config.get(trunk, {}).get("num_attention_heads")
        expected = getattr(model.config, trunk).num_attention_heads
        if heads not in (None, expected):
            article = "an" if trunk == "encoder" else "a"
            raise ValueError(
                f"`init_encoder_from` {source!r} has {article} {trunk} of {heads} attention heads, but `model_config` "
                f"asks for {expected}; give both the same number."
            )


def _load(module: nn.Module, weights: dict, what: str) -> None:
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ValueError(
                f"{what}.{key} is {found.get(key, 'missing')} there, but `model_config` makes it "
                f"{wanted.get(key, 'missing')}; both trainings need the same sizes."
            )
    module.load_state_dict(weights)

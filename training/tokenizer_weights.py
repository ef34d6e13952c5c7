"""How does the training of an audio tokenizer go on from the weights of an earlier one?"""

import torch

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.audio_tokenizer_files import named_tokenizer_config

# Fields that say nothing about the weights: a tokenizer reads clips of any length.
FREE_FIELDS = ("num_frames", "commitment_cost", "dropout", "vocoder")


def trained_tokenizer(source: str, config: MelVQConfig) -> MelVQModel:
    """
    A tokenizer with the weights of `source` in float32, without its vocoder.

    Args:
        source (`str`): folder (or Hub name) of an audio tokenizer.
        config ([`MelVQConfig`]): of the new one.

    Raises:
        ValueError: if `source` holds no audio tokenizer, or one of other sizes or for other features.
    """
    source_config = named_tokenizer_config(source, "init_from")
    for name in vars(config).keys() & MelVQConfig.__annotations__.keys() - set(FREE_FIELDS):
        there, here = getattr(source_config, name), getattr(config, name)
        if there != here:
            raise ValueError(
                f"`init_from` {source!r} has {name} {there}, but `model_config` and the data set ask for {here}; both "
                "trainings need the same."
            )
    model, info = MelVQModel.from_pretrained(source, config=config, dtype=torch.float32, output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"`init_from` {source!r} lacks the weights {sorted(info['missing_keys'])[0]!r} and others.")
    return model

"""How is a checkpoint loaded to make sounds with, and what is said when it cannot?"""

from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor

# The checkpoints that come with the repository, seen from its root.
SHIPPED_GPT = "checkpoints/esc10-small"
SHIPPED_VAE = "checkpoints/esc10-vae-small"
TRAINING_PROGRAMS = {MelGPTForCausalLM: "train_gpt", MelGPTVAEModel: "train_gpt_vae"}
ModelType = TypeVar("ModelType", bound=PreTrainedModel)


def check_shipped(model: str | Path, argument: str = "model") -> None:
    """
    Whether a checkpoint that comes with the repository is where its name says.

    Raises:
        ValueError: if it is not, as outside of the repository's root.
    """
    if str(model) in (SHIPPED_GPT, SHIPPED_VAE) and not Path(model).is_dir():
        raise ValueError(
            f"`{argument}` {str(model)!r}, the checkpoint that comes with the repository, is not in the current "
            f"folder {str(Path.cwd())!r}: change to the root of the repository, or give the folder of a checkpoint."
        )


def load_sound_checkpoint(
    model: str | Path, model_class: type[ModelType], argument: str = "model"
) -> tuple[ModelType, MelGPTProcessor]:
    """
    A model that writes codes and its processor, on the GPU where there is one.

    Args:
        model (`str` or `Path`): folder (or Hub name) of the checkpoint.
        model_class: [`MelGPTForCausalLM`] or [`MelGPTVAEModel`].
        argument (`str`): name of the option that `model` was given with, for the errors.

    Raises:
        ValueError: if there is no such checkpoint with an audio tokenizer.
    """
    named = f"`{argument}` {str(model)!r}"
    check_shipped(model, argument)
    expected = model_class.config_class
    try:
        model_type = expected.get_config_dict(model)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise ValueError(f"{named} is neither a checkpoint folder nor on the Hub: {error}") from error
    if model_type != expected.model_type:
        raise ValueError(
            f"{named} holds a model of type {model_type!r}; expected {expected.model_type!r}, the "
            f"output of {TRAINING_PROGRAMS[model_class]}."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = model_class.from_pretrained(model).eval().to(device)
    processor = MelGPTProcessor.from_pretrained(model)
    if processor.audio_tokenizer is None:
        raise ValueError(f"{named} has no folder audio_tokenizer, so its codes cannot become sound.")
    processor.audio_tokenizer.to(device)
    return network, processor

"""How does a checkpoint become a folder that loads wherever PyTorch and Transformers are?"""

import shutil
from pathlib import Path

from huggingface_hub import ModelCard
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME
from yaml import YAMLError

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.audio_tokenizer_files import AUDIO_TOKENIZER_SUBFOLDER, audio_tokenizer_folder
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.card_facts import EVALUATION_NAME, SUMMARY_NAME
from melspec_gpt.training.card_samples import write_samples
from melspec_gpt.training.model_card import CARD_NAME, CardOptions, build_model_card

KINDS = {
    MelGPTConfig.model_type: (MelGPTForCausalLM, MelGPTProcessor),
    MelGPTVAEConfig.model_type: (MelGPTVAEModel, MelGPTProcessor),
    MelVQConfig.model_type: (MelVQModel, MelFeatureExtractor),
}


def export_checkpoint(checkpoint: str | Path, folder: Path, options: CardOptions) -> None:
    """
    Writes a checkpoint with everything it needs: weights, configuration, processor with its audio tokenizer (wherever
    the checkpoint has it from), code, records of training and evaluation, sample clips and the card.

    Args:
        checkpoint (`str` or `Path`): folder of a GPT, a GPT-VAE or an audio tokenizer.
        folder (`Path`): existing folder to write into.
        options ([`CardOptions`]): what the files of the checkpoint cannot tell.

    Raises:
        ValueError: if `checkpoint` is no such folder, if it has no audio tokenizer, or if a file in it is broken.
    """
    model, preprocessor = load_checkpoint(checkpoint)
    own_card = _load_card(Path(checkpoint, CARD_NAME))
    model.save_pretrained(folder)
    preprocessor.save_pretrained(folder)
    parts = {"": Path(checkpoint)}
    if isinstance(preprocessor, MelGPTProcessor):
        reference = preprocessor.get_processor_dict(checkpoint)[0].get("codec_reference")
        parts[AUDIO_TOKENIZER_SUBFOLDER] = audio_tokenizer_folder(checkpoint, reference)
    for part, source in parts.items():
        # Weights as they are stored: half precision, for one, stays half as large.
        for name in (SAFE_WEIGHTS_NAME, SUMMARY_NAME, EVALUATION_NAME):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / part / name)
    samples = write_samples(model, preprocessor, folder)
    card = build_model_card(model, preprocessor, list(parts.values()), own_card, samples, options)
    (folder / CARD_NAME).write_text(card, encoding="utf-8")


def load_checkpoint(checkpoint: str | Path) -> tuple[PreTrainedModel, MelGPTProcessor | MelFeatureExtractor]:
    """
    The model in a folder, and its processor; for an audio tokenizer its feature extractor.

    Raises:
        ValueError: if the folder holds no model that can be published, or a broken one.
    """
    if not Path(checkpoint).is_dir():
        raise ValueError(f"`checkpoint` {str(checkpoint)!r} is no folder.")
    try:
        model_type = AutoConfig.from_pretrained(checkpoint).model_type
    except (OSError, ValueError) as error:
        raise ValueError(f"`checkpoint` {str(checkpoint)!r} is no folder of a model: {error}") from error
    if model_type not in KINDS:
        raise ValueError(
            f"`checkpoint` {str(checkpoint)!r} holds a model of type {model_type!r}; expected one of {list(KINDS)}."
        )
    model_class, preprocessor_class = KINDS[model_type]
    try:
        model = model_class.from_pretrained(checkpoint).eval()
        preprocessor = preprocessor_class.from_pretrained(checkpoint)
    except SafetensorError as error:
        raise ValueError(f"The weights in `checkpoint` {str(checkpoint)!r} are broken: {error}.") from error
    if isinstance(preprocessor, MelGPTProcessor) and preprocessor.audio_tokenizer is None:
        raise ValueError(
            f"`checkpoint` {str(checkpoint)!r} has no folder {AUDIO_TOKENIZER_SUBFOLDER}, so its codes cannot become "
            "sound: save its processor with the audio tokenizer into it first."
        )
    if isinstance(preprocessor, MelGPTProcessor):
        _check_class_names(model.config, preprocessor.tokenizer.class_names)
    return model, preprocessor


def _check_class_names(config: PreTrainedConfig, class_names: list[str]) -> None:
    """Whether names and model speak of the same classes."""
    labels = getattr(config, "decoder", config).id2label
    if getattr(config, "class_conditioning", True) and class_names != [labels[label] for label in sorted(labels)]:
        raise ValueError(
            f"labels.json names the classes {class_names}, but the config of the model {list(labels.values())}: make "
            "them agree, or the names stand for the wrong sounds."
        )


def _load_card(path: Path) -> ModelCard | None:
    try:
        return ModelCard.load(path) if path.is_file() else None
    except (ValueError, YAMLError) as error:
        raise ValueError(f"The front matter of {path} is not valid: {error}. Repair it.") from error

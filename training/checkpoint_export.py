"""How does a checkpoint become a folder that loads wherever PyTorch and Transformers are?"""

import shutil
from pathlib import Path

from huggingface_hub import ModelCard
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.audio_tokenizer_files import AUDIO_TOKENIZER_SUBFOLDER
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
        ValueError: if `checkpoint` is no such folder, or if it has no audio tokenizer.
    """
    model, preprocessor = load_checkpoint(checkpoint)
    model.save_pretrained(folder)
    preprocessor.save_pretrained(folder)
    for part in ("", AUDIO_TOKENIZER_SUBFOLDER):
        # Weights as they are stored: half precision, for one, stays half as large.
        for name in (SAFE_WEIGHTS_NAME, SUMMARY_NAME, EVALUATION_NAME):
            if Path(checkpoint, part, name).is_file() and (folder / part).is_dir():
                shutil.copyfile(Path(checkpoint, part, name), folder / part / name)
    samples = write_samples(model, preprocessor, folder)
    own_path = Path(checkpoint, CARD_NAME)
    own_card = ModelCard.load(own_path) if own_path.is_file() else None
    card = build_model_card(model, preprocessor, folder, own_card, samples, options)
    (folder / CARD_NAME).write_text(card, encoding="utf-8")


def load_checkpoint(checkpoint: str | Path) -> tuple[PreTrainedModel, MelGPTProcessor | MelFeatureExtractor]:
    """
    The model in a folder, and its processor; for an audio tokenizer its feature extractor.

    Raises:
        ValueError: if the folder holds no model that can be published.
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
    model = model_class.from_pretrained(checkpoint).eval()
    preprocessor = preprocessor_class.from_pretrained(checkpoint)
    if isinstance(preprocessor, MelGPTProcessor) and preprocessor.audio_tokenizer is None:
        raise ValueError(
            f"`checkpoint` {str(checkpoint)!r} has no folder {AUDIO_TOKENIZER_SUBFOLDER}, so its codes cannot become "
            "sound: save its processor with the audio tokenizer into it first."
        )
    return model, preprocessor

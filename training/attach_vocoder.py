"""Gives an audio tokenizer a vocoder: `python -m melspec_gpt.training.attach_vocoder AUDIO_TOKENIZER VOCODER`."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import FEATURE_EXTRACTOR_NAME

from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.training.loop_setup import configure_logging


def attach_vocoder(
    audio_tokenizer: str | Path, vocoder: str | Path | None, output_dir: str | Path | None = None
) -> Path:
    """
    Writes an audio tokenizer with a vocoder inside, in the form for use, without weight normalization. Programs that
    load the audio tokenizer then make their waveforms with it, in place of Griffin-Lim.

    Args:
        audio_tokenizer (`str` or `Path`): folder of an audio tokenizer, such as the `audio_tokenizer` of a GPT.
        vocoder (`str` or `Path`, *optional*): folder of a vocoder; `None` takes out the one that is there.
        output_dir (`str` or `Path`, *optional*): the folder to write; by default `audio_tokenizer` itself.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: if a folder does not hold the model it should, or if the vocoder is made for other features.
    """
    source = Path(audio_tokenizer)
    target = source if output_dir is None else Path(output_dir)
    model = _load(MelVQModel, source, "audio_tokenizer")
    new_vocoder = None if vocoder is None else _load(MelGANVocoder, Path(vocoder), "vocoder")
    if new_vocoder is not None:
        new_vocoder.remove_weight_norm()
    model.set_vocoder(new_vocoder)
    model.save_pretrained(target, save_code=False)
    features_file = source / FEATURE_EXTRACTOR_NAME
    if features_file.is_file() and target != source:
        shutil.copyfile(features_file, target / FEATURE_EXTRACTOR_NAME)
    return target


def _load(model_class: type, folder: Path, argument: str):
    config_class = model_class.config_class
    if not (folder / "config.json").is_file():
        raise ValueError(f"`{argument}` {str(folder)!r} is no folder with a config.json.")
    model_type = config_class.get_config_dict(folder)[0].get("model_type")
    if model_type != config_class.model_type:
        raise ValueError(
            f"`{argument}` {str(folder)!r} holds a model of type {model_type!r}; expected {config_class.model_type!r}."
        )
    return model_class.from_pretrained(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`attach_vocoder`]."""
    configure_logging()
    parser = argparse.ArgumentParser(description="Put a trained vocoder into an audio tokenizer.", allow_abbrev=False)
    parser.add_argument("audio_tokenizer", help="folder of the audio tokenizer")
    parser.add_argument("vocoder", help='folder of the vocoder; "none" takes out the one that is there')
    parser.add_argument("--output_dir", help="the folder to write (default: the audio tokenizer's own)")
    arguments = parser.parse_args(argv)
    try:
        vocoder = None if arguments.vocoder == "none" else arguments.vocoder
        folder = attach_vocoder(arguments.audio_tokenizer, vocoder, arguments.output_dir)
    except ValueError as error:
        parser.error(str(error))
    print(f"Wrote {folder}")


if __name__ == "__main__":
    main()

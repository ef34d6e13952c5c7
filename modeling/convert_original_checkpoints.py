"""
Brings checkpoints of the original, and SpecVQGAN's codebooks, here:
`python -m melspec_gpt.modeling.convert_original_checkpoints --kind gpt --checkpoint F --output_dir D`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from melspec_gpt.modeling.conversion_output import check_parity, new_folder, parity_table, write_report
from melspec_gpt.modeling.conversion_parity import ParityRow, gpt_parity, melgan_parity, vae_parity, vq_parity
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.modeling.original_checkpoint_files import find_melgan_files, read_arguments, read_weights
from melspec_gpt.modeling.original_key_rules import DROP_RULES, FIRST_STAGE, REPLACED_TOKENIZER_RULE
from melspec_gpt.modeling.original_models import gpt_model, melgan_model, vae_model, vq_model
from melspec_gpt.modeling.original_sizes import DEFAULT_HEADS, DEFAULT_NUM_FRAMES, VAS_CLASSES
from melspec_gpt.modeling.original_weights import OriginalWeights
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import AUDIO_TOKENIZER_SUBFOLDER, MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """
    What the file does not tell; `None` stands for the original's value, or for nothing.

    Args:
        num_attention_heads (`int`, *optional*): attention heads of a GPT or GPT-VAE.
        class_names (`Sequence[str]`, *optional*): names of the classes of a GPT, in the order of its labels.
        num_frames (`int`, *optional*): mel frames of one clip of the audio tokenizer in the checkpoint.
        audio_tokenizer (`str`, *optional*): folder of an audio tokenizer for a GPT or GPT-VAE, in place of the one in
            the checkpoint.
        vocoder (`str`, *optional*): folder of a vocoder, to become part of the audio tokenizer.
    """

    num_attention_heads: int | None = None
    class_names: Sequence[str] | None = None
    num_frames: int | None = None
    audio_tokenizer: str | None = None
    vocoder: str | None = None


@dataclass
class Conversion:
    """
    What a checkpoint becomes.

    Args:
        model (`PreTrainedModel`): the model.
        measure (`Callable`): compares the model with the tensors it was made of.
        companion (`Any`, *optional*): what is saved beside it: a processor or a feature extractor.
        has_first_stage (`bool`): whether the audio tokenizer in the companion comes from the checkpoint too.
    """

    model: PreTrainedModel
    measure: Callable[[PreTrainedModel, Mapping[str, torch.Tensor]], list[ParityRow]]
    companion: Any = None
    has_first_stage: bool = False

    def save(self, folder: Path) -> None:
        """Writes model and companion."""
        self.model.save_pretrained(folder)
        if self.companion is not None:
            self.companion.save_pretrained(folder)


def convert(kind: str, checkpoint: str | Path, output_dir: str | Path, options: ConversionOptions) -> str:
    """
    Writes a checkpoint of the original as a folder that `from_pretrained` loads, and compares what was saved with the
    original's formulas on random input.

    Args:
        kind (`str`): `"gpt"`, `"vae"`, `"vq"` or `"melgan"`.
        checkpoint (`str` or `Path`): the file; for `"melgan"` also the folder with best_netG.pt and args.yml.
        output_dir (`str` or `Path`): the folder to make; it has to be new or empty.
        options ([`ConversionOptions`]): what the file does not tell.

    Returns:
        `str`: the table of errors.

    Raises:
        ValueError: if the file is unsafe, damaged or of another kind, if an option does not fit, or if the result
            does not compute what the original does. Nothing is left in `output_dir` then.
        OSError: if a file cannot be read or written.
    """
    builder, known_options = KINDS[kind]
    _check_options(kind, options, known_options)
    with new_folder(output_dir) as folder:
        weights_file, settings = _read_settings(kind, checkpoint)
        rules = DROP_RULES[kind] if options.audio_tokenizer is None else (*DROP_RULES[kind], REPLACED_TOKENIZER_RULE)
        original = OriginalWeights(read_weights(weights_file), rules)
        original.check_kind(kind)
        conversion = builder(original, options, settings)
        original.check_all_used()
        conversion.save(folder)
        rows = _measure_saved(kind, folder, conversion, original.weights)
        check_parity(rows)
        write_report(folder, kind, weights_file.name, rows, original.dropped)
    return parity_table(rows)


def _check_options(kind: str, options: ConversionOptions, known_options: set[str]) -> None:
    given = {name for name, value in vars(options).items() if value is not None}
    for name in sorted(given - known_options):
        raise ValueError(f"--{name} has no meaning for --kind {kind}; leave it out.")
    if {"audio_tokenizer", "num_frames"} <= given:
        raise ValueError("--num_frames is that of --audio_tokenizer; give only one of the two.")


def _read_settings(kind: str, checkpoint: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file with the weights, and what a file beside it says about them."""
    if kind != "melgan":
        return Path(checkpoint), {}
    weights_file, settings_file = find_melgan_files(checkpoint)
    return weights_file, read_arguments(settings_file)


def _measure_saved(
    kind: str, folder: Path, conversion: Conversion, weights: Mapping[str, torch.Tensor]
) -> dict[str, list[ParityRow]]:
    """Errors of each part that comes from the checkpoint, after loading it again."""
    model_class, conversion.model = type(conversion.model), None  # one copy in memory is enough
    rows = {kind: conversion.measure(model_class.from_pretrained(folder), weights)}
    if conversion.has_first_stage:
        audio_tokenizer = MelVQModel.from_pretrained(folder / AUDIO_TOKENIZER_SUBFOLDER)
        rows[AUDIO_TOKENIZER_SUBFOLDER] = vq_parity(audio_tokenizer, weights, FIRST_STAGE)
    return rows


def _convert_gpt(original: OriginalWeights, options: ConversionOptions, settings: Mapping[str, Any]) -> Conversion:
    model = gpt_model(original, options.num_attention_heads, options.class_names)
    class_names = [model.config.id2label[label] for label in range(model.config.num_labels)]
    processor = _processor(original, options, model.config, class_names)
    return Conversion(model, gpt_parity, processor, _uses_first_stage(original, options))


def _convert_vae(original: OriginalWeights, options: ConversionOptions, settings: Mapping[str, Any]) -> Conversion:
    model = vae_model(original, options.num_attention_heads)
    processor = _processor(original, options, model.config, class_names=[], class_token=False)
    return Conversion(model, vae_parity, processor, _uses_first_stage(original, options))


def _convert_vq(original: OriginalWeights, options: ConversionOptions, settings: Mapping[str, Any]) -> Conversion:
    model = _with_vocoder(vq_model(original, options.num_frames), options.vocoder)
    return Conversion(model, vq_parity, _feature_extractor(model.config.num_frames))


def _convert_melgan(original: OriginalWeights, options: ConversionOptions, settings: Mapping[str, Any]) -> Conversion:
    return Conversion(melgan_model(original, settings), melgan_parity)


# How each kind is converted, and which options have a meaning for it.
KINDS = {
    "gpt": (_convert_gpt, {"num_attention_heads", "class_names", "num_frames", "audio_tokenizer", "vocoder"}),
    "vae": (_convert_vae, {"num_attention_heads", "num_frames", "audio_tokenizer", "vocoder"}),
    "vq": (_convert_vq, {"num_frames", "vocoder"}),
    "melgan": (_convert_melgan, set()),
}


def _uses_first_stage(original: OriginalWeights, options: ConversionOptions) -> bool:
    return options.audio_tokenizer is None and any(name.startswith(FIRST_STAGE) for name in original.weights)


def _processor(
    original: OriginalWeights, options: ConversionOptions, config: PreTrainedConfig, class_names: list[str], **kwargs
) -> MelGPTProcessor:
    """
    The processor of a GPT or GPT-VAE, with the audio tokenizer of the option, of the checkpoint, or with none.

    Raises:
        ValueError: if the audio tokenizer makes other codes than the model reads.
    """
    audio_tokenizer = None
    num_frames = options.num_frames
    if options.audio_tokenizer is not None:
        audio_tokenizer = _load_model(MelVQModel, options.audio_tokenizer, "audio_tokenizer")
    elif _uses_first_stage(original, options):
        audio_tokenizer = vq_model(original, num_frames, FIRST_STAGE)
    if audio_tokenizer is not None:
        num_frames = audio_tokenizer.config.num_frames
        sizes = {"num_codes": "codes for one clip", "codebook_size": "different codes"}
        for name, meaning in sizes.items():
            made, read = getattr(audio_tokenizer.config, name), getattr(config, name)
            if made != read:
                raise ValueError(
                    f"The audio tokenizer has {made} {meaning}, the model {read}: give the --num_frames of its "
                    "training, or the --audio_tokenizer that it was trained with."
                )
        audio_tokenizer = _with_vocoder(audio_tokenizer, options.vocoder)
    else:
        _check_no_tokenizer_options(options)
    return MelGPTProcessor(
        _feature_extractor(num_frames, options.audio_tokenizer),
        MelCodeTokenizer(codebook_size=config.codebook_size, class_names=class_names),
        audio_tokenizer=audio_tokenizer,
        **kwargs,
    )


def _check_no_tokenizer_options(options: ConversionOptions) -> None:
    if options.vocoder is not None:
        raise ValueError("--vocoder needs an audio tokenizer, and the checkpoint holds none; give --audio_tokenizer.")
    if options.num_frames is not None:
        raise ValueError(
            "--num_frames is that of the audio tokenizer in the checkpoint, which holds none; give --audio_tokenizer "
            "in its place, or neither."
        )


def _with_vocoder(audio_tokenizer: MelVQModel, vocoder: str | None) -> MelVQModel:
    if vocoder is not None:
        audio_tokenizer.set_vocoder(_load_model(MelGANVocoder, vocoder, "vocoder"))
    return audio_tokenizer


def _feature_extractor(num_frames: int | None, audio_tokenizer: str | None = None) -> MelFeatureExtractor:
    """The extractor that goes with an audio tokenizer's folder, or one for clips of `num_frames`."""
    if audio_tokenizer is not None:
        return _load_folder(MelFeatureExtractor.from_pretrained, audio_tokenizer, "audio_tokenizer")
    if num_frames in (None, DEFAULT_NUM_FRAMES):
        return MelFeatureExtractor()
    num_samples = num_frames * MelFeatureExtractor().hop_length
    return MelFeatureExtractor(num_samples=num_samples, num_mel_frames=num_frames, num_frames=num_frames)


def _load_model(model_class: type, folder: str, option: str) -> PreTrainedModel:
    """
    The model in a local folder.

    Raises:
        ValueError: if it is another one, or its file lacks weights, which the library would draw at random.
    """
    model, info = _load_folder(partial(AutoModel.from_pretrained, output_loading_info=True), folder, option)
    if not isinstance(model, model_class):
        raise ValueError(f"--{option} {folder!r} holds a {type(model).__name__}; give a {model_class.__name__}.")
    if info["missing_keys"]:
        raise ValueError(f"--{option} {folder!r} lacks the weights {sorted(info['missing_keys'])[0]!r} and others.")
    return model.eval()


def _load_folder(loader: Callable, folder: str, option: str) -> Any:
    """What `loader` makes of a local folder; the Hub is not asked."""
    if not Path(folder).is_dir():
        raise ValueError(f"--{option} {folder!r} is no folder; convert that part first and give its output folder.")
    try:
        return loader(folder)
    except Exception as error:  # what broken files make the libraries raise cannot be listed
        raise ValueError(f"--{option} {folder!r} cannot be loaded: {error}") from error


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Converts a checkpoint of the original MelSpec_GPT_VQVAE, or a codebook of SpecVQGAN. The file is "
        "read without running anything in it, and the result is compared with the original's formulas."
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        required=True,
        help="gpt: Lightning .ckpt of the class model; vae: of the GPT-VAE; vq: the audio tokenizer, the original's "
        ".pt or SpecVQGAN's .ckpt; melgan: the vocoder",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="the file; for melgan the folder with best_netG.pt and args.yml, or the .pt beside its args.yml",
    )
    parser.add_argument("--output_dir", required=True, help="folder to write; it has to be new or empty")
    parser.add_argument(
        "--num_attention_heads",
        type=int,
        help="attention heads, which the file does not tell (default: those of the original's model of that size, "
        f"otherwise {DEFAULT_HEADS})",
    )
    parser.add_argument(
        "--class_names",
        nargs="+",
        metavar="NAME",
        help="names of the classes in the order of their labels (default, if there are eight: "
        f"{' '.join(VAS_CLASSES)})",
    )
    parser.add_argument(
        "--num_frames",
        type=int,
        help=f"mel frames of one clip, which the file of an audio tokenizer does not tell (default: "
        f"{DEFAULT_NUM_FRAMES})",
    )
    parser.add_argument(
        "--audio_tokenizer", metavar="DIR", help="converted audio tokenizer, used instead of one in the checkpoint"
    )
    parser.add_argument(
        "--vocoder", metavar="DIR", help="converted vocoder, which becomes part of the audio tokenizer"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    arguments = vars(parser.parse_args(argv))
    kind, checkpoint, output_dir = (arguments.pop(name) for name in ("kind", "checkpoint", "output_dir"))
    disable_progress_bar()
    try:
        print(convert(kind, checkpoint, output_dir, ConversionOptions(**arguments)))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

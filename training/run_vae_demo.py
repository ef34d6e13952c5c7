"""What can be done with a GPT-VAE? Morphs, repairs and invents sounds, and writes one page to see and hear them."""

import argparse
import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from melspec_gpt.modeling.modeling_gaussian_latent import INTERPOLATION_MODES
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.tokenization.code_times import CodeTimes
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.clip_files import write_clips, write_page
from melspec_gpt.training.loudness import read_level
from melspec_gpt.training.mel_picture import describe_mel_pictures
from melspec_gpt.training.run_sampling import SamplingSettings, configure_output, plan_clips, sample_sentences
from melspec_gpt.training.sound_checkpoints import SHIPPED_GPT, SHIPPED_VAE, load_sound_checkpoint
from melspec_gpt.training.vae_demo_parts import DemoPart, VAEDemo, VAEDemoSettings

logger = logging.getLogger(__name__)

DEMO_DIR = "outputs/vae-demo"
SUMMARY_NAME = "vae_demo.json"
# Sounds that differ much, and go on in the gap.
DEFAULT_CLASSES = ("Baby cry", "Rain")
NUM_SOUNDS = 2
# Read beyond the end of a clip, for the filter that resamples it.
EXTRA_SECONDS = 1.0
HALF_PRECISION = torch.finfo(torch.bfloat16).eps


def write_vae_demo(
    model: str | Path,
    output_dir: str | Path,
    settings: VAEDemoSettings | None = None,
    audio: Sequence[str | Path] | None = None,
    class_names: Sequence[str] = DEFAULT_CLASSES,
    gpt: str | Path = SHIPPED_GPT,
) -> Path:
    """
    Takes two sounds and writes the way from one to the other, both with a gap that is filled in, and new sounds:
    clips and mel pictures in the folders `morph`, `repair` and `new_sounds`, `vae_demo.json` with settings and
    measurements, and the page. Files of these names are replaced, others are left alone.

    Args:
        model (`str` or `Path`): folder (or Hub name) of a GPT-VAE checkpoint with its audio tokenizer.
        output_dir (`str` or `Path`): where to write.
        settings ([`VAEDemoSettings`], *optional*): what to make.
        audio (`Sequence[str | Path]`, *optional*): two sound files. By default a GPT writes the sounds.
        class_names (`Sequence[str]`): classes of the two sounds that the GPT writes.
        gpt (`str` or `Path`): folder (or Hub name) of a GPT checkpoint with the same audio tokenizer.

    Returns:
        `Path`: the page.

    Raises:
        ValueError: if there are no such checkpoints, files or classes, or if they do not fit each other.
    """
    settings = settings or VAEDemoSettings()
    vae, processor = load_sound_checkpoint(model, MelGPTVAEModel)
    if vae.config.class_conditioning:
        raise ValueError(
            f"`model` {str(model)!r} has `class_conditioning`: it wants to be told a class, and this demo has none. "
            "Give a GPT-VAE without it, or call `interpolate`, `impute` and `sample` with `class_labels`."
        )
    times = CodeTimes(processor.feature_extractor, processor.audio_tokenizer.config)
    mask = times.hidden_codes(settings.hidden_seconds)
    if audio is not None:
        names, codes = read_sounds(audio, processor, min(settings.hidden_seconds[1], times.end))
        origin = "read from files"
    else:
        names, codes = write_sounds(class_names, gpt, vae, processor, settings.seed)
        origin = f"written by {Path(gpt).resolve().name}"
    demo = VAEDemo(vae, processor, settings, names, codes)
    logger.info("Writing a morph, two repairs and %d new sounds.", settings.num_samples)
    parts = [demo.morph(), demo.repair(mask), demo.new_sounds()]
    facts = [
        f"The two sounds, {names[0]} and {names[1]}, were {origin}. All clips are codes that the audio tokenizer "
        "turns into sound, the originals too.",
        f"Temperature {settings.temperature:g}, loudness {settings.loudness}, seed {settings.seed}.",
        describe_mel_pictures(processor.feature_extractor),
    ]
    summary = {"model": str(model), "sounds": names, "origin": origin, **dataclasses.asdict(settings)}
    title = f"What {Path(model).resolve().name} does with sounds"
    return _write_parts(parts, Path(output_dir), title, facts, summary, processor.sampling_rate)


def _write_parts(
    parts: Sequence[DemoPart],
    output_dir: Path,
    title: str,
    facts: Sequence[str],
    summary: dict[str, Any],
    sampling_rate: int,
) -> Path:
    """Writes clips, pictures, summary and page; returns the page."""
    clips = []
    for part in parts:
        clips += write_clips(part.clips, part.input_features, part.waveforms, output_dir, sampling_rate)
    summary |= {"sampling_rate": sampling_rate} | {part.heading: part.numbers for part in parts if part.numbers}
    introductions = {part.heading: part.introduction for part in parts}
    return write_page(output_dir, title, facts, clips, SUMMARY_NAME, summary, introductions)


def read_sounds(
    audio: Sequence[str | Path], processor: MelGPTProcessor, needed_seconds: float
) -> tuple[list[str], torch.LongTensor]:
    """
    The first clip of each of two sound files.

    Args:
        audio (`Sequence[str | Path]`): the files, of any rate and number of channels.
        processor ([`MelGPTProcessor`]): turns them into codes.
        needed_seconds (`float`): what has to be there of each sound; what lacks beyond it is filled in as the
            feature extractor does.

    Returns:
        Names of the files and their codes, `(2, num_codes)`.

    Raises:
        ValueError: if there are not two files, or if one cannot be read or is too short.
    """
    if len(audio) != NUM_SOUNDS:
        raise ValueError(f"`audio` holds {len(audio)} files; give {NUM_SOUNDS}, where the morph begins and ends.")
    clip_seconds = processor.feature_extractor.num_samples / processor.sampling_rate
    codes = []
    for file in audio:
        waveform, rate = _read_audio(file, clip_seconds + EXTRA_SECONDS)
        seconds = waveform.shape[-1] / rate
        if seconds < needed_seconds:
            raise ValueError(
                f"`audio` {str(file)!r} lasts {seconds:.2f} s, but `hidden_seconds` ends at {needed_seconds:.2f} s: "
                "choose an earlier span or a longer sound."
            )
        codes.append(processor(audio=[waveform], sampling_rate=rate, resample=True).input_ids)
    return [Path(file).name for file in audio], torch.cat(codes)


def _read_audio(file: str | Path, max_seconds: float) -> tuple[np.ndarray, int]:
    """The first samples of a sound file, `(channels, samples)`, and its rate."""
    if not Path(file).is_file():
        raise ValueError(f"`audio` {str(file)!r} is not a file.")
    try:
        with soundfile.SoundFile(file) as opened:
            num_frames = math.ceil(max_seconds * opened.samplerate)
            return opened.read(num_frames, dtype="float32", always_2d=True).T, opened.samplerate
    except (soundfile.LibsndfileError, TypeError) as error:  # the latter for samples without a header
        raise ValueError(f"`audio` {str(file)!r} cannot be read as sound: {error}") from error


def write_sounds(
    class_names: Sequence[str], gpt: str | Path, vae: MelGPTVAEModel, processor: MelGPTProcessor, seed: int
) -> tuple[list[str], torch.LongTensor]:
    """
    Sounds of two classes by a GPT, the same that [`write_samples`] makes with its defaults.

    Args:
        class_names (`Sequence[str]`): the classes.
        gpt (`str` or `Path`): checkpoint of the GPT.
        vae ([`MelGPTVAEModel`]), processor ([`MelGPTProcessor`]): the codes are for these.
        seed (`int`): seed of the sounds.

    Returns:
        The classes, as the GPT spells them, and the codes, `(2, num_codes)`.

    Raises:
        ValueError: if there is no such GPT, if it does not know the classes, or if its codes mean other sounds.
    """
    model, gpt_processor = load_sound_checkpoint(gpt, MelGPTForCausalLM, argument="gpt")
    planned = plan_clips(gpt_processor.tokenizer, class_names, num_samples=1)
    if len(planned) != NUM_SOUNDS:
        raise ValueError(f"`class_names` is {list(class_names)}; give {NUM_SOUNDS} different classes.")
    same_codes = _are_equal(*(part.audio_tokenizer.quantizer.codebook.weight for part in (gpt_processor, processor)))
    if not same_codes or model.config.num_codes != vae.config.num_codes:
        raise ValueError(
            f"`gpt` {str(gpt)!r} has another audio tokenizer than the GPT-VAE, so its codes mean other sounds: give a "
            "GPT with the same one, or two sound files as `audio`."
        )
    ids = sample_sentences(planned, model, gpt_processor, SamplingSettings(seed=seed))
    return [clip.class_name for clip in planned], ids[:, 1:]


def _are_equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether weights are the same, up to rounding to half precision."""
    return first.shape == second.shape and torch.allclose(
        first.float(), second.float(), rtol=HALF_PRECISION, atol=HALF_PRECISION
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`write_vae_demo`]."""
    parser = _parser()
    options = vars(parser.parse_args(argv))
    fields = [field.name for field in dataclasses.fields(VAEDemoSettings)]
    values = {name: options.pop(name) for name in fields}
    configure_output()
    try:
        values["hidden_seconds"] = tuple(values["hidden_seconds"])
        page = write_vae_demo(settings=VAEDemoSettings(**values), **options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logger.info("Open %s in a browser to see and hear the clips.", page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Morph one sound into another, fill in gaps, and make new sounds with a GPT-VAE: clips, mel "
        f"pictures, {SUMMARY_NAME} and index.html. Files of these names are replaced.",
    )
    parser.add_argument("--model", default=SHIPPED_VAE, help="GPT-VAE checkpoint, or Hub name (default: %(default)s)")
    parser.add_argument("--output_dir", default=DEMO_DIR, help="folder to write (default: %(default)s)")
    sounds = parser.add_mutually_exclusive_group()
    sounds.add_argument("--audio", nargs="+", metavar="FILE", help="the two sounds, as files")
    sounds.add_argument(
        "--class_names",
        nargs="+",
        default=DEFAULT_CLASSES,
        help=f"or their classes, for a GPT to write them (default: {' and '.join(DEFAULT_CLASSES)})",
    )
    parser.add_argument("--gpt", default=SHIPPED_GPT, help="GPT that writes the two sounds (default: %(default)s)")
    helps = {
        "steps": "clips on the way from one sound to the other",
        "mode": f"the way: {' or '.join(INTERPOLATION_MODES)}",
        "hidden_seconds": "start and end of the gap to fill in, seconds",
        "num_candidates": "fillings of each gap, one of which is chosen by likelihood",
        "num_samples": "new sounds",
        "temperature": "randomness: below 1 likely codes become likelier still",
        "loudness": "level each clip is brought to, dBFS rms, or none to keep what the model made",
        "seed": "seed of everything",
    }
    readers = {"hidden_seconds": float, "loudness": read_level}
    for field in dataclasses.fields(VAEDemoSettings):
        parser.add_argument(
            f"--{field.name}",
            type=readers.get(field.name, field.type),
            nargs=2 if field.name == "hidden_seconds" else None,
            default=field.default,
            metavar=field.name.upper(),
            help=f"{helps[field.name]} (default: {field.default})",
        )
    return parser


if __name__ == "__main__":
    main()

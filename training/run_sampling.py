"""Which sounds does a checkpoint make of its classes? Writes clips, mel pictures and a page to listen to them."""

import argparse
import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import LogitsProcessorList
from transformers.generation import BaseStreamer
from transformers.utils.logging import disable_progress_bar

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer
from melspec_gpt.training.loudness import bring_to_level, measure_level
from melspec_gpt.training.mel_picture import write_mel_picture
from melspec_gpt.training.sample_folders import folder_names
from melspec_gpt.training.sample_page import SampleClip, render_page
from melspec_gpt.training.seeded_sampling import SeededSamplingLogitsProcessor, sentence_seed

logger = logging.getLogger(__name__)

# The checkpoint that comes with the repository, seen from its root.
DEFAULT_MODEL = "checkpoints/esc10-small"
PAGE_NAME = "index.html"
SUMMARY_NAME = "samples.json"


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """
    How clips are sampled.

    Args:
        num_samples (`int`): clips of each class.
        guidance_scale (`float`): how strongly the class counts: 1 is the model itself, 0 ignores the class.
        temperature (`float`): below 1 the likely codes become likelier still.
        top_k (`int`): choose among so many of the likeliest codes; 0 for all.
        top_p (`float`): choose among the likeliest codes that have this share of the probability together.
        loudness (`float`, *optional*): level that each clip is brought to, dBFS rms, as near as a peak of 0.95 allows:
            some recordings are so quiet that one would not hear what the model learned from them. `None` keeps the
            levels that the model made.
        seed (`int`): seed of all clips. A clip depends on it, its class and its number; on `batch_size` and the other
            clips only by the rounding of sums.
        batch_size (`int`): clips made at a time.

    Raises:
        ValueError: if a value is impossible.
    """

    num_samples: int = 2
    guidance_scale: float = 3.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    loudness: float | None = -24.0
    seed: int = 0
    batch_size: int = 20

    def __post_init__(self):
        self._check("num_samples", self.num_samples >= 1, "1 or more")
        self._check("guidance_scale", 0 <= self.guidance_scale < math.inf, "0 or more")
        self._check("temperature", 0 < self.temperature < math.inf, "above 0")
        self._check("top_k", self.top_k >= 0, "0 (all codes) or more")
        self._check("top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (all codes)")
        self._check("loudness", self.loudness is None or -60 <= self.loudness <= 0, "none, or from -60 to 0 (dBFS)")
        self._check("batch_size", self.batch_size >= 1, "1 or more")

    def _check(self, name: str, is_possible: bool, expected: str) -> None:
        if not is_possible:
            raise ValueError(f"`{name}` is {getattr(self, name)}; it has to be {expected}.")


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be made: the number `index` of its class, at `file` inside the output folder."""

    class_name: str
    index: int
    file: Path


def write_samples(
    model: str | Path,
    output_dir: str | Path,
    class_names: Sequence[str] | None = None,
    settings: SamplingSettings | None = None,
    clips_folder: str = "",
) -> Path:
    """
    Samples clips of classes and writes `<class name>/00.wav`, `01.wav`, ..., a mel picture beside each, `samples.json`
    with settings and levels, and the page. Files of these names are replaced, others are left alone.

    Args:
        model (`str` or `Path`): folder (or Hub name) of a GPT checkpoint with its audio tokenizer.
        output_dir (`str` or `Path`): where to write.
        class_names (`Sequence[str]`, *optional*): classes to sample, by default all.
        settings ([`SamplingSettings`], *optional*): how to sample.
        clips_folder (`str`): folder inside `output_dir` for the folders of the classes.

    Returns:
        `Path`: the page.

    Raises:
        ValueError: if there is no such checkpoint, or if it does not know a class.
    """
    settings = settings or SamplingSettings()
    gpt, processor = load_checkpoint(model)
    planned = plan_clips(processor.tokenizer, class_names, settings.num_samples, clips_folder)
    output_dir = Path(output_dir)
    clips = []
    with tqdm(total=len(planned) * gpt.config.num_codes, unit="code", desc="Sampling") as bar:
        for start in range(0, len(planned), settings.batch_size):
            batch = planned[start : start + settings.batch_size]
            clips += _write_clips(batch, gpt, processor, output_dir, settings, bar)
    summary = {"model": str(model), **dataclasses.asdict(settings), "sampling_rate": processor.sampling_rate}
    summary["clips"] = [dataclasses.asdict(clip) for clip in clips]
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (output_dir / SUMMARY_NAME).write_text(text, encoding="utf-8")
    page = output_dir / PAGE_NAME
    title = f"Sounds by {Path(model).resolve().name}"
    page.write_text(render_page(title, _facts(settings, processor), clips), encoding="utf-8")
    return page


def load_checkpoint(model: str | Path) -> tuple[MelGPTForCausalLM, MelGPTProcessor]:
    """
    A GPT and its processor, on the GPU where there is one.

    Raises:
        ValueError: if there is no GPT checkpoint with an audio tokenizer.
    """
    if str(model) == DEFAULT_MODEL and not Path(model).is_dir():
        raise ValueError(
            f"`model` {DEFAULT_MODEL!r}, the checkpoint that comes with the repository, is not in the current folder "
            f"{str(Path.cwd())!r}: change to the root of the repository, or give the folder of a checkpoint."
        )
    try:
        model_type = MelGPTConfig.get_config_dict(model)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise ValueError(f"`model` {str(model)!r} is neither a checkpoint folder nor on the Hub: {error}") from error
    if model_type != MelGPTConfig.model_type:
        raise ValueError(
            f"`model` {str(model)!r} holds a model of type {model_type!r}; expected {MelGPTConfig.model_type!r}, the "
            "output of train_gpt."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpt = MelGPTForCausalLM.from_pretrained(model).eval().to(device)
    processor = MelGPTProcessor.from_pretrained(model)
    if processor.audio_tokenizer is None:
        raise ValueError(f"`model` {str(model)!r} has no folder audio_tokenizer, so its codes cannot become sound.")
    processor.audio_tokenizer.to(device)
    return gpt, processor


def plan_clips(
    tokenizer: MelCodeTokenizer, class_names: Sequence[str] | None, num_samples: int, clips_folder: str = ""
) -> list[PlannedClip]:
    """
    The clips to be made, class by class; a class that is named twice counts once.

    Raises:
        ValueError: if the tokenizer does not know a name, or if it has no classes and none is named.
    """
    null_class = tokenizer.bos_token
    if class_names is None and not tokenizer.class_names:
        raise ValueError(f"The model has no classes; ask for {null_class!r}, a sound of any kind.")
    known = [*tokenizer.class_names, null_class]
    chosen = tokenizer.class_names if class_names is None else class_names
    names = dict.fromkeys(_known_name(tokenizer, name) for name in chosen)
    folders = folder_names(known, reserved=[PAGE_NAME, SUMMARY_NAME])
    width = max(2, len(str(num_samples - 1)))
    return [
        PlannedClip(name, index, Path(clips_folder, folders[name], f"{index:0{width}d}.wav"))
        for name in names
        for index in range(num_samples)
    ]


def _known_name(tokenizer: MelCodeTokenizer, name: str) -> str:
    """`name` as the tokenizer spells it."""
    index = tokenizer.convert_tokens_to_ids(name.strip())
    if index < tokenizer.codebook_size:
        raise ValueError(f"`class_names` holds {name!r}, which is a code and no class.")
    return tokenizer.convert_ids_to_tokens(index)


class _ProgressStreamer(BaseStreamer):
    """Moves a progress bar with the codes that `generate` writes."""

    def __init__(self, bar: tqdm):
        self.bar = bar
        self.is_prompt = True

    def put(self, value: torch.LongTensor) -> None:
        if not self.is_prompt:
            self.bar.update(len(value))
        self.is_prompt = False

    def end(self) -> None:
        self.is_prompt = True


def _write_clips(
    batch: list[PlannedClip],
    gpt: MelGPTForCausalLM,
    processor: MelGPTProcessor,
    output_dir: Path,
    settings: SamplingSettings,
    bar: tqdm,
) -> list[SampleClip]:
    """Samples and writes the clips of one batch."""
    seeds = [sentence_seed(settings.seed, clip.class_name, clip.index) for clip in batch]
    choice = SeededSamplingLogitsProcessor(seeds, settings.temperature, settings.top_k, settings.top_p)
    ids = gpt.generate(
        **processor(text=[clip.class_name for clip in batch]).to(gpt.device),
        guidance_scale=settings.guidance_scale,
        do_sample=False,
        logits_processor=LogitsProcessorList([choice]),
        streamer=_ProgressStreamer(bar),
    )
    decoded = processor.decode_features(ids)
    waveforms = decoded.audio_values
    if settings.loudness is not None:
        waveforms = [bring_to_level(waveform, settings.loudness) for waveform in waveforms]
    processor.save_audio(waveforms, [output_dir / clip.file for clip in batch])
    pictures = [clip.file.with_suffix(".png") for clip in batch]
    for features, picture in zip(decoded.input_features, pictures, strict=True):
        write_mel_picture(features, output_dir / picture)
    return [
        SampleClip(
            class_name=clip.class_name,
            file=clip.file.as_posix(),
            picture=picture.as_posix(),
            seconds=len(waveform) / processor.sampling_rate,
            **measure_level(waveform),
        )
        for clip, picture, waveform in zip(batch, pictures, waveforms, strict=True)
    ]


def _facts(settings: SamplingSettings, processor: MelGPTProcessor) -> list[str]:
    """What the page says about all its clips."""
    shown = ("guidance_scale", "temperature", "top_k", "top_p", "loudness", "seed")
    extractor = processor.feature_extractor
    return [
        ", ".join(f"{name.replace('_', ' ')} {getattr(settings, name)}" for name in shown) + ".",
        f"Pictures: time from left to right, {extractor.min_frequency:g} Hz at the bottom to "
        f"{extractor.max_frequency:g} Hz at the top (mel scale), bright is loud.",
    ]


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for the fields of [`SamplingSettings`]; `parser` may be a group of a parser, too."""
    helps = {
        "num_samples": "clips of each class",
        "guidance_scale": "how strongly the class counts: 1 is the model itself, 0 ignores the class",
        "temperature": "randomness: below 1 likely codes become likelier still",
        "top_k": "choose among so many of the likeliest codes, 0 for all",
        "top_p": "choose among the likeliest codes that have this share of the probability together",
        "loudness": "level each clip is brought to, dBFS rms, or none to keep what the model made",
        "seed": "seed; a clip depends on it, its class and its number, not on the other clips",
        "batch_size": "clips made at a time, which changes speed and memory but no clip (up to rounding)",
    }
    for field in dataclasses.fields(SamplingSettings):
        text = f"{helps[field.name]} (default: {field.default})"
        reader = _read_loudness if field.name == "loudness" else field.type
        parser.add_argument(
            f"--{field.name}", type=reader, default=field.default, metavar=field.name.upper(), help=text
        )


def _read_loudness(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def read_sampling_settings(options: argparse.Namespace) -> SamplingSettings:
    """The settings in the options of [`add_sampling_arguments`]."""
    return SamplingSettings(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(SamplingSettings)}
    )


def configure_output() -> None:
    """For programs: our own messages and progress are shown, the library's loading bars are not."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    disable_progress_bar()


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`write_samples`]."""
    parser = argparse.ArgumentParser(
        description="Make sounds of classes: <output_dir>/<class name>/00.wav, 01.wav, ..., a mel picture beside "
        "each, and index.html to see and hear them all. Files of these names are replaced."
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="GPT checkpoint, or Hub name (default: %(default)s)")
    parser.add_argument("--class_names", nargs="+", help="classes to sample, such as 'Dog bark' Rain (default: all)")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    add_sampling_arguments(parser)
    options = parser.parse_args(argv)
    configure_output()
    try:
        settings = read_sampling_settings(options)
        page = write_samples(options.model, options.output_dir, options.class_names, settings)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logger.info("Open %s in a browser to see and hear the clips.", page)


if __name__ == "__main__":
    main()

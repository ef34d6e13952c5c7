"""Which sounds does a checkpoint make of its classes? Writes clips, mel pictures and a page to listen to them."""

import argparse
import dataclasses
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

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer
from melspec_gpt.training.clip_files import PAGE_NAME, PlannedClip, write_clips, write_page
from melspec_gpt.training.loudness import LEVELS, bring_to_level, is_level, read_level
from melspec_gpt.training.mel_picture import describe_mel_pictures
from melspec_gpt.training.sample_folders import folder_names
from melspec_gpt.training.sample_page import SampleClip
from melspec_gpt.training.seeded_sampling import SeededSamplingLogitsProcessor, sentence_seed
from melspec_gpt.training.sound_checkpoints import SHIPPED_GPT, load_sound_checkpoint

logger = logging.getLogger(__name__)

DEFAULT_MODEL = SHIPPED_GPT
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
        seed (`int`): seed of all clips. The codes of a clip depend on it, its class and its number, not on
            `batch_size` and the other clips; the waveform does a little, where Griffin-Lim magnifies rounding.
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
        check_setting(self, "num_samples", self.num_samples >= 1, "1 or more")
        check_setting(self, "guidance_scale", 0 <= self.guidance_scale < math.inf, "0 or more")
        check_setting(self, "temperature", 0 < self.temperature < math.inf, "above 0")
        check_setting(self, "top_k", self.top_k >= 0, "0 (all codes) or more")
        check_setting(self, "top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (all codes)")
        check_setting(self, "loudness", is_level(self.loudness), LEVELS)
        check_setting(self, "batch_size", self.batch_size >= 1, "1 or more")


def check_setting(settings: object, name: str, is_possible: bool, expected: str) -> None:
    """
    Refuses an impossible value of a field.

    Raises:
        ValueError: with the name, the value and what is `expected`, unless the value `is_possible`.
    """
    if not is_possible:
        raise ValueError(f"`{name}` is {getattr(settings, name)}; it has to be {expected}.")


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
    gpt, processor = load_sound_checkpoint(model, MelGPTForCausalLM)
    planned = plan_clips(processor.tokenizer, class_names, settings.num_samples, clips_folder)
    output_dir = Path(output_dir)
    clips = []
    with tqdm(total=len(planned) * gpt.config.num_codes, unit="code", desc="Sampling") as bar:
        for start in range(0, len(planned), settings.batch_size):
            batch = planned[start : start + settings.batch_size]
            clips += _write_clips(batch, gpt, processor, output_dir, settings, bar)
    summary = {"model": str(model), **dataclasses.asdict(settings), "sampling_rate": processor.sampling_rate}
    title = f"Sounds by {Path(model).resolve().name}"
    return write_page(output_dir, title, _facts(settings, processor), clips, SUMMARY_NAME, summary)


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
    decoded = processor.decode_features(sample_sentences(batch, gpt, processor, settings, _ProgressStreamer(bar)))
    waveforms = [bring_to_level(waveform, settings.loudness) for waveform in decoded.audio_values]
    return write_clips(batch, decoded.input_features, waveforms, output_dir, processor.sampling_rate)


def sample_sentences(
    clips: Sequence[PlannedClip],
    gpt: MelGPTForCausalLM,
    processor: MelGPTProcessor,
    settings: SamplingSettings,
    streamer: BaseStreamer | None = None,
) -> torch.LongTensor:
    """
    Sentences of the classes of clips, in one batch.

    Args:
        clips (`Sequence[PlannedClip]`): classes and numbers of the clips.
        gpt ([`MelGPTForCausalLM`]), processor ([`MelGPTProcessor`]): the checkpoint.
        settings ([`SamplingSettings`]): how to sample.
        streamer ([`~transformers.generation.BaseStreamer`], *optional*): gets the ids as they are written.

    Returns:
        `torch.LongTensor` of shape `(len(clips), 1 + num_codes)`: class tokens and codes.
    """
    seeds = [sentence_seed(settings.seed, clip.class_name, clip.index) for clip in clips]
    choice = SeededSamplingLogitsProcessor(seeds, settings.temperature, settings.top_k, settings.top_p)
    return gpt.generate(
        **processor(text=[clip.class_name for clip in clips]).to(gpt.device),
        guidance_scale=settings.guidance_scale,
        do_sample=False,
        logits_processor=LogitsProcessorList([choice]),
        streamer=streamer,
    )


def _facts(settings: SamplingSettings, processor: MelGPTProcessor) -> list[str]:
    """What the page says about all its clips."""
    shown = ("guidance_scale", "temperature", "top_k", "top_p", "loudness", "seed")
    return [
        ", ".join(f"{name.replace('_', ' ')} {getattr(settings, name)}" for name in shown) + ".",
        describe_mel_pictures(processor.feature_extractor),
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
        "batch_size": "clips made at a time: speed and memory; the codes are the same, waveforms differ a little",
    }
    for field in dataclasses.fields(SamplingSettings):
        text = f"{helps[field.name]} (default: {field.default})"
        reader = read_level if field.name == "loudness" else field.type
        parser.add_argument(
            f"--{field.name}", type=reader, default=field.default, metavar=field.name.upper(), help=text
        )


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
        allow_abbrev=False,
        description="Make sounds of classes: <output_dir>/<class name>/00.wav, 01.wav, ..., a mel picture beside "
        "each, and index.html to see and hear them all. Files of these names are replaced.",
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

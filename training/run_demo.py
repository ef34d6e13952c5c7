"""What can this package do? Sounds of the checkpoint that comes with it, or the whole chain on a folder of clips."""

import argparse
import dataclasses
import hashlib
import json
import logging
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.build_audio_folder import build_audio_folder, list_audio_folder
from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE
from melspec_gpt.datasets_scripts.token_dataset import build_token_dataset
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training import train_audio_tokenizer, train_gpt
from melspec_gpt.training.arguments import parse_arguments, read_json_object
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.run_sampling import (
    DEFAULT_MODEL,
    SamplingSettings,
    add_sampling_arguments,
    read_sampling_settings,
    write_samples,
)
from melspec_gpt.training.training_summary import SUMMARY_NAME

logger = logging.getLogger(__name__)

DEMO_DIR = "outputs/demo"
CHAIN_FILE = "run_demo.json"
SAMPLES_FOLDER = "samples"
MINIMUM_CLIPS = 2
# The rest of the time is for the other stages.
TOKENIZER_SHARE = 0.65
GPT_SHARE = 0.3
# Training sentences worth having for each minute of the whole run: encoding takes a small part of it on two cores.
SENTENCES_PER_MINUTE = 100
MAXIMUM_VIEWS = 8
# Options of a recipe that need validation clips.
WITHOUT_VALIDATION = ["--load_best_model_at_end", "false", "--early_stopping_patience", "null"]
# Options that make a chain.
CHAIN_HELPS = {
    "data_dir": "folder of your own clips, one folder per class (dog/1.wav, rain/a.mp3) or with a metadata file",
    "minutes": "about how long the whole run takes on these clips",
    "clip_seconds": "length of the clips: longer files are cut, shorter ones repeated",
    "audio_tokenizer_recipe": "recipe of the audio tokenizer training; a limit of steps in it counts too",
    "gpt_recipe": "recipe of the GPT training; a limit of steps in it counts too",
}


@dataclass(frozen=True, kw_only=True)
class ChainSettings:
    """
    What the chain does with a folder of clips.

    Args:
        data_dir (`str`): the folder with the clips, see [`build_audio_folder`].
        minutes (`float`): about how long the run takes.
        clip_seconds (`float`): length of the clips, s.
        seed (`int`): seed of the split, the trainings and the encoding.
        audio_tokenizer_recipe, gpt_recipe (`str`): recipes of the trainings. A limit of steps in a recipe counts
            beside the time.

    Raises:
        ValueError: if a value is impossible.
    """

    data_dir: str
    minutes: float = 10.0
    clip_seconds: float = 5.0
    seed: int = 0
    audio_tokenizer_recipe: str = "audio_tokenizer_esc10_small"
    gpt_recipe: str = "gpt_esc10_small"

    def __post_init__(self):
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"`minutes` is {self.minutes}; it has to be above 0, and finite.")


class Chain:
    """
    The way from a folder of clips to new sounds: mels, audio tokenizer, codes, GPT, clips and page, all in one folder.
    A run that was stopped goes on where it was when it is started again with the same settings.

    Args:
        settings ([`ChainSettings`]): clips, time and recipes.
        output_dir (`str` or `Path`): new or empty folder, or that of the run to continue.

    Raises:
        ValueError: if `data_dir` holds no clips, or if a setting is impossible.
    """

    def __init__(self, settings: ChainSettings, output_dir: str | Path):
        self.settings = settings
        self.data_dir = Path(settings.data_dir).expanduser().resolve()
        self.listing = list_audio_folder(self.data_dir)
        self.output_dir = Path(output_dir).expanduser()
        self.mels = self.output_dir / "mels"
        self.audio_tokenizer = self.output_dir / "audio_tokenizer"
        self.tokens = self.output_dir / "tokens"
        self.model = self.output_dir / "model"
        # Looked at now, so that a wrong recipe or clip length is noticed before the work begins.
        self.tokenizer_command = self._tokenizer_command()
        self.gpt_command = self._gpt_command()

    def run(self, sampling: SamplingSettings) -> Path:
        """
        Does what is not done yet.

        Args:
            sampling ([`SamplingSettings`]): how the clips are made.

        Returns:
            `Path`: the page.

        Raises:
            ValueError: if the clips cannot be used, or if the output folder holds something else.
        """
        settings = self.settings
        self._claim_output_dir()
        logger.info(
            "%d clips of %d classes, about %g min in five stages. A short run gives a first impression: the "
            "longer the audio tokenizer trains, the clearer the sound.",
            len(self.listing.clips),
            len({clip.label for clip in self.listing.clips}),
            settings.minutes,
        )
        _announce_stage(1, f"sound files to mel spectrograms of {settings.clip_seconds:g} s")
        clips = self._build_mels()
        _announce_stage(2, f"train the audio tokenizer, {settings.minutes * TOKENIZER_SHARE:.1f} min")
        options = [] if "validation" in clips else WITHOUT_VALIDATION
        summary = _train(train_audio_tokenizer, self.tokenizer_command + options, self.audio_tokenizer)
        _report_tokenizer(summary)
        _announce_stage(3, "mel spectrograms to codes")
        self._build_tokens(num_clips=clips["train"])
        _announce_stage(4, f"train the GPT that writes codes, {settings.minutes * GPT_SHARE:.1f} min")
        summary = _train(train_gpt, self.gpt_command + options, self.model)
        _report_gpt(summary)
        _announce_stage(5, "make new sounds")
        return write_samples(self.model, self.output_dir, settings=sampling, clips_folder=SAMPLES_FOLDER)

    def _tokenizer_command(self) -> list[str]:
        """Arguments of the audio tokenizer training. Clips shorter than its crops are taken whole."""
        command = [self.settings.audio_tokenizer_recipe, "--dataset_path", str(self.mels)]
        command += self._common_arguments(self.audio_tokenizer, TOKENIZER_SHARE)
        arguments = parse_arguments(train_audio_tokenizer.AudioTokenizerArguments, command)
        num_frames = MelFeatureExtractor.from_clip_seconds(self.settings.clip_seconds).num_frames
        return command + (["--crop_frames", "0"] if arguments.crop_frames > num_frames else [])

    def _gpt_command(self) -> list[str]:
        """Arguments of the GPT training."""
        command = [self.settings.gpt_recipe, "--dataset_path", str(self.tokens)]
        command += ["--audio_tokenizer", str(self.audio_tokenizer)]
        command += self._common_arguments(self.model, GPT_SHARE)
        parse_arguments(train_gpt.GPTArguments, command)
        return command

    def _common_arguments(self, output_dir: Path, share: float) -> list[str]:
        minutes = f"{self.settings.minutes * share:g}"
        return ["--output_dir", str(output_dir), "--max_train_minutes", minutes, "--seed", str(self.settings.seed)]

    def _claim_output_dir(self) -> None:
        """Notes the settings in a new output folder, or compares them with those of the run to continue."""
        if len(self.listing.clips) < MINIMUM_CLIPS:
            raise ValueError(f"`data_dir` holds only one clip; at least {MINIMUM_CLIPS} are needed, better dozens.")
        chain_file = self.output_dir / CHAIN_FILE
        note = dataclasses.asdict(self.settings) | {
            "data_dir": str(self.data_dir),
            "clips_in_data_dir": _fingerprint(self.listing),
        }
        if chain_file.is_file():
            earlier = read_json_object(chain_file)
            changed = [f"`{name}`" for name in note if earlier.get(name) != note[name]]
            if changed:
                raise ValueError(
                    f"`output_dir` {str(self.output_dir)!r} holds a run with other {', '.join(changed)} (see "
                    f"{CHAIN_FILE} there): repeat its settings to continue it, or choose another folder."
                )
            logger.info("Continuing the run in %s.", self.output_dir)
            return
        if self.output_dir.exists() and any(self.output_dir.iterdir()):
            raise ValueError(
                f"`output_dir` {str(self.output_dir)!r} is not empty and holds no run to continue; choose another."
            )
        _check_apart(self.output_dir, self.data_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        chain_file.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")

    def _build_mels(self) -> dict[str, int]:
        """The mel dataset; returns its number of clips per split."""
        if not self.mels.exists():
            build_audio_folder(
                self.data_dir,
                self.mels,
                clip_seconds=self.settings.clip_seconds,
                seed=self.settings.seed,
            )
        clips = read_json_object(self.mels / REPORT_FILE)["clips"]
        if sum(clips.values()) < MINIMUM_CLIPS:
            raise ValueError(
                f"Only one of the {len(self.listing.clips)} clips in `data_dir` could be read (see "
                f"{self.mels / REPORT_FILE}); at least {MINIMUM_CLIPS} are needed."
            )
        return clips

    def _build_tokens(self, num_clips: int) -> None:
        if not self.tokens.exists():
            num_views = views_per_clip(self.settings.minutes, num_clips)
            build_token_dataset(
                self.mels, self.audio_tokenizer, self.tokens, num_views=num_views, seed=self.settings.seed
            )


def views_per_clip(minutes: float, num_clips: int) -> int:
    """How often each of `num_clips` training clips is encoded, shifted in time, in a run of `minutes`."""
    return min(max(round(SENTENCES_PER_MINUTE * minutes / num_clips), 1), MAXIMUM_VIEWS)


def _train(training: ModuleType, command: list[str], output_dir: Path) -> dict[str, Any]:
    """Runs a training from the beginning or from its last checkpoint, unless it is done; returns its summary."""
    if not (output_dir / SUMMARY_NAME).is_file():
        logger.info("This is: accelerate launch -m %s %s", training.__name__, shlex.join(command))
        training.main(command + (["--resume_from_checkpoint", "latest"] if output_dir.exists() else []))
    return read_json_object(output_dir / SUMMARY_NAME)


def _announce_stage(number: int, what: str) -> None:
    logger.info("Stage %d of 5: %s", number, what)


def _report_tokenizer(summary: dict[str, Any]) -> None:
    if summary["validation"]:
        logger.info(
            "Clips that were kept back come out of the audio tokenizer with an error of %.3f (%.3f if they were all "
            "replaced by the mean spectrum), in %d different codes.",
            summary["validation"]["reconstruction_loss"],
            summary["mean_mel_error"],
            summary["validation"]["codes_used"],
        )


def _report_gpt(summary: dict[str, Any]) -> None:
    if summary["validation"]:
        logger.info(
            "The GPT's uncertainty about the clips that were kept back is %.2f nats per code (%.2f for guessing by "
            "frequency).",
            summary["validation_nats_per_code"],
            summary["unigram_nats_per_code"],
        )


def _fingerprint(listing: AudioListing) -> str:
    """A short text that changes with the clips, their classes and their splits."""
    lines = [f"{clip.clip_id}\t{clip.label}\t{clip.split}" for clip in listing.clips]
    return f"{len(lines)} clips, {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


def _check_apart(output_dir: Path, data_dir: Path) -> None:
    output, data = output_dir.resolve(), data_dir.resolve()
    if output == data or data in output.parents:
        raise ValueError(f"`output_dir` {str(output_dir)!r} lies in `data_dir`, as if it were a class; move it out.")


def run_shipped_demo(model: str, output_dir: str | Path, sampling: SamplingSettings) -> Path:
    """
    Clips of every class of a checkpoint, and the page.

    Raises:
        ValueError: as in [`write_samples`], or if `output_dir` holds a [`Chain`], whose page would be replaced.
    """
    output_dir = Path(output_dir).expanduser()
    if (output_dir / CHAIN_FILE).exists():
        raise ValueError(f"`output_dir` {str(output_dir)!r} holds a run with --data_dir; choose another folder.")
    return write_samples(os.path.expanduser(model), output_dir, settings=sampling)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`run_shipped_demo`] and [`Chain`]."""
    parser = _parser()
    options = parser.parse_args(argv)
    chain_options = {name: getattr(options, name) for name in CHAIN_HELPS if getattr(options, name) is not None}
    if chain_options and "data_dir" not in chain_options:
        parser.error(f"--{next(iter(chain_options))} needs --data_dir, the folder with your clips.")
    if chain_options and (options.output_dir is None or options.model is not None):
        parser.error("--data_dir trains a model of its own: it needs --output_dir and takes no --model.")
    configure_logging()
    try:
        sampling = read_sampling_settings(options)
        if chain_options:
            page = Chain(ChainSettings(seed=options.seed, **chain_options), options.output_dir).run(sampling)
        else:
            page = run_shipped_demo(options.model or DEFAULT_MODEL, options.output_dir or DEMO_DIR, sampling)
    except (FloatingPointError, OSError, ValueError) as error:
        parser.error(str(error))
    logger.info("Open %s in a browser to see and hear the clips.", page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Without --data_dir: make sounds of every class with the checkpoint that comes with the "
        "repository. With it: train an audio tokenizer and a GPT on your own clips, and make sounds with these. "
        "A stopped run goes on if it is started again with the same options.",
    )
    parser.add_argument("--output_dir", help=f"folder to write (default: {DEMO_DIR}, but needed with --data_dir)")
    parser.add_argument("--model", help=f"GPT checkpoint, or Hub name (default: {DEFAULT_MODEL})")
    chain = parser.add_argument_group("the whole chain on your own clips")
    for field in dataclasses.fields(ChainSettings):
        if field.name in CHAIN_HELPS:
            default = "" if field.default is dataclasses.MISSING else f" (default: {field.default})"
            chain.add_argument(f"--{field.name}", type=field.type, help=CHAIN_HELPS[field.name] + default)
    add_sampling_arguments(parser.add_argument_group("how the clips are made"))
    return parser


if __name__ == "__main__":
    main()

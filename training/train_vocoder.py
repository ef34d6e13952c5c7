"""Trains the MelGAN vocoder: `accelerate launch -m melspec_gpt.training.train_vocoder recipe.json ...`."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env, set_seed

from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.modeling.modeling_melgan_discriminator import MelGANDiscriminator
from melspec_gpt.tokenization.audio_tokenizer_files import named_audio_tokenizer
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import Splits
from melspec_gpt.training.clip_randomness import ROW_COLUMN, clip_generators
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.training_program import training_program
from melspec_gpt.training.vocoder_evaluation import clip_values, griffin_lim_baseline, log_resynthesis
from melspec_gpt.training.vocoder_losses import (
    WINDOW_LENGTHS,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    mel_distance,
    stft_distance,
)
from melspec_gpt.training.waveform_clips import (
    RECONSTRUCTION_COLUMN,
    add_reconstructions,
    aligned_waveforms,
    load_waveform_dataset,
    random_segments,
)

# A short memory of past gradients: the two networks chase each other.
BETAS = (0.8, 0.99)


@dataclass(kw_only=True)
class VocoderArguments(RunArguments):
    """Settings of the vocoder training."""

    segment_frames: int = setting(32, help="Frames of the stretches it trains on, 256 samples each.")
    gain_range: float = setting(6.0, help="Each stretch is made quieter by up to so many dB.")
    discriminator_start: int | None = setting(
        0, help="Steps before the discriminators join in; until then only the distances are trained. Null: never."
    )
    stft_weight: float = setting(1.0, help="Weight of the multi-resolution STFT distance.")
    mel_weight: float = setting(0.0, help="Weight of the distance of the mel bands, which it is given.")
    adversarial_weight: float = setting(1.0, help="Weight of the loss against the discriminators.")
    feature_matching_weight: float = setting(10.0, help="Weight of the feature matching loss.")
    discriminator_learning_rate: float | None = setting(
        None, help="Highest learning rate of the discriminators. Null: --learning_rate."
    )
    discriminator_config: dict | None = setting(
        None,
        help="Sizes of the discriminators that differ from the paper's, as JSON: base_channels, max_channels, "
        "num_layers, num_scales.",
    )
    audio_tokenizer: str | None = setting(
        None,
        help="Folder (or Hub name) of an audio tokenizer: the vocoder also learns from mels that went through its "
        "codes, which is what it meets in use.",
    )
    reconstruction_share: float = setting(0.5, help="Share of the stretches that come from --audio_tokenizer.")
    initial_vocoder: str | None = setting(
        None, help="Folder (or Hub name) of a vocoder with the sizes of --model_config to start from."
    )

    def validate(self):
        super().validate()
        self.check_range(1, "segment_frames")
        self.check_range(0, "gain_range", "discriminator_start", "stft_weight", "mel_weight")
        self.check_range(0, "adversarial_weight", "feature_matching_weight", "discriminator_learning_rate")
        self.check_range(0, "reconstruction_share", maximum=1)
        if self.streaming and self.audio_tokenizer is not None:
            raise ValueError(
                "`streaming` is True, but `audio_tokenizer` adds its mels to the whole data set first; leave out one."
            )
        if self.push_to_hub:
            raise ValueError(
                "`push_to_hub` is True, but a vocoder is published inside an audio tokenizer: put it there with "
                "melspec_gpt.training.attach_vocoder, and publish that folder with melspec_gpt.push_to_hub."
            )

    def learning_rate_of(self, name: str) -> float:
        """Highest learning rate of the module called `name`."""
        is_own = name == "discriminator" and self.discriminator_learning_rate is not None
        return self.discriminator_learning_rate if is_own else self.learning_rate

    def check_segments(self, feature_extractor: MelFeatureExtractor, min_frames: int) -> None:
        """
        Raises:
            ValueError: if the stretches are longer than a clip, or too short for the vocoder or the distances.
        """
        longest_window = max(*WINDOW_LENGTHS, feature_extractor.n_fft)
        minimum = max(min_frames, longest_window // 2 // feature_extractor.hop_length + 1)
        if not minimum <= self.segment_frames <= feature_extractor.num_frames:
            raise ValueError(
                f"`segment_frames` is {self.segment_frames}; it has to be from {minimum} to "
                f"{feature_extractor.num_frames}, the frames of a clip."
            )


def draw_segments(
    batch: dict[str, torch.Tensor],
    arguments: VocoderArguments,
    feature_extractor: MelFeatureExtractor,
    generators: Sequence[torch.Generator],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and waveforms of random stretches, some of them with the features of the audio tokenizer."""
    features = feature_extractor.normalize(batch["mel"].float())
    if RECONSTRUCTION_COLUMN in batch:
        draws = torch.stack([torch.rand((), generator=generator) for generator in generators])
        is_reconstructed = (draws < arguments.reconstruction_share).to(features.device).reshape(-1, 1, 1)
        features = torch.where(is_reconstructed, batch[RECONSTRUCTION_COLUMN].float(), features)
    waveforms = aligned_waveforms(batch["audio"], feature_extractor)
    return random_segments(features, waveforms, arguments.segment_frames, arguments.gain_range, generators)


def play(
    loop: TrainingLoop, recorded: torch.Tensor, made: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    One step of the discriminators, and what they thought before it of the vocoder's waveforms.

    Args:
        loop ([`TrainingLoop`]): with the module "discriminator".
        recorded, made (`torch.FloatTensor` of shape `(batch_size, samples)`): the second one with its graph.

    Returns:
        The adversarial part of the vocoder's loss, weighted, and metrics.
    """
    arguments, copy = loop.arguments, made.detach().requires_grad_()
    # One pass for both, on whose graph the vocoder's gradient and that of the discriminators are found.
    outputs = loop.modules["discriminator"](torch.cat([recorded, copy]))
    halves = [[feature_map.chunk(2) for feature_map in maps] for maps in outputs]
    real, fake = ([[pair[half] for pair in maps] for maps in halves] for half in (0, 1))
    adversarial, matching = adversarial_loss(fake), feature_matching_loss(real, fake)
    loss = arguments.adversarial_weight * adversarial + arguments.feature_matching_weight * matching
    [gradient] = torch.autograd.grad(loss, copy, retain_graph=True)
    metrics = {
        "adversarial_loss": adversarial.detach(),
        "feature_matching_loss": matching.detach(),
        "discriminator_loss": discriminator_loss(real, fake),
    }
    loop.optimize(metrics["discriminator_loss"], "discriminator")
    # From here on the gradient stands for the discriminators, whose weights have moved.
    return loss.detach() + ((made - copy.detach()) * gradient).sum(), metrics


def training_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, feature_extractor: MelFeatureExtractor
) -> dict[str, torch.Tensor]:
    """One step of the vocoder, and of the discriminators once they have started, on the same stretches."""
    arguments = loop.arguments
    generators = clip_generators(batch[ROW_COLUMN].tolist(), arguments.seed, loop.state.epoch)
    features, recorded = draw_segments(batch, arguments, feature_extractor, generators)
    made = loop.modules["model"](features).float()
    distance = stft_distance(made, recorded).mean()
    mel = mel_distance(made, recorded, feature_extractor.spectrogram_geometry).mean()
    metrics = {"stft_distance": distance, "mel_distance": mel}
    loss = arguments.stft_weight * distance + arguments.mel_weight * mel
    if arguments.discriminator_start is not None and loop.state.step >= arguments.discriminator_start:
        term, adversarial_metrics = play(loop, recorded, made)
        loss, metrics = loss + term, metrics | adversarial_metrics
    loop.optimize(loss)
    return {"loss": loss} | metrics


def evaluation_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, feature_extractor: MelFeatureExtractor
) -> dict[str, torch.Tensor]:
    """Values of whole clips, one row per clip. The loss is the STFT distance, with reconstructions as in training."""
    values = clip_values(loop.modules["model"], batch, feature_extractor)
    loss = values["stft_distance"]
    if RECONSTRUCTION_COLUMN in batch:
        loss = torch.lerp(loss, values["reconstructed_stft_distance"], loop.arguments.reconstruction_share)
    return {"loss": loss} | values


def build_vocoder(arguments: VocoderArguments, feature_extractor: MelFeatureExtractor) -> MelGANVocoder:
    """
    The vocoder to train: sizes from the arguments, geometry from the data set, weights from `initial_vocoder`.

    Raises:
        ValueError: if vocoder, data set and stretches do not fit each other.
    """
    derived = {"num_mel_bins": feature_extractor.feature_size, "sampling_rate": feature_extractor.sampling_rate}
    config = load_model_config(MelGANConfig, arguments.model_config, arguments.model_overrides, **derived)
    if config.hop_length != feature_extractor.hop_length:
        raise ValueError(
            f"`model_config` makes {config.hop_length} samples of a frame (the product of `upsample_ratios` "
            f"{config.upsample_ratios}), but the data set has {feature_extractor.hop_length}."
        )
    model = MelGANVocoder(config)
    if arguments.initial_vocoder is not None:
        model = MelGANVocoder.from_pretrained(arguments.initial_vocoder)
        for name in ("num_mel_bins", "base_channels", "upsample_ratios", "num_residual_layers", "sampling_rate"):
            if getattr(model.config, name) != getattr(config, name):
                raise ValueError(
                    f"`initial_vocoder` {arguments.initial_vocoder!r} has `{name}` {getattr(model.config, name)}; "
                    f"expected {getattr(config, name)}, as `model_config` and the data set have it."
                )
    arguments.check_segments(feature_extractor, model.min_frames)
    return model


def build_discriminator(arguments: VocoderArguments) -> MelGANDiscriminator:
    """
    Raises:
        ValueError: if `discriminator_config` has an unknown name or an impossible size.
    """
    sizes = arguments.discriminator_config or {}
    known = list(inspect.signature(MelGANDiscriminator).parameters)
    for name, value in sizes.items():
        if name not in known or type(value) is not int:
            raise ValueError(f"`discriminator_config` has {name!r}: {value!r}; expected whole numbers for {known}.")
    return MelGANDiscriminator(**sizes)


def with_reconstructions(
    splits: Splits, arguments: VocoderArguments, feature_extractor: MelFeatureExtractor
) -> Splits:
    """
    The splits with the clips as the audio tokenizer gives them back, if there is one to learn from.

    Raises:
        ValueError: if the audio tokenizer is made for other features.
    """
    if arguments.audio_tokenizer is None:
        return splits
    # As Accelerate itself will set up the processes.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    audio_tokenizer = named_audio_tokenizer(arguments.audio_tokenizer).to(state.device)
    expected = feature_extractor.spectrogram_geometry | {"num_frames": feature_extractor.num_frames}
    found = {name: getattr(audio_tokenizer.config, name) for name in expected}
    if found != expected:
        raise ValueError(f"`audio_tokenizer` is made for features with {found}; the data set has {expected}.")
    folder = Path(arguments.output_dir) / "reconstructions"
    # The first process makes them, the others read its files.
    with state.local_main_process_first():
        return {
            split: add_reconstructions(rows, audio_tokenizer, feature_extractor, folder)
            for split, rows in splits.items()
        }


@training_program
def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the vocoder training."""
    configure_logging()
    arguments = parse_arguments(VocoderArguments, argv)
    set_seed(arguments.seed)
    feature_extractor = MelFeatureExtractor.from_pretrained(arguments.dataset_path)
    model = build_vocoder(arguments, feature_extractor)
    discriminator = build_discriminator(arguments)
    splits = load_waveform_dataset(arguments.dataset_path, arguments.streaming)
    splits = with_reconstructions(splits, arguments, feature_extractor)
    train, validation = splits["train"], splits.get("validation")
    baseline = {} if validation is None else griffin_lim_baseline(validation, feature_extractor)
    modules = {"model": model, "discriminator": discriminator}

    loop = TrainingLoop(
        arguments,
        modules=modules,
        optimizers={
            name: build_adamw(module, arguments.learning_rate_of(name), arguments.weight_decay, BETAS)
            for name, module in modules.items()
        },
        training_step=partial(training_step, feature_extractor=feature_extractor),
        train_dataset=train,
        evaluation_step=partial(evaluation_step, feature_extractor=feature_extractor),
        validation_dataset=validation,
        log_media=partial(log_resynthesis, clips=validation, feature_extractor=feature_extractor),
    )
    loop.announce(f"{model.num_parameters():,} parameters, {len(train)} training clips")
    for name, value in baseline.items():
        if name.endswith("stft_distance"):
            loop.announce(f"to beat: {name.removeprefix('griffin_lim_')} {value:.4f}, that of Griffin-Lim")
    loop.run()
    if loop.accelerator.is_main_process:
        feature_extractor.save_pretrained(arguments.output_dir, save_code=False)
    loop.write_summary(**baseline)


if __name__ == "__main__":
    main()

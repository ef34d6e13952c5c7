"""Trains the VQ audio tokenizer: `accelerate launch -m melspec_gpt.training.train_audio_tokenizer recipe.json ...`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from accelerate.utils import set_seed
from datasets import Dataset

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_patch_discriminator import MIN_SIZE, PatchDiscriminator
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.adversarial_step import DISCRIMINATOR
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import number_rows
from melspec_gpt.training.codebook_ema import CodebookEMA
from melspec_gpt.training.final_upload import published_at_end
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.media_logging import log_reconstructions
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.perceptual_loss import PerceptualLoss
from melspec_gpt.training.shared_batch_norm import SharedBatchNorm2d
from melspec_gpt.training.tokenizer_step import evaluation_step, summarize_evaluation, training_step
from melspec_gpt.training.tokenizer_weights import trained_tokenizer
from melspec_gpt.training.training_program import training_program

EMA, GRADIENT = "ema", "gradient"


@dataclass(kw_only=True)
class AudioTokenizerArguments(RunArguments):
    """Settings of the audio tokenizer training."""

    init_from: str | None = setting(
        None, help="An audio tokenizer of the same sizes (folder or Hub name) whose weights the training starts from."
    )
    freeze_encoder: bool = setting(
        False, help="Train the decoder alone: the codes stay those of init_from, and so do models that write them."
    )
    crop_frames: int = setting(208, help="Frames of the random crops it trains on; 0 takes whole clips.")
    texture_weight: float = setting(2.0, help="Weight of the texture loss against smoothing; 0 leaves it out.")
    perceptual_model: str | None = setting(
        None,
        help="A classifier of sounds (file that benchmarks/classifier.py --save wrote) for the perceptual loss. Null: "
        "no such loss.",
    )
    perceptual_weight: float = setting(1.0, help="Weight of the perceptual loss, with perceptual_model.")
    gain_range: float = setting(3.0, help="Each clip is made louder or quieter by up to so many dB.")
    codebook_learning: str = setting(
        EMA, help="How the codebook learns: ema (moving averages, dead vectors are revived), or gradient."
    )
    codebook_decay: float = setting(0.95, help="Decay of the codebook's moving averages, with codebook_learning ema.")
    adam_beta1: float = setting(0.9, help="Decay of the optimizers' mean gradients.")
    adam_beta2: float = setting(0.95, help="Decay of the optimizers' mean squared gradients.")
    discriminator_weight: float = setting(
        0.0, help="Weight of the adversarial loss, which a PatchGAN discriminator gives; 0 trains without one."
    )
    discriminator_start: int = setting(0, help="Step from which the discriminator takes part.")
    discriminator_channels: int = setting(64, help="Channels of the discriminator's first layer.")
    discriminator_learning_rate: float | None = setting(
        None, help="Highest learning rate of the discriminator; null: that of the tokenizer."
    )
    adaptive_weight: bool = setting(
        True, help="Scale the adversarial loss so that it pulls as strongly as the reconstruction does."
    )

    def validate(self):
        super().validate()
        self.check_range(0, "crop_frames", "texture_weight", "perceptual_weight", "gain_range", "discriminator_weight")
        self.check_range(0, "discriminator_start", "discriminator_learning_rate")
        self.check_range(0, "codebook_decay", "adam_beta1", "adam_beta2", maximum=1)
        self.check_range(1, "discriminator_channels")
        if self.codebook_learning not in (EMA, GRADIENT):
            raise ValueError(f"`codebook_learning` is {self.codebook_learning!r}; choose one of {[EMA, GRADIENT]}.")
        if self.freeze_encoder and self.init_from is None:
            raise ValueError(
                "`freeze_encoder` is True, but `init_from` is None; name the audio tokenizer whose encoder is kept."
            )
        if self.torch_compile and self.discriminator_weight and self.adaptive_weight:
            raise ValueError(
                "`torch_compile` is True, but a compiled model has no gradients of its last layer alone, which "
                "`adaptive_weight` needs; set one of the two to False."
            )

    def check_crop(self, config: MelVQConfig) -> None:
        """
        Raises:
            ValueError: if the crops do not fit the model, or are too small for the discriminator.
        """
        if self.crop_frames % config.downsampling_factor or self.crop_frames > config.num_frames:
            raise ValueError(
                f"`crop_frames` is {self.crop_frames}; it has to be a multiple of {config.downsampling_factor} and at "
                f"most {config.num_frames}, the frames of a clip."
            )
        smallest = min(self.crop_frames or config.num_frames, config.num_mel_bins)
        if self.discriminator_weight and smallest < MIN_SIZE:
            raise ValueError(
                f"`discriminator_weight` is {self.discriminator_weight}, but the discriminator needs {MIN_SIZE} bands "
                f"and frames, and `crop_frames` {self.crop_frames} of {config.num_mel_bins} bands has {smallest}."
            )


def mean_mel_error(
    train: Dataset, validation: Dataset, feature_extractor: MelFeatureExtractor, max_clips: int = 1000
) -> float:
    """
    L1 error on [-1, 1] of the trivial reconstruction, which is the mean mel spectrum of the training clips everywhere.
    Of a longer split `max_clips` clips at even distances are read.
    """

    def clips(rows: Dataset) -> Iterator[torch.Tensor]:
        for index in range(0, len(rows), -(-len(rows) // max_clips)):
            yield feature_extractor.normalize(rows[index]["mel"].float())

    mean_spectrum = torch.stack([clip.mean(-1, keepdim=True) for clip in clips(train)]).mean(0)
    return torch.stack([(clip - mean_spectrum).abs().mean() for clip in clips(validation)]).mean().item()


def build_config(arguments: AudioTokenizerArguments, feature_extractor: MelFeatureExtractor) -> MelVQConfig:
    """Sizes from the arguments; the geometry of the features from the dataset."""
    config = load_model_config(
        MelVQConfig,
        arguments.model_config,
        arguments.model_overrides,
        num_frames=feature_extractor.num_frames,
        vocoder=None,  # trained on its own, and attached with `set_vocoder`
        **feature_extractor.spectrogram_geometry,
    )
    arguments.check_crop(config)
    return config


def build_model(arguments: AudioTokenizerArguments, config: MelVQConfig) -> MelVQModel:
    """The tokenizer to train: a new one, or that of `init_from`."""
    model = MelVQModel(config) if arguments.init_from is None else trained_tokenizer(arguments.init_from, config)
    if arguments.freeze_encoder:
        for part in (model.encoder, model.pre_quantization, model.quantizer):
            part.requires_grad_(False)
    # Convolutions over few channels are faster with the channels last.
    return model.to(memory_format=torch.channels_last)


def build_discriminator(arguments: AudioTokenizerArguments) -> dict[str, PatchDiscriminator]:
    """The discriminator under its name in the loop; nothing without `discriminator_weight`."""
    if not arguments.discriminator_weight:
        return {}
    discriminator = PatchDiscriminator(arguments.discriminator_channels, norm_class=SharedBatchNorm2d)
    return {DISCRIMINATOR: discriminator.to(memory_format=torch.channels_last)}


def build_optimizers(
    arguments: AudioTokenizerArguments, modules: dict[str, torch.nn.Module]
) -> dict[str, torch.optim.Optimizer]:
    """AdamW for each module; weight decay would only shrink the discriminator, which is no part of the result."""
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    optimizers = {}
    for name, module in modules.items():
        learning_rate, weight_decay = arguments.learning_rate, arguments.weight_decay
        if name == DISCRIMINATOR:
            weight_decay = 0.0
            if arguments.discriminator_learning_rate is not None:
                learning_rate = arguments.discriminator_learning_rate
        optimizers[name] = build_adamw(module, learning_rate, weight_decay, betas)
    return optimizers


def build_codebook(arguments: AudioTokenizerArguments, model: MelVQModel) -> CodebookEMA | None:
    """What moves the codebook; `None` if its gradient does, or nothing."""
    if arguments.codebook_learning == GRADIENT or arguments.freeze_encoder:
        return None
    is_trained = arguments.init_from is not None
    return CodebookEMA(model.quantizer, decay=arguments.codebook_decay, is_trained=is_trained)


@training_program
def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the audio tokenizer training."""
    configure_logging()
    arguments = parse_arguments(AudioTokenizerArguments, argv)
    set_seed(arguments.seed)
    splits = load_built_dataset(arguments.dataset_path, ["mel"], arguments.streaming)
    train, validation = number_rows(splits["train"]), splits.get("validation")
    feature_extractor = MelFeatureExtractor.from_pretrained(arguments.dataset_path)
    config = build_config(arguments, feature_extractor)
    model = build_model(arguments, config)
    codebook = build_codebook(arguments, model)
    perceptual_loss = None
    if arguments.perceptual_model is not None:
        perceptual_loss = PerceptualLoss.from_file(arguments.perceptual_model)
    modules = {"model": model} | build_discriminator(arguments)
    baseline = mean_mel_error(train, validation, feature_extractor) if validation is not None else None

    loop = TrainingLoop(
        arguments,
        modules=modules,
        optimizers=build_optimizers(arguments, modules),
        training_step=partial(training_step, codebook=codebook, perceptual_loss=perceptual_loss),
        train_dataset=train,
        evaluation_step=partial(evaluation_step, feature_extractor=feature_extractor),
        validation_dataset=validation,
        summarize_evaluation=partial(summarize_evaluation, codebook_size=config.codebook_size),
        log_media=partial(log_reconstructions, clips=validation, feature_extractor=feature_extractor),
    )
    if codebook is not None:
        loop.register_for_checkpointing(codebook)
    loop.announce(f"{model.num_parameters():,} parameters, {len(train)} training clips of {config.num_codes} codes")
    if baseline is not None:
        loop.announce(f"to beat: reconstruction_loss {baseline:.4f}, the L1 error of the mean mel spectrum")
    with published_at_end(arguments, loop.accelerator.is_main_process):
        loop.run()
        if loop.accelerator.is_main_process:
            feature_extractor.save_pretrained(arguments.output_dir, save_code=False)
        loop.write_summary(mean_mel_error=baseline)


if __name__ == "__main__":
    main()

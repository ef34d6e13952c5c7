"""Trains the VQ audio tokenizer: `accelerate launch -m melspec_gpt.training.train_audio_tokenizer recipe.json ...`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from accelerate.utils import set_seed
from datasets import Dataset

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_vector_quantizer import code_perplexity
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.codebook_ema import CodebookEMA
from melspec_gpt.training.final_upload import published_at_end
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.media_logging import log_reconstructions
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.texture_loss import texture_loss


@dataclass(kw_only=True)
class AudioTokenizerArguments(RunArguments):
    """Settings of the audio tokenizer training."""

    crop_frames: int = setting(208, help="Frames of the random crops it trains on; 0 takes whole clips.")
    texture_weight: float = setting(2.0, help="Weight of the texture loss against smoothing; 0 leaves it out.")
    gain_range: float = setting(3.0, help="Each clip is made louder or quieter by up to so many dB.")
    codebook_decay: float = setting(0.95, help="Decay of the codebook's moving averages.")

    def validate(self):
        super().validate()
        self.check_range(0, "crop_frames", "texture_weight", "gain_range")
        self.check_range(0, "codebook_decay", maximum=1)

    def check_crop(self, config: MelVQConfig) -> None:
        """
        Raises:
            ValueError: if the crops do not fit the model.
        """
        if self.crop_frames % config.downsampling_factor or self.crop_frames > config.num_frames:
            raise ValueError(
                f"`crop_frames` is {self.crop_frames}; it has to be a multiple of {config.downsampling_factor} and at "
                f"most {config.num_frames}, the frames of a clip."
            )


def random_crops(mel: torch.Tensor, frames: int, gain_range: float) -> torch.Tensor:
    """
    Training features: a random stretch of each clip, at a random level.

    Args:
        mel (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, num_mel_frames)`): in [0, 1].
        frames (`int`): length of the crops.
        gain_range (`float`): largest change of the level, dB (100 dB are the whole range of the mel).

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`, in [-1, 1].
    """
    starts = torch.randint(mel.shape[-1] - frames + 1, (len(mel),))
    crops = torch.stack([clip[:, start : start + frames] for clip, start in zip(mel, starts.tolist(), strict=True)])
    gains = (2 * torch.rand(len(mel), 1, 1) - 1).to(mel.device) * gain_range / 100
    # What lies on the floor is silence or below what the scale can tell: it stays there.
    louder = torch.where(crops > 0, (crops + gains).clamp(0, 1), crops)
    return 2 * louder - 1


def training_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, codebook: CodebookEMA
) -> dict[str, torch.Tensor]:
    """One step on random crops; the codebook follows the latents."""
    arguments, config = loop.arguments, loop.unwrapped().config
    features = random_crops(batch["mel"].float(), arguments.crop_frames or config.num_frames, arguments.gain_range)
    outputs = loop.modules["model"](features)
    texture = texture_loss(outputs.reconstruction, features)
    loss = outputs.loss + arguments.texture_weight * texture
    if loop.optimize(loss):
        codebook.update(outputs.latents)
    return {
        "loss": loss,
        "reconstruction_loss": outputs.reconstruction_loss,
        "codebook_loss": outputs.codebook_loss,
        "texture_loss": texture,
        "perplexity": outputs.perplexity,
    }


def evaluation_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, feature_extractor: MelFeatureExtractor
) -> dict[str, torch.Tensor]:
    """Losses and codes of whole clips, one row per clip."""
    features = feature_extractor.normalize(batch["mel"].float())
    outputs = loop.modules["model"](features)
    pairs = zip(outputs.reconstruction.split(1), features.split(1), strict=True)
    texture = torch.stack([texture_loss(*pair) for pair in pairs])
    reconstruction_loss = (outputs.reconstruction - features).abs().mean((1, 2))
    return {
        "loss": reconstruction_loss + loop.arguments.texture_weight * texture,
        "reconstruction_loss": reconstruction_loss,
        "texture_loss": texture,
        "audio_codes": outputs.audio_codes.squeeze(1),
    }


def summarize_evaluation(values: dict[str, torch.Tensor], codebook_size: int) -> dict[str, float]:
    """Mean losses, and how much of the codebook the whole split uses."""
    codes = values.pop("audio_codes")
    metrics = {name: value.mean().item() for name, value in values.items()}
    return metrics | {
        "codes_used": float(len(codes.unique())),
        "perplexity": code_perplexity(codes, codebook_size).item(),
    }


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


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the audio tokenizer training."""
    configure_logging()
    arguments = parse_arguments(AudioTokenizerArguments, argv)
    set_seed(arguments.seed)
    splits = load_built_dataset(arguments.dataset_path, ["mel"])
    train, validation = splits["train"], splits.get("validation")
    feature_extractor = MelFeatureExtractor.from_pretrained(arguments.dataset_path)
    config = build_config(arguments, feature_extractor)
    # Convolutions over few channels are faster with the channels last.
    model = MelVQModel(config).to(memory_format=torch.channels_last)
    codebook = CodebookEMA(model.quantizer, decay=arguments.codebook_decay)
    baseline = mean_mel_error(train, validation, feature_extractor) if validation is not None else None

    loop = TrainingLoop(
        arguments,
        modules={"model": model},
        optimizers={"model": build_adamw(model, arguments.learning_rate, arguments.weight_decay)},
        training_step=partial(training_step, codebook=codebook),
        train_dataset=train,
        evaluation_step=partial(evaluation_step, feature_extractor=feature_extractor),
        validation_dataset=validation,
        summarize_evaluation=partial(summarize_evaluation, codebook_size=config.codebook_size),
        log_media=partial(log_reconstructions, clips=validation, feature_extractor=feature_extractor),
    )
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

"""Trains a GPT-VAE on codes: `accelerate launch -m melspec_gpt.training.train_gpt_vae recipe.json --stage vae ...`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from datasets import Dataset

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_gaussian_latent import gaussian_kl
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import ROW_COLUMN, CodeNoise, clip_generators, draw_noise, number_rows
from melspec_gpt.training.encoder_weights import copy_encoder
from melspec_gpt.training.final_upload import published_at_end
from melspec_gpt.training.kl_objective import FREE_BITS_MODES, free_bits_kl, kl_weight
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.token_splits import build_processor, unigram_baseline
from melspec_gpt.training.training_program import training_program
from melspec_gpt.training.vae_evaluation import VALIDATION, class_labels, clip_values, evaluate_vae, summarize_clips
from melspec_gpt.training.vae_media import log_vae_media

AUTOENCODER, VAE = STAGES = ("autoencoder", "vae")


@dataclass(kw_only=True)
class GPTVAEArguments(RunArguments):
    """Settings of the GPT-VAE training."""

    stage: str = setting(
        help="autoencoder (no KL term; the latent is still a draw) or vae. The second usually starts with the encoder "
        "of the first."
    )
    audio_tokenizer: str = setting(help="Folder (or Hub name) of the audio tokenizer that made the codes.")
    init_encoder_from: str | None = setting(
        None, help="Stage vae: output folder or checkpoint of a training whose encoder this one starts with."
    )
    keep_decoder: bool = setting(
        False,
        help="Start with the decoder of --init_encoder_from, too. A new one does not use the latent yet, and the KL "
        "term empties a latent that nobody uses: a short training should keep it, a long one need not.",
    )
    beta: float = setting(1.0, help="Stage vae: highest weight of the KL term.")
    kl_start: float = setting(1.0, help="Share of --beta that the KL weight starts from.")
    warm_up: float = setting(10.0, help="Epochs in which the KL weight rises from there to --beta.")
    free_bits: int = setting(
        0,
        help="Which KL costs nothing up to --target_kl: 0 none, 1 that of each clip, 2 that of each dimension of each "
        "clip, 3 the mean of the batch.",
    )
    target_kl: float = setting(0.0, help="Nats per clip that --free_bits leave free.")
    encoder_mask_probability: float = setting(
        0.0, help="Share of the clips that the encoder reads with a gap; imputation needs that."
    )
    code_noise: float = setting(
        0.0, help="Share of the codes that the decoder reads as random ones, so that it relies on the latent."
    )
    num_importance_samples: int = setting(
        50, help="Latents per clip in the importance-weighted likelihood of the final model; 0 leaves it out."
    )

    def validate(self):
        super().validate()
        self.check_range(0, "kl_start", "encoder_mask_probability", "code_noise", maximum=1)
        self.check_range(0, "beta", "warm_up", "target_kl", "num_importance_samples")
        if self.stage not in STAGES:
            raise ValueError(f"`stage` is {self.stage!r}; choose one of {list(STAGES)}.")
        if self.stage == VAE and self.beta == 0:
            raise ValueError("`beta` is 0, which trains an autoencoder: give `stage` autoencoder.")
        if self.stage == AUTOENCODER and self.init_encoder_from is not None:
            raise ValueError(
                "`init_encoder_from` is for `stage` vae; an autoencoder is continued with `resume_from_checkpoint`."
            )
        if self.free_bits not in FREE_BITS_MODES:
            raise ValueError(f"`free_bits` is {self.free_bits}; choose one of {list(FREE_BITS_MODES)}.")
        if self.free_bits and not self.target_kl:
            raise ValueError(f"`free_bits` is {self.free_bits}, but `target_kl` is 0, which leaves nothing free.")

    @property
    def highest_kl_weight(self) -> float:
        """`beta`, or 0 for an autoencoder."""
        return self.beta if self.stage == VAE else 0.0


def build_config(arguments: GPTVAEArguments, processor: MelGPTProcessor) -> MelGPTVAEConfig:
    """Sizes from the arguments; codes, sampling rate and (with `class_conditioning`) classes from the processor."""
    tokenizer_config = processor.audio_tokenizer.config
    shared = {name: getattr(tokenizer_config, name) for name in ("codebook_size", "num_codes", "sampling_rate")}
    load = partial(load_model_config, MelGPTVAEConfig, arguments.model_config, arguments.model_overrides)
    config = load(encoder=shared, decoder=shared)
    if not config.class_conditioning:
        return config
    return load(encoder=shared, decoder=shared | {"id2label": dict(enumerate(processor.tokenizer.class_names))})


def current_kl_weight(loop: TrainingLoop) -> float:
    """Weight of the KL term in this step. An epoch is as long as its clips, whatever the number of processes."""
    arguments = loop.arguments
    clips_per_step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return kl_weight(
        loop.state.step,
        beta=arguments.highest_kl_weight,
        kl_start=arguments.kl_start,
        warm_up=arguments.warm_up,
        steps_per_epoch=len(loop.train_loader.dataset) / (clips_per_step * loop.accelerator.num_processes),
    )


def training_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, code_noise: CodeNoise
) -> dict[str, torch.Tensor | float]:
    """One step; gaps, noise and latents of a clip depend on seed, epoch and clip, the targets are the true codes."""
    arguments, config, codes = loop.arguments, loop.unwrapped().config, batch["codes"]
    generators = clip_generators(batch[ROW_COLUMN].tolist(), arguments.seed, loop.state.epoch)
    noise = draw_noise(generators, config.latent_size).to(codes.device)
    encoder_codes, decoder_codes = code_noise.apply(codes, generators)
    outputs = loop.modules["model"](
        input_ids=decoder_codes,
        encoder_input_ids=encoder_codes,
        class_labels=class_labels(config, batch),
        noise=noise,
    )
    # Not the model's own loss: the decoder may have read noise, and the targets are the true codes.
    code_losses = F.cross_entropy(outputs.logits.float().transpose(1, 2), codes, reduction="none")  # (B, num_codes)
    reconstruction_loss = code_losses.sum(1).mean()
    kl = gaussian_kl(outputs.mean, outputs.log_variance)
    mean_kl = loop.accelerator.reduce(kl.detach().sum(1).mean(), reduction="mean")
    counted_kl = free_bits_kl(kl, arguments.free_bits, arguments.target_kl, mean_kl).mean()
    weight = current_kl_weight(loop)
    loss = reconstruction_loss + weight * counted_kl
    loop.optimize(loss)
    return {
        "loss": loss,
        "reconstruction_loss": reconstruction_loss,
        "kl_loss": kl.sum(1).mean(),
        "counted_kl_loss": counted_kl,
        "kl_weight": weight,
    }


def evaluation_step(loop: TrainingLoop, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Values of each clip. The loss is the reconstruction of an autoencoder, and the negative ELBO of a VAE, whatever the
    KL weight is at this time.
    """
    arguments, config = loop.arguments, loop.unwrapped().config
    generators = clip_generators(batch[ROW_COLUMN].tolist(), arguments.seed, VALIDATION)
    values = clip_values(config, loop.modules["model"], batch, generators)
    negative_elbo = values["reconstruction_loss"] + values["kl_loss"]
    return {"loss": values["reconstruction_loss"] if arguments.stage == AUTOENCODER else negative_elbo} | values


def final_evaluation(loop: TrainingLoop, rows: Dataset) -> dict[str, float]:
    """What run_evaluation measures, of the final model."""
    arguments = loop.arguments
    return evaluate_vae(
        MelGPTVAEModel.from_pretrained(arguments.output_dir).eval().to(loop.accelerator.device),
        rows,
        num_importance_samples=arguments.num_importance_samples,
        batch_size=arguments.per_device_eval_batch_size,
        seed=arguments.seed,
    )


@training_program
def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the GPT-VAE training."""
    configure_logging()
    arguments = parse_arguments(GPTVAEArguments, argv)
    set_seed(arguments.seed)
    splits = load_built_dataset(arguments.dataset_path, ["codes", "label"], arguments.streaming)
    processor = build_processor(
        arguments.audio_tokenizer, splits, class_token=False, dataset_path=arguments.dataset_path
    )
    config = build_config(arguments, processor)
    baseline = unigram_baseline(splits, config.codebook_size)
    train = number_rows(splits["train"])
    validation = number_rows(splits["validation"]) if "validation" in splits else None

    model = MelGPTVAEModel(config)
    if arguments.init_encoder_from is not None:
        copy_encoder(model, arguments.init_encoder_from, arguments.keep_decoder)
    code_noise = CodeNoise(
        codebook_size=config.codebook_size,
        grid_shape=processor.audio_tokenizer.config.grid_shape,
        mask_probability=arguments.encoder_mask_probability,
        code_noise=arguments.code_noise,
    )
    loop = TrainingLoop(
        arguments,
        modules={"model": model},
        optimizers={"model": build_adamw(model, arguments.learning_rate, arguments.weight_decay)},
        training_step=partial(training_step, code_noise=code_noise),
        train_dataset=train,
        evaluation_step=evaluation_step,
        validation_dataset=validation,
        summarize_evaluation=partial(summarize_clips, num_codes=config.num_codes),
        log_media=partial(log_vae_media, clips=validation, processor=processor),
    )
    loop.announce(f"{model.num_parameters():,} parameters, {len(train)} training sentences")
    if baseline is not None:
        loop.announce(f"to beat: {baseline:.4f} nats per code, the validation loss of the codes' frequencies alone")
    with published_at_end(arguments, loop.accelerator.is_main_process):
        loop.run()
        evaluation = None
        if loop.accelerator.is_main_process:
            processor.save_pretrained(arguments.output_dir, save_code=False)
            if validation is not None:
                evaluation = final_evaluation(loop, validation)
        loop.write_summary(evaluation=evaluation, unigram_nats_per_code=baseline)


if __name__ == "__main__":
    main()

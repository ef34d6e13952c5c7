"""Trains a GPT on the codes of sounds: `accelerate launch -m melspec_gpt.training.train_gpt recipe.json ...`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from accelerate.utils import set_seed

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import ROW_COLUMN, clip_generators, number_rows, with_random_codes
from melspec_gpt.training.final_upload import published_at_end
from melspec_gpt.training.gpt_media import log_gpt_media
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.token_splits import build_processor, unigram_baseline
from melspec_gpt.training.training_program import training_program


@dataclass(kw_only=True)
class GPTArguments(RunArguments):
    """Settings of the GPT training."""

    audio_tokenizer: str = setting(help="Folder (or Hub name) of the audio tokenizer that made the codes.")
    class_dropout: float = setting(
        0.1, help="Share of the clips whose class is hidden from the model; guidance needs that."
    )
    code_noise: float = setting(
        0.0, help="Share of the codes that the model reads as random ones, against over-fitting on few clips."
    )

    def validate(self):
        super().validate()
        self.check_range(0, "class_dropout", "code_noise", maximum=1)


def build_config(arguments: GPTArguments, processor: MelGPTProcessor) -> MelGPTConfig:
    """Sizes from the arguments; codes, classes and sampling rate from the processor."""
    tokenizer_config = processor.audio_tokenizer.config
    return load_model_config(
        MelGPTConfig,
        arguments.model_config,
        arguments.model_overrides,
        codebook_size=tokenizer_config.codebook_size,
        num_codes=tokenizer_config.num_codes,
        sampling_rate=tokenizer_config.sampling_rate,
        id2label=dict(enumerate(processor.tokenizer.class_names)),
    )


def noisy_sentences(
    codes: torch.LongTensor,
    labels: torch.LongTensor,
    config: MelGPTConfig,
    class_dropout: float,
    code_noise: float,
    generators: Sequence[torch.Generator],
) -> torch.LongTensor:
    """
    What the model reads in training: a class token and codes.

    Args:
        codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): sentences.
        labels (`torch.LongTensor` of shape `(batch_size,)`): numbers of the classes.
        config ([`MelGPTConfig`]): vocabulary.
        class_dropout (`float`): probability of the null class instead of the class.
        code_noise (`float`): probability of a random code instead of a code.
        generators (`Sequence[torch.Generator]`): a source of random numbers for each clip.

    Returns:
        `torch.LongTensor` of shape `(batch_size, 1 + num_codes)`.
    """
    draws = torch.stack([torch.rand((), generator=generator) for generator in generators]).to(codes.device)
    class_tokens = torch.where(draws < class_dropout, config.bos_token_id, config.codebook_size + labels)
    codes = with_random_codes(codes, code_noise, config.codebook_size, generators)
    return sentences(class_tokens, codes)


def sentences(class_tokens: torch.LongTensor, codes: torch.LongTensor) -> torch.LongTensor:
    """Class tokens `(batch_size,)` in front of codes `(batch_size, num_codes)`."""
    return torch.cat([class_tokens.unsqueeze(1), codes], dim=1)


def training_step(loop: TrainingLoop, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    One step on sentences with hidden classes and noise, which depend on seed, epoch and clip; the targets are the true
    codes.
    """
    arguments, config = loop.arguments, loop.unwrapped().config
    generators = clip_generators(batch[ROW_COLUMN].tolist(), arguments.seed, loop.state.epoch)
    input_ids = noisy_sentences(
        batch["codes"], batch["label"], config, arguments.class_dropout, arguments.code_noise, generators
    )
    labels = sentences(input_ids[:, 0], batch["codes"])
    loss = loop.modules["model"](input_ids=input_ids, labels=labels, use_cache=False).loss
    loop.optimize(loss)
    return {"loss": loss}


def evaluation_step(loop: TrainingLoop, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Nats per code of each clip, given its class."""
    config = loop.unwrapped().config
    input_ids = sentences(config.codebook_size + batch["label"], batch["codes"])
    logits = loop.modules["model"](input_ids=input_ids, use_cache=False).logits[:, :-1]
    losses = F.cross_entropy(logits.float().transpose(1, 2), batch["codes"], reduction="none")  # (B, num_codes)
    return {"loss": losses.mean(1)}


@training_program
def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the GPT training."""
    configure_logging()
    arguments = parse_arguments(GPTArguments, argv)
    set_seed(arguments.seed)
    splits = load_built_dataset(arguments.dataset_path, ["codes", "label"], arguments.streaming)
    processor = build_processor(arguments.audio_tokenizer, splits, dataset_path=arguments.dataset_path)
    config = build_config(arguments, processor)
    baseline = unigram_baseline(splits, config.codebook_size)

    model = MelGPTForCausalLM(config)
    train, validation = number_rows(splits["train"]), splits.get("validation")
    loop = TrainingLoop(
        arguments,
        modules={"model": model},
        optimizers={"model": build_adamw(model, arguments.learning_rate, arguments.weight_decay)},
        training_step=training_step,
        train_dataset=train,
        evaluation_step=evaluation_step,
        validation_dataset=validation,
        log_media=partial(log_gpt_media, clips=validation, processor=processor),
    )
    loop.announce(f"{model.num_parameters():,} parameters, {len(train)} training sentences")
    if baseline is not None:
        loop.announce(f"to beat: {baseline:.4f} nats per code, the validation loss of the codes' frequencies alone")
    with published_at_end(arguments, loop.accelerator.is_main_process):
        loop.run()
        if loop.accelerator.is_main_process:
            processor.save_pretrained(arguments.output_dir, save_code=False)
        loop.write_summary(validation_nats_per_code=loop.final_validation.get("loss"), unigram_nats_per_code=baseline)


if __name__ == "__main__":
    main()

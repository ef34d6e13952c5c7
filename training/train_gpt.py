"""Trains a GPT on the codes of sounds: `accelerate launch -m melspec_gpt.training.train_gpt recipe.json ...`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate.utils import set_seed

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.arguments import RunArguments, parse_arguments, setting
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.final_upload import published_at_end
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.loop_setup import configure_logging
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.optimization import build_adamw
from melspec_gpt.training.token_splits import build_processor, unigram_baseline


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
    gradient_checkpointing: bool = setting(False, help="Compute activations twice instead of keeping them.")

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
    codes: torch.LongTensor, labels: torch.LongTensor, config: MelGPTConfig, class_dropout: float, code_noise: float
) -> torch.LongTensor:
    """
    What the model reads in training: a class token and codes.

    Args:
        codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): sentences.
        labels (`torch.LongTensor` of shape `(batch_size,)`): numbers of the classes.
        config ([`MelGPTConfig`]): vocabulary.
        class_dropout (`float`): probability of the null class instead of the class.
        code_noise (`float`): probability of a random code instead of a code.

    Returns:
        `torch.LongTensor` of shape `(batch_size, 1 + num_codes)`.
    """
    class_tokens = config.codebook_size + labels
    hidden = torch.rand(labels.shape, device=labels.device) < class_dropout
    class_tokens = class_tokens.masked_fill(hidden, config.bos_token_id)
    replaced = torch.rand(codes.shape, device=codes.device) < code_noise
    codes = torch.where(replaced, torch.randint_like(codes, config.codebook_size), codes)
    return torch.cat([class_tokens.unsqueeze(1), codes], dim=1)


def training_step(loop: TrainingLoop, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One step on sentences with hidden classes and noise; the targets are the true codes."""
    arguments, config = loop.arguments, loop.unwrapped().config
    input_ids = noisy_sentences(batch["codes"], batch["label"], config, arguments.class_dropout, arguments.code_noise)
    labels = torch.cat([input_ids[:, :1], batch["codes"]], dim=1)
    loss = loop.modules["model"](input_ids=input_ids, labels=labels, use_cache=False).loss
    loop.optimize(loss)
    return {"loss": loss}


def evaluation_step(loop: TrainingLoop, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Nats per code of each clip, given its class."""
    config = loop.unwrapped().config
    input_ids = noisy_sentences(batch["codes"], batch["label"], config, class_dropout=0, code_noise=0)
    logits = loop.modules["model"](input_ids=input_ids, use_cache=False).logits[:, :-1]
    losses = F.cross_entropy(logits.float().transpose(1, 2), batch["codes"], reduction="none")  # (B, num_codes)
    return {"loss": losses.mean(1)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the GPT training."""
    configure_logging()
    arguments = parse_arguments(GPTArguments, argv)
    set_seed(arguments.seed)
    splits = load_built_dataset(arguments.dataset_path, ["codes", "label"])
    processor = build_processor(arguments.audio_tokenizer, splits)
    config = build_config(arguments, processor)
    baseline = unigram_baseline(splits, config.codebook_size)

    model = MelGPTForCausalLM(config)
    if arguments.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    loop = TrainingLoop(
        arguments,
        modules={"model": model},
        optimizers={"model": build_adamw(model, arguments.learning_rate, arguments.weight_decay)},
        training_step=training_step,
        train_dataset=splits["train"],
        evaluation_step=evaluation_step,
        validation_dataset=splits.get("validation"),
    )
    loop.announce(f"{model.num_parameters():,} parameters, {len(splits['train'])} training sentences")
    if baseline is not None:
        loop.announce(f"to beat: {baseline:.4f} nats per code, the validation loss of the codes' frequencies alone")
    with published_at_end(arguments, loop.accelerator.is_main_process):
        loop.run()
        if loop.accelerator.is_main_process:
            processor.save_pretrained(arguments.output_dir, save_code=False)
        loop.write_summary(validation_nats_per_code=loop.final_validation.get("loss"), unigram_nats_per_code=baseline)


if __name__ == "__main__":
    main()

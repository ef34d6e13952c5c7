"""How well does a checkpoint predict the codes of real clips? Prints a table and writes evaluation.json."""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.built_dataset import class_names, load_built_dataset
from melspec_gpt.training.clip_randomness import number_rows
from melspec_gpt.training.latent_metrics import perplexity
from melspec_gpt.training.run_sampling import DEFAULT_MODEL, configure_output
from melspec_gpt.training.sound_checkpoints import check_shipped
from melspec_gpt.training.token_splits import check_codebook, check_labels, count_codes
from melspec_gpt.training.vae_evaluation import evaluate_vae

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """
    What is measured, and how.

    Args:
        split (`str`): split of the dataset.
        num_importance_samples (`int`): latents per clip in the importance-weighted likelihood of a GPT-VAE; 0 leaves
            it out.
        batch_size (`int`): clips at a time; results depend on it only by rounding.
        seed (`int`): seed of all draws.

    Raises:
        ValueError: if a value is impossible.
    """

    split: str = "validation"
    num_importance_samples: int = 50
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self):
        for name, minimum in (("num_importance_samples", 0), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < minimum:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it has to be {minimum} or more.")


def evaluate_checkpoint(model: str, dataset_path: str, settings: EvaluationSettings | None = None) -> dict:
    """
    Metrics of a GPT or GPT-VAE checkpoint on a token dataset, on the GPU where there is one.

    Args:
        model (`str`): folder (or Hub name) of the checkpoint.
        dataset_path (`str`): folder of the token dataset.
        settings ([`EvaluationSettings`], *optional*): what to measure.

    Returns:
        `dict`: what was measured (`model`, `dataset_path`, `split`, `clips`, ...), and `metrics`.

    Raises:
        ValueError: if there is no such checkpoint or split, or if the two do not fit.
    """
    settings = settings or EvaluationSettings()
    config, model_class, measure = _kind_of(model)
    rows = load_clips(dataset_path, settings.split, config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = model_class.from_pretrained(model).eval().to(device)
    return {
        "model": model,
        "model_type": config.model_type,
        "parameters": network.num_parameters(),
        "dataset_path": dataset_path,
        "clips": len(rows),
        "codes_per_clip": config.num_codes,
        **vars(settings),
        "metrics": measure(network, rows, settings),
    }


def load_clips(dataset_path: str, split: str, config: PreTrainedConfig) -> Dataset:
    """
    A split with `codes`, `label` (as the model numbers its classes) and `row` as tensors.

    Raises:
        ValueError: if there is no such split, or if its codes or classes are not those of the model.
    """
    splits = load_built_dataset(dataset_path, ["codes", "label"])
    if split not in splits:
        raise ValueError(f"`split` is {split!r}, but the dataset {dataset_path!r} has {list(splits)}.")
    rows = splits[split]
    length = rows.features["codes"].length
    if length != config.num_codes:
        raise ValueError(
            f"`dataset_path` {dataset_path!r} holds sentences of {length} codes, but the model writes "
            f"{config.num_codes}; evaluate it on clips encoded by its own audio tokenizer."
        )
    check_codebook(dataset_path, config.codebook_size)
    count_codes(rows, config.codebook_size)
    if config.num_labels:
        names = class_names(splits)
        check_labels(rows, split, num_classes=len(names))
        unknown = [name for name in names if name not in config.label2id]
        if unknown:
            raise ValueError(f"The model does not know the classes {unknown}; it has {list(config.label2id)}.")
        numbers = [config.label2id[name] for name in names]
        labels = [numbers[label] for label in rows["label"][:].tolist()]
        rows = (
            rows.remove_columns("label").add_column("label", labels).with_format("torch", columns=["codes", "label"])
        )
    return number_rows(rows)


@torch.no_grad()
def measure_gpt(model: MelGPTForCausalLM, rows: Dataset, settings: EvaluationSettings) -> dict[str, float]:
    """Nats per code and perplexity, given the class of each clip (if the model has classes) and without it."""
    config = model.config
    nats = {"": 0.0, "_without_class": 0.0} if config.num_labels else {"_without_class": 0.0}
    num_batches = -(-len(rows) // settings.batch_size)
    for batch in tqdm(rows.iter(settings.batch_size), total=num_batches, desc="Evaluating", unit="batch"):
        null_class = torch.full_like(batch["label"], config.bos_token_id)
        for ending in nats:
            class_tokens = null_class if ending else config.codebook_size + batch["label"]
            ids = torch.cat([class_tokens.unsqueeze(1), batch["codes"]], dim=1).to(model.device)
            nats[ending] += model(input_ids=ids, labels=ids).loss.item() * batch["codes"].numel()
    num_codes = len(rows) * config.num_codes
    metrics = {}
    for ending, total in nats.items():
        metrics[f"nats_per_code{ending}"] = total / num_codes
        metrics[f"perplexity{ending}"] = perplexity(total, num_codes)
    return metrics


def measure_vae(model: MelGPTVAEModel, rows: Dataset, settings: EvaluationSettings) -> dict[str, float]:
    """See [`evaluate_vae`]."""
    return evaluate_vae(
        model,
        rows,
        num_importance_samples=settings.num_importance_samples,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


KINDS = {
    MelGPTConfig.model_type: (MelGPTForCausalLM, measure_gpt),
    MelGPTVAEConfig.model_type: (MelGPTVAEModel, measure_vae),
}


def _kind_of(model: str) -> tuple[PreTrainedConfig, type[PreTrainedModel], Callable]:
    """Configuration, class and measure of a checkpoint."""
    check_shipped(model)
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ValueError(f"`model` {model!r} is neither a checkpoint folder nor on the Hub: {error}") from error
    if config.model_type not in KINDS:
        raise ValueError(
            f"`model` {model!r} holds a model of type {config.model_type!r}; expected one of {list(KINDS)}, the "
            "outputs of train_gpt and train_gpt_vae."
        )
    return config, *KINDS[config.model_type]


def format_table(result: dict) -> str:
    """The metrics as lines of name and value."""
    metrics = result["metrics"]
    width = max(map(len, metrics))
    title = f"{result['model']} on {result['clips']} clips of {result['dataset_path']}, split {result['split']}"
    return "\n".join([title, *(f"{name:<{width}}  {value:10.4f}" for name, value in metrics.items())])


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`evaluate_checkpoint`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Measure a GPT or GPT-VAE on the codes of real clips. Losses are in nats per clip.",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="checkpoint, or Hub name (default: %(default)s)")
    parser.add_argument("--dataset_path", required=True, help="token dataset, as datasets_scripts.token_dataset makes")
    parser.add_argument("--split", default="validation", help="split of the dataset (default: %(default)s)")
    parser.add_argument(
        "--num_importance_samples",
        type=int,
        default=50,
        help="GPT-VAE: latents per clip in the importance-weighted likelihood, 0 for none (default: %(default)s)",
    )
    parser.add_argument("--batch_size", type=int, default=16, help="clips at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: %(default)s)")
    parser.add_argument("--output_file", default="evaluation.json", help="file to write (default: %(default)s)")
    options = vars(parser.parse_args(argv))
    model, dataset_path, output_file = (options.pop(name) for name in ("model", "dataset_path", "output_file"))
    configure_output()
    try:
        result = evaluate_checkpoint(model, dataset_path, EvaluationSettings(**options))
        path = Path(output_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logger.info("%s", format_table(result))
    logger.info("Written to %s.", path)


if __name__ == "__main__":
    main()

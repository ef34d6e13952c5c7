"""Which facts about a checkpoint go into its card? Read from its config, its training summaries and its evaluation."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.training.arguments import read_json_object

SUMMARY_NAME = "training_summary.json"
EVALUATION_NAME = "evaluation.json"
# Config fields that say nothing about the model.
BOOKKEEPING = ("architectures", "auto_map", "dtype", "id2label", "label2id", "model_type", "transformers_version")
# Arguments that do not change what is learned.
HOUSEKEEPING = (
    "checkpointing_steps",
    "checkpoints_total_limit",
    "dataloader_num_workers",
    "hub_model_id",
    "hub_private_repo",
    "logging_steps",
    "push_to_hub",
    "report_to",
    "resume_from_checkpoint",
)
# Metrics by kind of model, in the order of the table.
METRICS = {
    MelGPTConfig.model_type: {
        "nats_per_code": "nats per code, given the class",
        "nats_per_code_without_class": "nats per code, without the class",
        "perplexity": "perplexity of a code, given the class",
        "perplexity_without_class": "perplexity of a code, without the class",
    },
    MelGPTVAEConfig.model_type: {
        "elbo": "evidence lower bound, nats per clip",
        "importance_weighted_nll": "importance-weighted negative log-likelihood, nats per clip",
        "nats_per_code": "nats per code, by the lower bound",
        "perplexity": "perplexity of a code, by the lower bound",
        "reconstruction_loss": "reconstruction, nats per clip",
        "kl_loss": "KL of posterior and prior, nats per clip",
        "reconstruction_nats_per_code": "nats per code, reconstructed from its own latent",
        "random_latent_nats_per_code": "nats per code, from a random latent",
        "mutual_information": "mutual information of clip and latent, nats",
        "active_units": "active dimensions of the latent",
    },
    MelVQConfig.model_type: {
        "reconstruction_loss": "L1 error of the log-mel spectrogram, on the scale [-1, 1]",
        "codes_used": "codes in use",
        "perplexity": "perplexity of the codes",
    },
}
BASELINES = {
    "unigram_nats_per_code": "nats per code of the frequencies of the codes alone (baseline)",
    "mean_mel_error": "the same error of the mean mel spectrum of the training clips (baseline)",
}


@dataclass(frozen=True, kw_only=True)
class MeasuredResult:
    """
    A number in the card.

    Args:
        name (`str`): of the metric in the file it comes from.
        label (`str`): what it is, in words.
        value (`float`): the number.
        data (`str`): what it was measured on, in words.
        split (`str`, *optional*): split of the dataset.
        is_baseline (`bool`): whether it is not the model's.
    """

    name: str
    label: str
    value: float
    data: str
    split: str | None = None
    is_baseline: bool = False

    @property
    def text(self) -> str:
        """The number as it is printed."""
        return f"{self.value:.4g}"


@dataclass(frozen=True)
class TrainingRun:
    """A training in the card: a sentence about it, and its arguments as they are printed."""

    facts: str
    arguments: dict[str, str]


def measured_results(kind: str, checkpoint: Path, part: str = "") -> list[MeasuredResult]:
    """
    Numbers of `evaluation.json`, which run_evaluation writes, or else those of the last validation of the training;
    baselines come after them.

    Args:
        kind (`str`): model type.
        checkpoint (`Path`): folder with the files; any of them may be missing.
        part (`str`): what the labels begin with.
    """
    summary = read_facts(checkpoint / SUMMARY_NAME)
    evaluation = read_facts(checkpoint / EVALUATION_NAME, required=("metrics", "clips", "split"))
    if evaluation:
        metrics, split = evaluation["metrics"], evaluation["split"]
        data = f"{evaluation['clips']} clips, split {split}"
    else:
        metrics, split, data = _validation_metrics(kind, summary), "validation", "split validation"
    labels = METRICS[kind]
    names = [name for name in labels if name in metrics] + [name for name in metrics if name not in labels]
    results = [
        MeasuredResult(
            name=name, label=part + labels.get(name, _words(name)), value=metrics[name], data=data, split=split
        )
        for name in names
    ]
    return results + [
        MeasuredResult(name=name, label=part + label, value=summary[name], data="split validation", is_baseline=True)
        for name, label in BASELINES.items()
        if summary.get(name) is not None
    ]


def _validation_metrics(kind: str, summary: dict) -> dict[str, float]:
    """Known metrics in a training summary."""
    found = {**(summary.get("validation") or {}), **(summary.get("evaluation") or {})}
    if kind == MelGPTConfig.model_type and summary.get("validation_nats_per_code") is not None:
        found["nats_per_code"] = summary["validation_nats_per_code"]
    return {name: value for name, value in found.items() if name in METRICS[kind]}


def describe_training(checkpoint: Path) -> TrainingRun | None:
    """The training that `training_summary.json` records, or `None`. Places on the machine are left out."""
    needed = ("steps", "epochs", "seconds", "num_processes", "device", "mixed_precision", "arguments")
    summary = read_facts(checkpoint / SUMMARY_NAME, required=needed)
    if not summary:
        return None
    processes = summary["num_processes"]
    precision = "float32" if summary["mixed_precision"] == "no" else f"mixed precision {summary['mixed_precision']}"
    facts = (
        f"{summary['steps']} steps ({summary['epochs']:.1f} epochs) in {summary['seconds'] / 60:.0f} minutes on "
        f"{processes} process{'es' if processes > 1 else ''} ({summary['device']}), {precision}."
    )
    arguments = {
        name: json.dumps(value) if isinstance(value, (bool, dict, list)) else str(value)
        for name, value in summary["arguments"].items()
        if value is not None and name not in HOUSEKEEPING and not _is_place(name, value)
    }
    return TrainingRun(facts, arguments)


def trained_on(checkpoint: Path) -> str:
    """Name of the folder of the training data, as far as it is recorded: the Hub wants a name for the data."""
    path = read_facts(checkpoint / SUMMARY_NAME).get("arguments", {}).get("dataset_path")
    return Path(path).name if path else "unnamed"


def flat_configuration(config: PreTrainedConfig) -> dict[str, str]:
    """Fields of a config and, as `part.field`, of the configs in it, as they are printed."""
    fields = {}
    for name, value in config.to_dict().items():
        part = getattr(config, name, None)
        if name in BOOKKEEPING or value is None:
            continue
        if isinstance(part, PreTrainedConfig):
            fields |= {f"{name}.{field}": text for field, text in flat_configuration(part).items()}
        elif name in type(config).__dataclass_fields__ and name not in PreTrainedConfig.__dataclass_fields__:
            fields[name] = json.dumps(value) if isinstance(value, (bool, list, dict)) else str(value)
    return fields


def read_facts(path: Path, required: Sequence[str] = ()) -> dict:
    """
    The JSON object in a file, or an empty one if there is no file.

    Raises:
        ValueError: if the file is not JSON, or lacks one of the keys `required`.
    """
    if not path.is_file():
        return {}
    facts = read_json_object(path)
    missing = [name for name in required if name not in facts]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; repair it, or remove it and do without its facts.")
    return facts


def _is_place(name: str, value) -> bool:
    return name.endswith(("_dir", "_path")) or (isinstance(value, str) and (os.sep in value or "/" in value))


def _words(name: str) -> str:
    return name.replace("_", " ")

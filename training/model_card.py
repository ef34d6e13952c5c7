"""What does the card of a model say? Facts from the checkpoint's files, and what its author wrote."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from huggingface_hub import CardData, EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedModel

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import NULL_TOKEN
from melspec_gpt.training.card_facts import (
    MeasuredResult,
    describe_training,
    flat_configuration,
    measured_results,
    trained_on,
)
from melspec_gpt.training.card_samples import PICTURE_NAME, SAMPLES_FOLDER, SEED, CardSample
from melspec_gpt.training.card_sections import as_list, merge_cards, merge_front_matter

CARDS_FOLDER = Path(__file__).parent / "cards"
CARD_NAME = "README.md"
TASKS = {
    MelGPTConfig.model_type: "text-to-audio",
    MelGPTVAEConfig.model_type: "audio-to-audio",
    MelVQConfig.model_type: "feature-extraction",
}
TAGS = ["audio-generation", "melspec_gpt", "sound-effects", "vector-quantization"]
GRIFFIN_LIM_LIMIT = "Waveforms are made by the Griffin-Lim algorithm, which roughens tones and smears clicks."
VOCODER_LIMIT = (
    "Waveforms are made by a neural vocoder, which is at its best with sounds like those it was trained on."
)


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """
    What the files of a checkpoint cannot tell. What is given here wins over the checkpoint's own card.

    Args:
        repo_id (`str`): name of the repository, `user/name`.
        license (`str`, *optional*): identifier of the licence of the weights.
        dataset_name (`str`, *optional*): what the model was trained on.
    """

    repo_id: str
    license: str | None = None
    dataset_name: str | None = None


def build_model_card(
    model: PreTrainedModel,
    preprocessor: MelGPTProcessor | MelFeatureExtractor,
    folders: Sequence[Path],
    own_card: ModelCard | None,
    samples: list[CardSample],
    options: CardOptions,
) -> str:
    """
    The card as Markdown with front matter.

    Args:
        model ([`MelGPTForCausalLM`], [`MelGPTVAEModel`] or [`MelVQModel`]): the model.
        preprocessor ([`MelGPTProcessor`] or [`MelFeatureExtractor`]): what belongs to it.
        folders (`Sequence[Path]`): the checkpoint and, unless that is one itself, its audio tokenizer, each with
            `training_summary.json` and `evaluation.json`; any of them may be missing.
        own_card ([`~huggingface_hub.ModelCard`], *optional*): the card that its author wrote.
        samples (`list[CardSample]`): its sample clips.
        options ([`CardOptions`]): further facts.
    """
    given = own_card.data.to_dict() if own_card is not None else {}
    license_name = options.license or given.get("license")
    dataset_name = options.dataset_name or ", ".join(as_list(given.get("datasets"))) or None
    kind = model.config.model_type
    results = measured_results(kind, folders[0])
    part_results = [
        result
        for folder in folders[1:]
        for result in measured_results(MelVQConfig.model_type, folder, part="audio tokenizer: ")
    ]
    facts = _model_facts(model, preprocessor) | {
        "repo_id": options.repo_id,
        "samples": samples,
        "seed": SEED,
        "picture": f"{SAMPLES_FOLDER}/{PICTURE_NAME}",
        "trainings": _trainings(folders),
        "results": results + part_results,
        "license": license_name,
        "dataset_name": dataset_name,
    }
    name = options.repo_id.rpartition("/")[2]
    text = f"# {name}\n\n{render(kind, facts)}\n{render('common', facts)}"
    generated = _front_matter(kind, name, license_name, dataset_name or trained_on(folders[0]), results, samples)
    front_matter = merge_front_matter(generated, given)
    if license_name is not None:
        front_matter["license"] = license_name
    return join_card(front_matter, merge_cards(text, own_card.text if own_card is not None else None))


def join_card(front_matter: dict, text: str) -> str:
    """A card, as the Hub reads it."""
    return f"---\n{CardData(**front_matter).to_yaml()}\n---\n\n{text}"


def render(template: str, facts: dict) -> str:
    """The text of a template of the folder `cards`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(CARDS_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["python"] = lambda text: json.dumps(text, ensure_ascii=False)
    return environment.get_template(f"{template}.md").render(facts)


def _model_facts(model: PreTrainedModel, preprocessor: MelGPTProcessor | MelFeatureExtractor) -> dict:
    """What the templates say about the model itself."""
    is_processor = isinstance(preprocessor, MelGPTProcessor)
    audio_tokenizer = preprocessor.audio_tokenizer if is_processor else model
    feature_extractor = preprocessor.feature_extractor if is_processor else preprocessor
    seconds = feature_extractor.num_samples / feature_extractor.sampling_rate
    has_classes = is_processor and getattr(model.config, "class_conditioning", True)
    class_names = preprocessor.tokenizer.class_names if has_classes else []
    class_name = class_names[0] if class_names else NULL_TOKEN
    return {
        "config": model.config,
        "configuration": flat_configuration(model.config),
        "parameters": _count(model),
        "tokenizer_parameters": _count(audio_tokenizer),
        "clip_seconds": f"{seconds:g} seconds",
        "hidden_seconds": f"{0.4 * seconds:.2g}, {0.6 * seconds:.2g}",
        "class_names": class_names,
        "class_name": class_name,
        "class_name_in_shell": shlex.quote(class_name),
        "vocoder_limit": VOCODER_LIMIT if audio_tokenizer.vocoder is not None else GRIFFIN_LIM_LIMIT,
    }


def _count(model: PreTrainedModel) -> str:
    """Number of weights in words."""
    number = model.num_parameters()
    return f"{number / 1e6:.1f} million" if number >= 1e5 else str(number)


def _trainings(folders: Sequence[Path]) -> dict:
    """The recorded trainings of the model and of the audio tokenizer beside it."""
    titles = ("The model", "The audio tokenizer")
    runs = {title: describe_training(folder) for title, folder in zip(titles, folders, strict=False)}
    return {title: run for title, run in runs.items() if run is not None}


def _front_matter(
    kind: str,
    name: str,
    license_name: str | None,
    dataset_name: str,
    results: list[MeasuredResult],
    samples: list[CardSample],
) -> dict:
    """What the Hub reads."""
    evaluations = [
        EvalResult(
            task_type=TASKS[kind],
            dataset_type="audio",
            dataset_name=dataset_name,
            dataset_split=result.split,
            metric_type=result.name,
            metric_name=result.label,
            metric_value=result.value,
        )
        for result in results
        if not result.is_baseline
    ]
    data = ModelCardData(
        model_name=name,
        license=license_name,
        library_name="transformers",
        pipeline_tag=TASKS[kind],
        tags=TAGS,
        eval_results=evaluations or None,
    )
    if kind == MelGPTConfig.model_type:
        data.widget = [{"text": sample.caption, "output": {"url": sample.file}} for sample in samples]
    return data.to_dict()

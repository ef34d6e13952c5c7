"""Which model sizes can a training be asked for by name?"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from melspec_gpt.training.arguments import closest, find_json, read_json_object

PRESETS_FOLDER = Path(__file__).parent / "presets"
# What `save_pretrained` writes into every config.json beside the fields.
SAVED_WITH_EVERY_CONFIG = ("architectures", "dtype", "model_type", "transformers_version", "label2id")


def load_model_config(
    config_class: type[PreTrainedConfig], name_or_path: str, overrides: dict[str, Any] | None = None, **derived
) -> PreTrainedConfig:
    """
    The configuration of a model to be trained.

    Args:
        config_class: class of the configuration.
        name_or_path: path of a config.json, or NAME of a preset `presets/<model_type>-<NAME>.json`.
        overrides: fields that differ from it.
        derived: fields that follow from the data, such as `codebook_size`; they cannot be overridden.

    Raises:
        ValueError: if there is no such preset or file, if the file is of another model type, if a field does not
            exist, or if a value is impossible.
    """
    path = find_json(name_or_path, PRESETS_FOLDER, "model config", f"{config_class.model_type}-")
    fields = read_json_object(path)
    if fields.get("model_type", config_class.model_type) != config_class.model_type:
        raise ValueError(
            f"`model_config` {name_or_path!r} has model_type {fields['model_type']!r}; expected "
            f"{config_class.model_type!r}."
        )
    fields = {name: value for name, value in fields.items() if name not in SAVED_WITH_EVERY_CONFIG}
    overrides = overrides or {}
    fixed = sorted(overrides.keys() & derived.keys())
    if fixed:
        raise ValueError(f"`model_overrides` sets {fixed}, but these follow from the data set.")
    fields |= overrides
    known = list(config_class().to_dict())
    for name in fields:
        if name not in known:
            raise ValueError(f"{config_class.__name__} has no field {name!r}{closest(name, known)}")
    if "id2label" in derived:
        fields.pop("num_labels", None)
    return config_class(**(fields | derived))

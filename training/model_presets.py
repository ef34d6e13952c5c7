"""Which model sizes can a training be asked for by name?"""

from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
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
    fields = _without_saved_facts(fields, config_class)
    overrides = overrides or {}
    fixed = _common_names(overrides, derived, config_class)
    if fixed:
        raise ValueError(f"`model_overrides` sets {fixed}, but these follow from the data set.")
    fields = _merge(fields, overrides, config_class)
    _check_names(fields, config_class)
    if "id2label" in derived:
        fields.pop("num_labels", None)
    try:
        return config_class(**_merge(fields, derived, config_class))
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"`model_config` {name_or_path!r} with `model_overrides` {overrides}: {reason}") from error


def _without_saved_facts(fields: dict[str, Any], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """The fields that describe sizes, those of sub-configs included."""
    kept = {name: value for name, value in fields.items() if name not in SAVED_WITH_EVERY_CONFIG}
    for name, sub_class in config_class.sub_configs.items():
        if isinstance(kept.get(name), dict):
            kept[name] = _without_saved_facts(kept[name], sub_class)
    return kept


def _merge(fields: dict[str, Any], changes: dict[str, Any], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """`fields` with `changes`; sub-configs are merged in the same way."""
    merged = fields | changes
    for name, sub_class in _sub_configs_of_both(fields, changes, config_class):
        merged[name] = _merge(fields[name], changes[name], sub_class)
    return merged


def _common_names(fields: dict[str, Any], changes: dict[str, Any], config_class: type[PreTrainedConfig]) -> list[str]:
    """What both set, as `name` or `sub_config.name`."""
    names = fields.keys() & changes.keys()
    for name, sub_class in _sub_configs_of_both(fields, changes, config_class):
        inner = _common_names(fields[name], changes[name], sub_class)
        names = names - {name} | {f"{name}.{inner_name}" for inner_name in inner}
    return sorted(names)


def _sub_configs_of_both(
    fields: dict[str, Any], changes: dict[str, Any], config_class: type[PreTrainedConfig]
) -> list[tuple[str, type[PreTrainedConfig]]]:
    return [
        (name, sub_class)
        for name, sub_class in config_class.sub_configs.items()
        if isinstance(fields.get(name), dict) and isinstance(changes.get(name), dict)
    ]


def _check_names(fields: dict[str, Any], config_class: type[PreTrainedConfig]) -> None:
    known = list(config_class().to_dict())
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"{config_class.__name__} has no field {name!r}{closest(name, known)}")
        if isinstance(value, dict) and name in config_class.sub_configs:
            _check_names(value, config_class.sub_configs[name])

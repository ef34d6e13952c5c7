"""How can a saved folder be loaded where this package is not installed? Its code goes along, in one flat folder."""

import ast
import functools
import json
import re
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_TOKENIZATION_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING,
    MODEL_MAPPING,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

MODEL_MAPPINGS = {
    "AutoModel": MODEL_MAPPING,
    "AutoModelForAudioTokenization": MODEL_FOR_AUDIO_TOKENIZATION_MAPPING,
    "AutoModelForCausalLM": MODEL_FOR_CAUSAL_LM_MAPPING,
    "AutoModelForTextToWaveform": MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING,
}
HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "revision", "create_pr", "token")
# The loader of Transformers looks for imports of this form and for files beside each other.
RELATIVE_IMPORT = re.compile(r"from\s+\.[\w.]*?(\w+)(?=\s+import)")

# Whether something is being saved that saves its parts by their own methods.
_saves_whole = ContextVar("saves_whole", default=False)


class PortableCodeMixin:
    """
    Lets `save_pretrained` and `push_to_hub` add the code that a model or a processor needs, so that whoever has only
    PyTorch and Transformers can load the folder or repository with `trust_remote_code=True`. With this package
    installed, its own classes are used and the copied code is not looked at.
    """

    portable_subfolders = ()

    def save_pretrained(self, save_directory, *args, save_code: bool = True, push_to_hub: bool = False, **kwargs):
        """
        As the method of the library of this name, with one more argument.

        Args:
            save_directory (`str` or `Path`): the folder.
            save_code (`bool`): whether to add the code and the `auto_map` that names its classes.
            push_to_hub (`bool`): whether to upload as well, to `repo_id` or a repository called like the folder.
            args, kwargs: arguments of the library's methods, those of `push_to_hub` among them.
        """
        hub_arguments = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
        is_part = _saves_whole.get()
        token = _saves_whole.set(True)
        try:
            result = super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            _saves_whole.reset(token)
        # What was itself loaded as remote code is copied by the library, and a part's code comes with the whole's.
        if save_code and not is_part and kwargs.get("is_main_process", True) and self._auto_class is None:
            add_portable_code(save_directory, self.portable_subfolders)
        if push_to_hub:
            self.push_to_hub(hub_arguments.pop("repo_id", Path(save_directory).name), **hub_arguments)
        return result


def add_portable_code(folder: str | Path, subfolders: Sequence[str] = ()) -> None:
    """
    Makes a folder of saved models and processors loadable with `trust_remote_code=True`: adds `auto_map` to its JSON
    files, for the classes that are registered with the Auto classes, and writes the modules that these need.

    Args:
        folder (`str` or `Path`): what `save_pretrained` wrote.
        subfolders (`Sequence[str]`): folders in it that hold parts; their code lies in `folder`, too.
    """
    folder = Path(folder)
    classes = set()
    for path in [folder / subfolder / name for subfolder in ("", *subfolders) for name in AUTO_MAP_FILES]:
        if path.is_file():
            classes |= _add_auto_map(path)
    for name, source in flat_modules(frozenset(_source_file(cls) for cls in classes)).items():
        (folder / name).write_text(source, encoding="utf-8")


@functools.cache
def flat_modules(files: frozenset[Path]) -> dict[str, str]:
    """
    Source files and everything of this package that they import, rewritten to lie beside each other.

    Args:
        files (`frozenset[Path]`): source files.

    Returns:
        `dict[str, str]`: name of each module's file to its source.

    Raises:
        ValueError: if two modules have one name, or if an import does not name a module.
    """
    found, waiting = {}, sorted(files)
    while waiting:
        path = waiting.pop()
        if found.setdefault(path.name, path) != path:
            raise ValueError(f"{found[path.name]} and {path} cannot lie in one folder; rename one of them.")
        waiting += [other for other in _imported_files(path) if found.get(other.name) != other]
    return {name: _flatten(found[name]) for name in sorted(found)}


def _imported_files(path: Path) -> list[Path]:
    """Files of the modules that the file imports relatively."""
    imports = [node for node in ast.walk(_parse(path)) if isinstance(node, ast.ImportFrom) and node.level]
    files = [path.parents[node.level - 1].joinpath(*(node.module or "").split(".")) for node in imports]
    for node, file in zip(imports, files, strict=True):
        if not file.with_suffix(".py").is_file():
            raise ValueError(f"Line {node.lineno} of {path} imports from a package; it has to name the module.")
    return [file.with_suffix(".py") for file in files]


def _flatten(path: Path) -> str:
    """The source with `from ..folder.module import` as `from .module import`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            lines[node.lineno - 1] = RELATIVE_IMPORT.sub(r"from .\1", lines[node.lineno - 1])
    return "".join(lines)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _add_auto_map(path: Path) -> set[type]:
    """Adds `auto_map` to a JSON file, as far as classes of this package are in it, and returns these."""
    values = json.loads(path.read_text(encoding="utf-8"))
    classes = set()
    for part, entries in AUTO_MAP_FILES[path.name](values):
        entries = {name: cls for name, cls in entries.items() if cls is not None and _is_ours(cls)}
        if entries:
            part["auto_map"] = {name: _reference(name, cls) for name, cls in entries.items()}
            classes |= set(entries.values())
    if classes:
        # Sorted as the library does it, but only here: label 10 has to stay behind label 9.
        values = dict(sorted(values.items()))
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return classes


def _reference(auto_class: str, cls: type) -> str | list[str | None]:
    name = f"{_source_file(cls).stem}.{cls.__name__}"
    return [name, None] if auto_class == "AutoTokenizer" else name  # the second one would be a fast tokenizer


def _source_file(cls: type) -> Path:
    return Path(sys.modules[cls.__module__].__file__)


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _registered(mapping, name: str | None) -> type | None:
    """The class of that name that was registered with an Auto class from outside the library."""
    return next((cls for cls in mapping._extra_content.values() if cls.__name__ == name), None)


def _model_entries(values: dict) -> list[tuple[dict, dict]]:
    model_type = values.get("model_type")
    config_class = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None
    models = {name: mapping.get(config_class, None) for name, mapping in MODEL_MAPPINGS.items()}
    return [(values, {"AutoConfig": config_class, **models})]


def _feature_extractor_entries(values: dict) -> list[tuple[dict, dict]]:
    feature_extractor = _registered(FEATURE_EXTRACTOR_MAPPING, values.get("feature_extractor_type"))
    return [(values, {"AutoFeatureExtractor": feature_extractor})]


def _processor_entries(values: dict) -> list[tuple[dict, dict]]:
    entries = [(values, {"AutoProcessor": _registered(PROCESSOR_MAPPING, values.get("processor_class"))})]
    return entries + _feature_extractor_entries(values.get("feature_extractor", {}))


def _tokenizer_entries(values: dict) -> list[tuple[dict, dict]]:
    return [(values, {"AutoTokenizer": _registered(TOKENIZER_MAPPING, values.get("tokenizer_class"))})]


# Files that can name classes, and where in them.
AUTO_MAP_FILES = {
    "config.json": _model_entries,
    "preprocessor_config.json": _feature_extractor_entries,
    "processor_config.json": _processor_entries,
    "tokenizer_config.json": _tokenizer_entries,
}

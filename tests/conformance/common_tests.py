"""How are the common tests imported? As a package of their own, with stand-ins for what the distribution lacks."""

import importlib
import sys
from types import ModuleType

from library_source import common_tests

PACKAGE = "transformers_tests"

# What a config of any model has to accept, none of it at its default.
CONFIG_ARGUMENTS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 3,
    "architectures": ["AnyModel"],
    "id2label": {0: "dog", 1: "gun", 2: "rain"},
    "label2id": {"dog": 0, "gun": 1, "rain": 2},
    "problem_type": "multi_label_classification",
}

# The class of each role in the library's tables of models: the tests look there for models without a loss and for
# models that take labels.
BASE_MODELS = {"mel_gpt": "MelGPTModel"}
CAUSAL_LANGUAGE_MODELS = {"mel_gpt": "MelGPTForCausalLM"}


class ExportTesterMixin:
    """Stand-in without tests: exporting is checked in tests/test_library_conventions.py."""


class GenerationTesterMixin:
    """Stand-in without tests: generation is checked in tests/test_generation_*.py."""


def _module(name: str, **contents) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
    return module


def _make_package():
    _module(PACKAGE).__path__ = [str(common_tests())]
    for folder in ("exporters", "generation", "utils"):
        _module(f"{PACKAGE}.{folder}").__path__ = []
    _module(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=ExportTesterMixin)
    _module(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=GenerationTesterMixin)
    _module(f"{PACKAGE}.utils.test_configuration_utils", config_common_kwargs=CONFIG_ARGUMENTS)
    # It serves files of the library's own test servers; no test of ours asks for one.
    _module("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)


def library_module(name: str) -> ModuleType:
    """A module of the common tests, such as `test_modeling_common`."""
    if PACKAGE not in sys.modules:
        _make_package()
    return importlib.import_module(f"{PACKAGE}.{name}")


def modeling_tests() -> ModuleType:
    """`test_modeling_common`, told of our models."""
    module = library_module("test_modeling_common")
    module.MODEL_MAPPING_NAMES = module.MODEL_MAPPING_NAMES | BASE_MODELS
    module.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = module.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES | CAUSAL_LANGUAGE_MODELS
    return module

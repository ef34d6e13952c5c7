"""Is the name of a config's field misspelled? The library would keep it as an attribute that nothing reads."""

import dataclasses
import difflib
from contextvars import ContextVar

from transformers import GenerationConfig
from transformers.utils import logging

logger = logging.get_logger(__name__)

# What the library reads, writes or once wrote beside the fields; names with an underscore in front are its own, too.
LIBRARY_NAMES = {
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "eos_token_id",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "pad_token_id",
    "per_layer_config",
    "quantization_config",
    "sep_token_id",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
}

# How much of a name has to be right for the rest to be a slip of the pen.
SIMILAR = 0.8

_reads_saved_file = ContextVar("reads_saved_file", default=False)


class StrictFieldsMixin:
    """
    First base of a config class: an argument that is no field is an error that names the nearest field.

    A file that `save_pretrained` wrote may come from another version of this package, and is read all the same: what
    is unknown in it leads to a warning.
    """

    def __post_init__(self, **kwargs):
        for name in kwargs:
            if not self._is_known(name):
                self._report_unknown(name)
        super().__post_init__(**kwargs)

    def _is_known(self, name: str) -> bool:
        # A property that can be set (`vocab_size`) checks its value itself.
        is_settable = getattr(getattr(type(self), name, None), "fset", None) is not None
        return name.startswith("_") or name in LIBRARY_NAMES or name in self.attribute_map or is_settable

    def _report_unknown(self, name: str):
        if hasattr(GenerationConfig(), name):
            hint = "how to generate is set in the generation config, or in the call of `generate`."
        else:
            hint = nearest(name, _field_names(type(self)))
        message = f"{type(self).__name__} has no field {name!r}; {hint}"
        if not _reads_saved_file.get():
            raise ValueError(message)
        logger.warning(message)

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """
        Makes a config from a dictionary, which is a saved file if it says which version of the library wrote it.

        Raises:
            ValueError: if one of `kwargs`, among which may be arguments for others, looks like a misspelled field.
        """
        for name in kwargs if not kwargs.get("return_unused_kwargs") else ():
            matches = difflib.get_close_matches(name, _field_names(cls), n=1, cutoff=SIMILAR)
            if matches and name not in matches and name not in LIBRARY_NAMES:
                raise ValueError(f"{cls.__name__} has no field {name!r}; did you mean {matches[0]!r}?")
        token = _reads_saved_file.set("transformers_version" in config_dict)
        try:
            return super().from_dict(config_dict, **kwargs)
        finally:
            _reads_saved_file.reset(token)


def nearest(name: str, known: list[str]) -> str:
    """The end of a sentence about an unknown `name`: which of the `known` ones is meant, or what they are."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"known are {', '.join(known)}."


def _field_names(config_class: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)] + ["num_labels"]

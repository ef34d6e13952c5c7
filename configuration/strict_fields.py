"""Is the name of a field or an argument misspelled? The library would keep it as an attribute that nothing reads."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any

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
    First base of a config class: an argument that is no field is an error that names the nearest field, and so is a
    config of another type. Tuples are stored as the lists that a file would hold.
    """

    def __setattr__(self, name: str, value: Any):
        super().__setattr__(name, list(value) if isinstance(value, tuple) else value)

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
        report_unknown(f"{type(self).__name__} has no field {name!r}; {hint}", _reads_saved_file.get())

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """
        Makes a config from a dictionary, which is a saved file if it says which version of the library wrote it.

        Raises:
            ValueError: if it is a config of another type, or if one of `kwargs`, among which may be arguments for
                others, looks like a misspelled field.
        """
        given = config_dict.get("model_type", cls.model_type)
        if given != cls.model_type:
            raise ValueError(
                f"`model_type` is {given!r}, but {cls.__name__} is for {cls.model_type!r}. Load it with an Auto class "
                "(AutoModel, AutoConfig), or name the folder that is meant: the audio tokenizer beside a GPT is in "
                'its `subfolder="audio_tokenizer"`.'
            )
        if not kwargs.get("return_unused_kwargs"):
            others = [name for name in kwargs if name not in LIBRARY_NAMES]
            refuse_misspelled(f"{cls.__name__} has no field", others, _field_names(cls))
        token = _reads_saved_file.set("transformers_version" in config_dict)
        try:
            return super().from_dict(config_dict, **kwargs)
        finally:
            _reads_saved_file.reset(token)


def report_unknown(message: str, is_saved_file: bool) -> None:
    """
    Raises:
        ValueError: with `message` about a name that is not known, unless it is from a file that `save_pretrained`
            wrote. That may come from another version of this package, and is read all the same, with a warning.
    """
    if not is_saved_file:
        raise ValueError(message)
    logger.warning(message)


def refuse_misspelled(sentence: str, names: Iterable[str], known: Sequence[str]) -> None:
    """
    Args:
        sentence (`str`): what precedes the name in the message, such as "X has no field".
        names (`Iterable[str]`): names of arguments, among which may be some for others.
        known (`Sequence[str]`): our own names.

    Raises:
        ValueError: if one of `names` is nearly one of `known`.
    """
    for name in names:
        matches = difflib.get_close_matches(name, known, n=1, cutoff=SIMILAR)
        if matches and name not in matches:
            raise ValueError(f"{sentence} {name!r}; did you mean {matches[0]!r}?")


def nearest(name: str, known: list[str]) -> str:
    """The end of a sentence about an unknown `name`: which of the `known` ones is meant, or what they are."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"known are {', '.join(known)}."


def _field_names(config_class: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)] + ["num_labels"]

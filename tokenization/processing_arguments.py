"""Which arguments does a call of the processor take beside text and audio, and which of its parts reads them?"""

from typing import Any

from transformers.processing_utils import AudioKwargs, ProcessingKwargs

from ..configuration.strict_fields import nearest

# Of the library's arguments, those that mean something here.
TEXT_ARGUMENTS = ("padding", "max_length", "pad_to_multiple_of", "padding_side", "return_tensors")
AUDIO_ARGUMENTS = ("sampling_rate", "resample", "short_clips", "return_tensors")
PROCESSOR_ARGUMENTS = ("return_labels",)
NESTED_ARGUMENTS = {
    "text_kwargs": TEXT_ARGUMENTS,
    "audio_kwargs": AUDIO_ARGUMENTS,
    "common_kwargs": ("return_tensors",),
}


class MelAudioKwargs(AudioKwargs, total=False):
    """The library's arguments for audio and two more; [`MelFeatureExtractor`] says what they mean."""

    resample: bool | None
    short_clips: str | None


class MelGPTProcessorKwargs(ProcessingKwargs, total=False):
    """Arguments of [`MelGPTProcessor`], given by name or in dictionaries such as `audio_kwargs`."""

    audio_kwargs: MelAudioKwargs
    return_labels: bool | None
    _defaults = {"common_kwargs": {"return_tensors": "pt"}}


def check_argument_names(arguments: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: if the processor reads no argument of one of these names; the library would ignore it.
    """
    known = dict.fromkeys((*TEXT_ARGUMENTS, *AUDIO_ARGUMENTS, *PROCESSOR_ARGUMENTS, *NESTED_ARGUMENTS))
    _check_names("The processor", arguments, list(known))
    for name, names in NESTED_ARGUMENTS.items():
        _check_names(f"`{name}`", arguments.get(name) or {}, list(names))


def _check_names(owner: str, arguments: dict[str, Any], known: list[str]) -> None:
    for name in arguments:
        if name not in known:
            raise ValueError(f"{owner} has no argument {name!r}; {nearest(name, known)}")

"""Where does the audio tokenizer of a checkpoint lie, and how is it loaded?"""

import posixpath
from pathlib import Path

from transformers import AutoModel
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import CONFIG_NAME, cached_file, logging

from ..configuration.configuration_mel_vq import MelVQConfig
from ..modeling.modeling_mel_vq import MelVQModel

logger = logging.get_logger(__name__)

AUDIO_TOKENIZER_SUBFOLDER = "audio_tokenizer"
# Arguments of `from_pretrained` that say where files are, as opposed to how the GPT beside them is to be loaded.
LOCATION_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


def load_audio_tokenizer(checkpoint, codec_reference: str | None, **kwargs) -> PreTrainedAudioTokenizerBase | None:
    """
    The audio tokenizer of a checkpoint: its subfolder `audio_tokenizer` or, if there is a reference, what that names.

    Args:
        checkpoint (`str` or `Path`): folder or repository of the GPT.
        codec_reference (`str`, *optional*): a folder relative to `checkpoint` (begins with "."), or a repository on
            the Hub, possibly with a folder in it (`user/name` or `user/name/folder`).
        kwargs: arguments of `from_pretrained`; those that do not concern the audio tokenizer are ignored. Code that
            comes with a checkpoint is trusted for the checkpoint itself only, not for what it refers to.

    Returns:
        The model, or `None` (and a warning) if the checkpoint has none.

    Raises:
        ValueError: if the reference leads nowhere.
    """
    location = {name: kwargs[name] for name in LOCATION_ARGUMENTS if name in kwargs}
    if codec_reference is not None:
        source, location = _follow(Path(checkpoint, kwargs.get("subfolder", "")), codec_reference, location)
        return AutoModel.from_pretrained(source, device_map=kwargs.get("device_map"), **location)
    location["subfolder"] = posixpath.join(kwargs.get("subfolder", ""), AUDIO_TOKENIZER_SUBFOLDER)
    if cached_file(checkpoint, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **location) is None:
        logger.warning(f"{checkpoint} has no audio tokenizer: there will be no audio.")
        return None
    return AutoModel.from_pretrained(
        checkpoint,
        device_map=kwargs.get("device_map"),
        trust_remote_code=kwargs.get("trust_remote_code"),
        **location,
    )


def named_audio_tokenizer(source: str | Path, argument: str = "audio_tokenizer") -> MelVQModel:
    """
    The audio tokenizer that a user names.

    Args:
        source (`str` or `Path`): folder, or name on the Hub.
        argument (`str`): name of the option that it was given with, for the errors.

    Raises:
        ValueError: if there is none, or another model, such as a GPT.
    """
    named_tokenizer_config(source, argument)
    try:
        return MelVQModel.from_pretrained(source).eval()
    except OSError as error:
        raise ValueError(f"`{argument}` {str(source)!r} holds no audio tokenizer that is complete: {error}") from error


def named_tokenizer_config(source: str | Path, argument: str = "audio_tokenizer") -> MelVQConfig:
    """The configuration of the audio tokenizer that a user names; arguments, errors as [`named_audio_tokenizer`]."""
    named = f"`{argument}` {str(source)!r}"
    try:
        fields = MelVQConfig.get_config_dict(source)[0]
    except (OSError, ValueError) as error:
        start = "" if Path(source).is_dir() else "there is no such folder, and it is not to be had from the Hub: "
        raise ValueError(f"{named} holds no audio tokenizer: {start}{' '.join(str(error).split())}") from error
    model_type = fields.get("model_type")
    if model_type is None:
        raise ValueError(f"{named} holds no audio tokenizer: there is no {CONFIG_NAME} of one.")
    if model_type != MelVQConfig.model_type:
        raise ValueError(
            f"{named} holds a model of type {model_type!r}, expected {MelVQConfig.model_type!r}; in a GPT checkpoint "
            f"it is the folder {AUDIO_TOKENIZER_SUBFOLDER}."
        )
    return MelVQConfig.from_dict(fields)


def audio_tokenizer_folder(checkpoint: str | Path, codec_reference: str | None) -> Path:
    """Where the audio tokenizer of a checkpoint on this machine lies, unless its reference is to the Hub."""
    is_local = codec_reference is not None and codec_reference.startswith(".")
    return Path(checkpoint, codec_reference if is_local else AUDIO_TOKENIZER_SUBFOLDER)


def _follow(checkpoint: Path, codec_reference: str, location: dict) -> tuple[str, dict]:
    """Source and location arguments of what `codec_reference` names."""
    if codec_reference.startswith("."):
        folder = audio_tokenizer_folder(checkpoint, codec_reference)
        if not (folder / CONFIG_NAME).is_file():
            raise ValueError(
                f"`codec_reference` of {checkpoint} is {codec_reference!r}, but there is no audio tokenizer in "
                f"{folder}. Bring that folder along, or name a repository on the Hub."
            )
        return str(folder), {}
    user, _, rest = codec_reference.partition("/")
    name, _, subfolder = rest.partition("/")
    # A revision belongs to the checkpoint's own repository.
    others = {argument: value for argument, value in location.items() if argument != "revision"}
    return f"{user}/{name}", others | {"subfolder": subfolder}

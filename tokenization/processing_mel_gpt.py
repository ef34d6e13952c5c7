"""How do class names and sounds become the ids that the GPT reads, and how do its ids become waveforms?"""

import copy
from pathlib import Path

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.processing_utils import Unpack
from transformers.utils import CONFIG_NAME, logging

from ..modeling.modeling_mel_vq import MelVQDecoderOutput
from ..modeling.portable_code import PortableCodeMixin
from .audio_tokenizer_files import AUDIO_TOKENIZER_SUBFOLDER, load_audio_tokenizer
from .audio_writing import write_audio
from .code_times import CodeTimes
from .mono_clips import mono_clips
from .processing_arguments import AUDIO_ARGUMENTS, MelGPTProcessorKwargs, check_argument_names

logger = logging.get_logger(__name__)

IGNORED_LABEL = -100
DEFAULT_BATCH_SIZE = 8

# A pipeline hands the GPT's own loading arguments to every part of the checkpoint.
MODEL_ARGUMENTS = ("dtype", "torch_dtype", "attn_implementation", "quantization_config")


class MelGPTProcessor(PortableCodeMixin, ProcessorMixin):
    r"""
    Class names and sounds in, ids out; ids in, waveforms out. Joins a [`MelFeatureExtractor`], a [`MelCodeTokenizer`]
    and an audio tokenizer ([`MelVQModel`]).

    ```python
    >>> inputs = processor(text=["dog", "gun"])  # two prompts
    >>> waveforms = processor.batch_decode(model.generate(**inputs))  # (2, samples)
    >>> processor.save_audio(waveforms, ["dog.wav", "gun.wav"])

    >>> # Continuing a sound: its first 2.5 seconds are the prompt, `generate` writes the rest of the clip.
    >>> inputs = processor(text="dog", audio=half_sound, sampling_rate=22050, prompt_seconds=2.5)
    >>> waveform = processor.decode(model.generate(**inputs)[0])
    ```

    The audio tokenizer stays where it is put and works in the precision it has: ids and features are moved to it, and
    results come back to the CPU. `processor.audio_tokenizer.to("cuda")` speeds decoding up.

    Args:
        feature_extractor ([`MelFeatureExtractor`]): waveforms to log-mel features.
        tokenizer ([`MelCodeTokenizer`]): class names to ids.
        audio_tokenizer ([`MelVQModel`], *optional*): features to codes and codes to waveforms. Without it the
            processor makes prompts from class names, and nothing else.
        class_token (`bool`): whether sentences begin with a class token, as those of [`MelGPTForCausalLM`] do. The
            sentences of a [`MelGPTVAEModel`] are codes only, and a class is a `class_labels` beside them.
        codec_reference (`str`, *optional*): where the audio tokenizer of a checkpoint lies that has no subfolder
            `audio_tokenizer`; see [`~MelGPTProcessor.save_pretrained`].

    Raises:
        ValueError: if the parts do not fit each other.
    """

    valid_processor_kwargs = MelGPTProcessorKwargs
    portable_subfolders = (AUDIO_TOKENIZER_SUBFOLDER,)

    def __init__(self, feature_extractor, tokenizer, audio_tokenizer=None, class_token=True, codec_reference=None):
        super().__init__(feature_extractor, tokenizer)
        self.class_token = class_token
        self.codec_reference = codec_reference
        if audio_tokenizer is not None:
            _check_audio_tokenizer(audio_tokenizer, feature_extractor, tokenizer)
        self.audio_tokenizer = audio_tokenizer

    @property
    def sampling_rate(self) -> int:
        """Samples per second of every waveform that comes out, Hz."""
        return self.feature_extractor.sampling_rate

    @property
    def unused_input_names(self) -> list[str]:
        """What the parts make and the model does not read."""
        return self.feature_extractor.model_input_names

    def __call__(
        self,
        text: str | list[str] | None = None,
        audio=None,
        prompt_seconds: float | None = None,
        hidden_seconds: tuple[float, float] | None = None,
        **kwargs: Unpack[MelGPTProcessorKwargs],
    ) -> BatchFeature:
        """
        Prompts from class names, sentences from class names and sounds.

        Args:
            text (`str` or `list[str]`, *optional*): class names; `None` gives sounds the null class. One class name
                serves a batch of sounds, and one sound a batch of class names.
            audio (array, tensor or list, *optional*): one clip or a batch of clips, as [`MelFeatureExtractor`] takes
                them.
            prompt_seconds (`float`, *optional*): gives the codes of only the first so many seconds of `audio`, rounded
                down to whole time steps of codes, for `generate` to continue. What comes later in `audio` is not
                looked at.
            hidden_seconds (`tuple[float, float]`, *optional*): start and end of a span of `audio` that is to be
                filled in: adds `mask`, which [`MelGPTVAEModel.impute`] takes. An end of `inf` is that of the clip.
            kwargs: further arguments, by name or inside the dictionaries `audio_kwargs`, `text_kwargs`:

                - sampling_rate (`int`, *optional*): rate of `audio`, Hz.
                - resample (`bool`): whether to convert another rate to the feature extractor's.
                - short_clips (`str`, *optional*): `"repeat"` or `"zero"`, what to do with clips that are too short.
                - return_labels (`bool`): whether to add `labels` for training: the ids, and -100 for the class.
                - return_tensors (`str`, *optional*): `"pt"` (the default), `"np"`, or `None` for lists.
                - padding, max_length, pad_to_multiple_of, padding_side: as of a tokenizer of the library. All
                  sentences of a call are of one length, so only `padding="max_length"` and multiples lengthen them;
                  `generate` takes no padded prompts.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask` (all ones) of shape `(batch_size, 1 + codes)`, where
            there are no codes without `audio`; with `return_labels` also `labels` of that shape, and with
            `hidden_seconds` a `mask` of it, True for the codes of every time step that the span touches. Without
            `class_token`: `input_ids` of shape `(batch_size, codes)` for `audio`, and `class_labels` of shape
            `(batch_size,)` for `text`.

        Raises:
            ValueError: for unknown class names and arguments, audio that does not fit, and arguments that exclude each
                other.
        """
        check_argument_names(kwargs)
        options = self._merge_kwargs(MelGPTProcessorKwargs, self.tokenizer.init_kwargs, **kwargs)
        return_labels = options.get("return_labels")
        if text is None and audio is None:
            raise ValueError(
                f"Give `text`, `audio` or both. For a sound of any class pass `text={self.tokenizer.bos_token!r}`."
            )
        if audio is None and (return_labels or prompt_seconds is not None or hidden_seconds is not None):
            raise ValueError("`return_labels`, `prompt_seconds` and `hidden_seconds` need `audio`, which is missing.")
        if prompt_seconds is not None and hidden_seconds is not None:
            raise ValueError("`prompt_seconds` and `hidden_seconds` exclude each other; give one of them.")
        classes = torch.tensor([[index] for index in self._class_ids(text)])
        codes = torch.empty(len(classes), 0, dtype=torch.long)
        if audio is not None:
            codes = self._encode(audio, prompt_seconds, options["audio_kwargs"])
            classes, codes = _same_batch_size(classes, codes)
        prefix = classes if self.class_token else classes[:, :0]
        data = {}
        if self.class_token or audio is not None:
            data["input_ids"] = torch.cat([prefix, codes], dim=1)
        if self.class_token:
            data["attention_mask"] = torch.ones_like(data["input_ids"])
        elif text is not None:
            data["class_labels"] = classes[:, 0] - self.tokenizer.codebook_size
        if return_labels:
            data["labels"] = torch.cat([torch.full_like(prefix, IGNORED_LABEL), codes], dim=1)
        if hidden_seconds is not None:
            hidden = self._code_times.hidden_codes(hidden_seconds).expand(codes.shape)
            data["mask"] = torch.cat([torch.zeros_like(prefix, dtype=torch.bool), hidden], dim=1)
        text_options = options["text_kwargs"]
        data = self._pad(data, text_options)
        lists = {name: value.tolist() for name, value in data.items()}
        return BatchFeature(lists, tensor_type=text_options.get("return_tensors"))

    def batch_decode(self, ids, batch_size: int = DEFAULT_BATCH_SIZE) -> torch.FloatTensor:
        """
        Waveforms of sentences. Only decodes codes: for the sentences as text use `processor.tokenizer.batch_decode`.

        Args:
            ids (`torch.LongTensor`, array or list of shape `(batch_size, num_ids)`): what `generate` returns: codes in
                whole time steps; a class token in front is skipped.
            batch_size (`int`): sentences decoded at a time, which limits the memory.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, samples)` on the CPU, at `sampling_rate`.

        Raises:
            ValueError: if `ids` are not codes in whole time steps, or if there is no audio tokenizer.
        """
        return self.decode_features(ids, batch_size=batch_size).audio_values

    def decode(self, ids, batch_size: int = DEFAULT_BATCH_SIZE) -> torch.FloatTensor:
        """
        The waveform, of shape `(samples,)`, of one sentence of shape `(num_ids,)`. A batch is left to
        [`~MelGPTProcessor.batch_decode`], because pipelines hand one over.
        """
        ids = _to_ids(ids)
        if ids.ndim == 1:
            return self.batch_decode(ids[None])[0]
        return self.batch_decode(ids, batch_size=batch_size)

    def decode_features(self, ids, batch_size: int = DEFAULT_BATCH_SIZE) -> MelVQDecoderOutput:
        """
        Features and waveforms of sentences, decoded once. Arguments as in [`~MelGPTProcessor.batch_decode`].

        Returns:
            [`MelVQDecoderOutput`] with `input_features` of shape `(batch_size, mel bands, frames)`, [-1, 1] being the
            range of the log-mel features, and `audio_values` of shape `(batch_size, samples)`; both float32, CPU.
        """
        audio_tokenizer = self._need_audio_tokenizer("Decoding to audio")
        if batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size}; it has to be 1 or more.")
        codes = self._strip_to_codes(_to_ids(ids))
        features, waveforms = [], []
        with torch.no_grad():
            for chunk in codes.split(batch_size):
                decoded = audio_tokenizer.decode(audio_codes=chunk.to(audio_tokenizer.device))
                features.append(decoded.input_features.float().cpu())
                waveforms.append(decoded.audio_values.float().cpu())
        return MelVQDecoderOutput(input_features=torch.cat(features), audio_values=torch.cat(waveforms))

    def save_audio(self, waveforms, paths, sampling_rate: int | None = None) -> list[Path]:
        """
        Writes waveforms as 16-bit PCM files; missing folders are made. Arguments, result and errors are those of
        [`~melspec_gpt.tokenization.audio_writing.write_audio`], with `sampling_rate` of the processor by default. A
        clip whose peak is above 1 is scaled down as a whole to a peak of 1, with a warning.
        """
        return write_audio(waveforms, paths, sampling_rate or self.sampling_rate)

    def to_dict(self) -> dict:
        """What processor_config.json holds: the feature extractor, but not the audio tokenizer with its weights."""
        bare = copy.copy(self)
        del bare.audio_tokenizer
        return super(MelGPTProcessor, bare).to_dict()

    def save_pretrained(self, save_directory, **kwargs) -> list[str]:
        """
        Writes processor_config.json, the tokenizer's files and, in the subfolder `audio_tokenizer`, the audio
        tokenizer with its weights and its preprocessor_config.json, so that the folder stands alone. Several
        checkpoints can share one audio tokenizer: with `codec_reference` set there is no subfolder, only that
        reference, a folder relative to `save_directory` (`"../other/audio_tokenizer"`) or a repository on the Hub.
        A subfolder from before that is not written again is left as it is, with a warning.

        Args:
            save_directory (`str` or `Path`): the folder, which may hold a model already.
            kwargs: see [`PortableCodeMixin`]: whether to add code, whether to upload and where to.
        """
        subfolder = Path(save_directory, AUDIO_TOKENIZER_SUBFOLDER)
        if self.audio_tokenizer is not None and self.codec_reference is None:
            self.audio_tokenizer.save_pretrained(subfolder, save_code=False)
            self.feature_extractor.save_pretrained(subfolder, save_code=False)
        elif (subfolder / CONFIG_NAME).is_file():
            _report_left_over(subfolder, self.codec_reference)
        return super().save_pretrained(save_directory, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> "MelGPTProcessor":
        """
        Loads what [`~MelGPTProcessor.save_pretrained`] wrote, from a folder or a repository on the Hub. Without an
        audio tokenizer the processor makes prompts from class names only. A reference is followed and then forgotten:
        saved again, the processor stands alone.

        Args:
            pretrained_model_name_or_path (`str` or `Path`): folder or repository of the GPT.
            kwargs: arguments of [`~transformers.ProcessorMixin.from_pretrained`]. `device_map` and
                `trust_remote_code` count for the audio tokenizer too; `dtype` and `attn_implementation` do not: they
                speak of the GPT, and the audio tokenizer keeps the precision it was saved in.
        """
        for name in MODEL_ARGUMENTS:
            kwargs.pop(name, None)
        device_map = kwargs.pop("device_map", None)
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        audio_tokenizer = load_audio_tokenizer(
            pretrained_model_name_or_path, processor.codec_reference, device_map=device_map, **kwargs
        )
        return cls(processor.feature_extractor, processor.tokenizer, audio_tokenizer, processor.class_token)

    def _class_ids(self, text: str | list[str] | None) -> list[int]:
        names = [self.tokenizer.bos_token] if text is None else [text] if isinstance(text, str) else text
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names) or not names:
            raise ValueError(f"`text` is {text!r}; it has to be a class name or a list of class names.")
        ids = [self.tokenizer.convert_tokens_to_ids(name.strip()) for name in names]
        for name, index in zip(names, ids, strict=True):
            if index < self.tokenizer.codebook_size:
                raise ValueError(f"`text` holds {name!r}, which is a code; a prompt begins with a class name.")
        return ids

    def _pad(self, data: dict[str, torch.Tensor], options: dict) -> dict[str, torch.Tensor]:
        """Lengthens the sentences, and what belongs to their positions, as far as the tokenizer would."""
        if "input_ids" not in data or options.get("padding") in (None, False, "do_not_pad"):
            return data
        length = data["input_ids"].shape[1]
        names = ("padding", "max_length", "pad_to_multiple_of", "padding_side")
        padding = {name: options[name] for name in names if options.get(name) is not None}
        padded = self.tokenizer.pad({"input_ids": data["input_ids"].tolist()}, **padding)
        extra = len(padded["input_ids"][0]) - length
        if extra and not self.class_token:
            raise ValueError(f"`padding` would lengthen {length} codes by {extra}, but a clip is read as a whole.")
        side = padding.get("padding_side", self.tokenizer.padding_side)
        ends = (0, extra) if side == "right" else (extra, 0)
        fillers = {"input_ids": self.tokenizer.pad_token_id, "labels": IGNORED_LABEL}
        return {name: torch.nn.functional.pad(value, ends, value=fillers.get(name, 0)) for name, value in data.items()}

    def _encode(self, audio, prompt_seconds: float | None, options: dict) -> torch.LongTensor:
        """Codes (batch, codes) of whole clips, or of their first `prompt_seconds`."""
        audio_tokenizer = self._need_audio_tokenizer("Encoding `audio`")
        clips = mono_clips(audio)
        num_codes = None
        if prompt_seconds is not None:
            num_codes = self._code_times.num_prompt_codes(prompt_seconds)
            clips = _first_seconds(clips, prompt_seconds, options.get("sampling_rate") or self.sampling_rate)
        arguments = {name: options[name] for name in AUDIO_ARGUMENTS if options.get(name) is not None}
        features = self.feature_extractor(clips, **arguments | {"return_tensors": "pt"}).input_features
        with torch.no_grad():
            chunks = features.to(audio_tokenizer.device, audio_tokenizer.dtype).split(DEFAULT_BATCH_SIZE)
            codes = [audio_tokenizer.encode(chunk).audio_codes[:, 0, :num_codes].cpu() for chunk in chunks]
        return torch.cat(codes)

    @property
    def _code_times(self) -> CodeTimes:
        return CodeTimes(self.feature_extractor, self.audio_tokenizer.config)

    def _strip_to_codes(self, ids: torch.LongTensor) -> torch.LongTensor:
        """Ids (batch, n), with or without class tokens in front, to codes in whole time steps."""
        if ids.ndim != 2 or ids.numel() == 0:
            raise ValueError(f"`ids` has shape {tuple(ids.shape)}; expected (num_ids,) or (batch_size, num_ids).")
        codebook_size, rows = self.tokenizer.codebook_size, self.audio_tokenizer.config.grid_shape[0]
        codes = ids[:, 1:] if (ids[:, 0] >= codebook_size).all() else ids
        if codes.shape[1] == 0:
            raise ValueError("`ids` holds class tokens only, no codes; pass what `model.generate` returns.")
        if codes.min() < 0 or codes.max() >= codebook_size:
            raise ValueError(
                f"`ids` holds values from {codes.min()} to {codes.max()} after the class tokens; codes are 0 to "
                f"{codebook_size - 1}. Either every row begins with a class token or none does."
            )
        if codes.shape[1] % rows:
            raise ValueError(
                f"`ids` holds {codes.shape[1]} codes, but a time step has {rows}: cut {codes.shape[1] % rows} at the "
                f"end, or generate a multiple of {rows}."
            )
        return codes

    def _need_audio_tokenizer(self, purpose: str):
        if self.audio_tokenizer is None:
            raise ValueError(
                f"{purpose} needs an audio tokenizer, and this processor has none. Load it from a folder with the "
                f"subfolder `{AUDIO_TOKENIZER_SUBFOLDER}`, or set `processor.audio_tokenizer`."
            )
        return self.audio_tokenizer


def _check_audio_tokenizer(audio_tokenizer, feature_extractor, tokenizer) -> None:
    if not isinstance(audio_tokenizer, PreTrainedAudioTokenizerBase):
        raise ValueError(f"`audio_tokenizer` is a {type(audio_tokenizer).__name__}; pass a MelVQModel.")
    config = audio_tokenizer.config
    fields = [("tokenizer.codebook_size", tokenizer.codebook_size, config.codebook_size)]
    geometry = feature_extractor.spectrogram_geometry
    fields += [(f"feature_extractor.{name}", value, getattr(config, name)) for name, value in geometry.items()]
    for name, value, expected in fields:
        if value != expected:
            raise ValueError(
                f"`{name}` is {value}, but the audio tokenizer was made for {expected}; load both from one folder."
            )
    if feature_extractor.num_frames % config.downsampling_factor:
        raise ValueError(
            f"`feature_extractor.num_frames` is {feature_extractor.num_frames}; the audio tokenizer needs a multiple "
            f"of {config.downsampling_factor}."
        )


def _report_left_over(subfolder: Path, codec_reference: str | None) -> None:
    loaded = "that old audio tokenizer" if codec_reference is None else f"the one of {codec_reference!r} instead"
    logger.warning(
        f"{subfolder} is there from before and was left as it is, but this processor is saved without an audio "
        f"tokenizer. `from_pretrained` will load {loaded}; remove {subfolder} if nothing needs it."
    )


def _same_batch_size(classes: torch.LongTensor, codes: torch.LongTensor) -> list[torch.LongTensor]:
    """Repeats a single class or a single sound as often as there are of the other."""
    sizes = {len(classes), len(codes)}
    if len(sizes) == 2 and 1 not in sizes:
        raise ValueError(f"There are {len(classes)} class names in `text` but {len(codes)} clips in `audio`.")
    return [ids.expand(max(sizes), -1) for ids in (classes, codes)]


def _first_seconds(clips: list[torch.Tensor], seconds: float, sampling_rate: int) -> list[torch.Tensor]:
    num_samples = round(seconds * sampling_rate)
    for index, clip in enumerate(clips):
        if clip.shape[-1] < num_samples:
            raise ValueError(
                f"`prompt_seconds` is {seconds}, but clip {index} of `audio` lasts only "
                f"{clip.shape[-1] / sampling_rate:.3f} s at {sampling_rate} Hz; ask for less."
            )
    return [clip[:num_samples] for clip in clips]


def _to_ids(ids) -> torch.LongTensor:
    """Integer ids from a tensor, an array or lists."""
    try:
        values = ids if isinstance(ids, torch.Tensor) else torch.from_numpy(np.asarray(ids))
        is_integer = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    except (TypeError, ValueError):
        is_integer = False
    if not is_integer:
        raise ValueError(
            f"`ids` is a {type(ids).__name__} that does not hold integers in rows of one length; pass the ids that "
            "`model.generate` returns (the `sequences`, if it returns a dictionary)."
        )
    return values.long()

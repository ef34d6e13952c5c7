"""How do class names and sounds become the ids that the GPT reads, and how do its ids become waveforms?"""

import copy
import posixpath
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import AutoModel, BatchFeature, ProcessorMixin
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import CONFIG_NAME, cached_file, logging

from ..modeling.modeling_mel_vq import MelVQDecoderOutput
from .feature_extraction_mel import mono_clips

logger = logging.get_logger(__name__)

AUDIO_TOKENIZER_SUBFOLDER = "audio_tokenizer"
IGNORED_LABEL = -100
PCM_SUBTYPE = "PCM_16"
DEFAULT_BATCH_SIZE = 8

# Arguments of `from_pretrained` that say where files are, as opposed to how the GPT beside them is to be loaded.
LOCATION_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")
# A pipeline hands the GPT's own loading arguments to every part of the checkpoint.
MODEL_ARGUMENTS = ("dtype", "torch_dtype", "attn_implementation", "quantization_config")


class MelGPTProcessor(ProcessorMixin):
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

    Raises:
        ValueError: if the parts do not fit each other.
    """

    def __init__(self, feature_extractor, tokenizer, audio_tokenizer=None):
        super().__init__(feature_extractor, tokenizer)
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
        sampling_rate: int | None = None,
        resample: bool = False,
        short_clips: str | None = None,
        prompt_seconds: float | None = None,
        return_labels: bool = False,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """
        Prompts from class names, sentences from class names and sounds.

        Args:
            text (`str` or `list[str]`, *optional*): class names; `None` gives sounds the null class. One class name
                serves a batch of sounds, and one sound a batch of class names.
            audio (array, tensor or list, *optional*): one clip or a batch of clips, as [`MelFeatureExtractor`] takes
                them.
            sampling_rate (`int`, *optional*): rate of `audio`, Hz.
            resample (`bool`): whether to convert another rate to the feature extractor's.
            short_clips (`str`, *optional*): `"repeat"` or `"zero"`, what to do with clips that are too short.
            prompt_seconds (`float`, *optional*): gives the codes of only the first so many seconds of `audio`, rounded
                down to whole time steps of codes, for `generate` to continue. What comes later in `audio` is not
                looked at.
            return_labels (`bool`): whether to add `labels` for training: the ids, and -100 for the class.
            return_tensors (`str`, *optional*): `"pt"`, `"np"`, or `None` for lists.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask` (all ones) of shape `(batch_size, 1 + codes)`, where
            there are no codes without `audio`; with `return_labels` also `labels` of that shape.

        Raises:
            ValueError: for unknown class names, audio that does not fit, and arguments that exclude each other.
        """
        if text is None and audio is None:
            raise ValueError(
                f"Give `text`, `audio` or both. For a sound of any class pass `text={self.tokenizer.bos_token!r}`."
            )
        if audio is None and (return_labels or prompt_seconds is not None):
            raise ValueError("`return_labels` and `prompt_seconds` need `audio`, which is missing.")
        classes = torch.tensor([[index] for index in self._class_ids(text)])
        if audio is None:
            input_ids = classes
        else:
            codes = self._encode(audio, sampling_rate, resample, short_clips, prompt_seconds)
            input_ids = torch.cat(_same_batch_size(classes, codes), dim=1)
        data = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if return_labels:
            data["labels"] = input_ids.clone()
            data["labels"][:, 0] = IGNORED_LABEL
        return BatchFeature({name: value.tolist() for name, value in data.items()}, tensor_type=return_tensors)

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
        Writes waveforms as 16-bit PCM files; missing folders are made. A clip whose peak is above 1, the largest value
        that PCM holds, is scaled down as a whole to a peak of 1, with a warning: it keeps its shape. Quieter clips are
        written as they are.

        Args:
            waveforms (tensor, array or list): one waveform of shape `(samples,)` or a batch `(batch_size, samples)`.
            paths (`str`, `Path` or a list of them): one file for each waveform, `.wav` or `.flac`.
            sampling_rate (`int`, *optional*): rate to write, Hz; by default `sampling_rate` of the processor.

        Returns:
            `list[Path]`: the files.

        Raises:
            ValueError: if numbers of waveforms and paths differ, a format is not known, or samples are not finite.
        """
        is_one = isinstance(waveforms, (torch.Tensor, np.ndarray)) and waveforms.ndim == 1
        clips = [_to_samples(clip) for clip in ([waveforms] if is_one else waveforms)]
        paths = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
        if len(clips) != len(paths):
            raise ValueError(f"There are {len(clips)} waveforms but {len(paths)} `paths`; give one path for each.")
        for path in paths:
            if not soundfile.check_format(path.suffix[1:], PCM_SUBTYPE):
                raise ValueError(f"`paths` holds {str(path)!r}; the name has to end in .wav or .flac.")
        peaks = [float(np.abs(clip).max()) for clip in clips]
        num_loud = sum(peak > 1 for peak in peaks)
        if num_loud:
            logger.warning(
                f"{num_loud} of {len(clips)} clips peak above 1 (at most {max(peaks):.2f}) and were scaled down to 1."
            )
        for clip, peak, path in zip(clips, peaks, paths, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, clip / max(peak, 1.0), sampling_rate or self.sampling_rate, subtype=PCM_SUBTYPE)
        return paths

    def to_dict(self) -> dict:
        """What processor_config.json holds: the feature extractor, but not the audio tokenizer with its weights."""
        bare = copy.copy(self)
        del bare.audio_tokenizer
        return super(MelGPTProcessor, bare).to_dict()

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs) -> list[str]:
        """
        Writes processor_config.json, the tokenizer's files and, in the subfolder `audio_tokenizer`, the audio
        tokenizer with its weights and its preprocessor_config.json, so that the folder stands alone.

        Args:
            save_directory (`str` or `Path`): the folder, which may hold a model already.
            push_to_hub (`bool`): whether to upload the files as well.
            kwargs: arguments of [`~transformers.utils.PushToHubMixin.push_to_hub`], such as `repo_id`.
        """
        files = super().save_pretrained(save_directory)
        if self.audio_tokenizer is not None:
            subfolder = Path(save_directory, AUDIO_TOKENIZER_SUBFOLDER)
            self.audio_tokenizer.save_pretrained(subfolder)
            self.feature_extractor.save_pretrained(subfolder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> "MelGPTProcessor":
        """
        Loads what [`~MelGPTProcessor.save_pretrained`] wrote, from a folder or a repository on the Hub. Without the
        subfolder `audio_tokenizer` the processor makes prompts from class names only.

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
        location = {name: kwargs[name] for name in LOCATION_ARGUMENTS if name in kwargs}
        location["subfolder"] = posixpath.join(kwargs.get("subfolder", ""), AUDIO_TOKENIZER_SUBFOLDER)
        config_file = cached_file(
            pretrained_model_name_or_path, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **location
        )
        if config_file is None:
            logger.warning(f"{pretrained_model_name_or_path} has no audio tokenizer: there will be no audio.")
            return processor
        audio_tokenizer = AutoModel.from_pretrained(
            pretrained_model_name_or_path,
            device_map=device_map,
            trust_remote_code=kwargs.get("trust_remote_code"),
            **location,
        )
        return cls(processor.feature_extractor, processor.tokenizer, audio_tokenizer)

    def _class_ids(self, text: str | list[str] | None) -> list[int]:
        names = [self.tokenizer.bos_token] if text is None else [text] if isinstance(text, str) else text
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names) or not names:
            raise ValueError(f"`text` is {text!r}; it has to be a class name or a list of class names.")
        ids = [self.tokenizer.convert_tokens_to_ids(name.strip()) for name in names]
        for name, index in zip(names, ids, strict=True):
            if index < self.tokenizer.codebook_size:
                raise ValueError(f"`text` holds {name!r}, which is a code; a prompt begins with a class name.")
        return ids

    def _encode(self, audio, sampling_rate, resample, short_clips, prompt_seconds) -> torch.LongTensor:
        """Codes (batch, codes) of whole clips, or of their first `prompt_seconds`."""
        audio_tokenizer = self._need_audio_tokenizer("Encoding `audio`")
        clips = mono_clips(audio)
        num_codes = None
        if prompt_seconds is not None:
            num_codes = self._num_prompt_codes(prompt_seconds)
            clips = _first_seconds(clips, prompt_seconds, sampling_rate or self.sampling_rate)
        features = self.feature_extractor(
            clips, sampling_rate, resample=resample, short_clips=short_clips, return_tensors="pt"
        ).input_features
        with torch.no_grad():
            chunks = features.to(audio_tokenizer.device, audio_tokenizer.dtype).split(DEFAULT_BATCH_SIZE)
            codes = [audio_tokenizer.encode(chunk).audio_codes[:, 0, :num_codes].cpu() for chunk in chunks]
        return torch.cat(codes)

    def _num_prompt_codes(self, prompt_seconds: float) -> int:
        """Codes of the time steps that lie wholly in the first `prompt_seconds` of a clip."""
        extractor, config = self.feature_extractor, self.audio_tokenizer.config
        skipped_frames = (extractor.num_mel_frames - extractor.num_frames) // 2
        frame_seconds = extractor.hop_length / extractor.sampling_rate
        num_steps = (prompt_seconds / frame_seconds - skipped_frames) // config.downsampling_factor
        if not 1 <= num_steps < extractor.num_frames // config.downsampling_factor:  # also refuses NaN
            shortest = (skipped_frames + config.downsampling_factor) * frame_seconds
            longest = (skipped_frames + extractor.num_frames) * frame_seconds
            raise ValueError(
                f"`prompt_seconds` is {prompt_seconds}; it has to be at least {shortest:.3f} s (one time step of "
                f"codes) and below {longest:.3f} s, where nothing is left to continue."
            )
        return int(num_steps) * config.grid_shape[0]

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


def _to_samples(waveform) -> np.ndarray:
    samples = waveform.detach().cpu().numpy() if isinstance(waveform, torch.Tensor) else np.asarray(waveform)
    if samples.ndim != 1 or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(
            f"A waveform has shape {samples.shape} and dtype {samples.dtype}; expected floats of shape (samples,)."
        )
    if not np.isfinite(samples).all():
        raise ValueError("A waveform holds NaN or infinite samples; it cannot be written.")
    return samples

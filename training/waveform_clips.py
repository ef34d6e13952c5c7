"""What does a vocoder training read? Recorded waveforms and the features of the same stretch of time."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Array2D, Dataset, Features, concatenate_datasets
from datasets.fingerprint import Hasher

from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.built_dataset import Splits, load_built_dataset
from melspec_gpt.training.clip_randomness import number_rows

PCM_SCALE = -float(torch.iinfo(torch.int16).min)
DECIBELS_OF_MEL = 100  # from 0 to 1
RECONSTRUCTION_COLUMN = "reconstruction"
CLIPS_AT_ONCE = 8


def load_waveform_dataset(dataset_path: str | Path, streaming: bool = False) -> Splits:
    """
    A mel dataset that also has the waveforms: the columns `mel`, `audio` (16-bit PCM of the clip at the rate and with
    the length of the feature extractor) and `row`. Arguments as of [`load_built_dataset`].

    Raises:
        ValueError: if there is no mel dataset, or one without waveforms.
    """
    try:
        splits = load_built_dataset(dataset_path, ["mel", "audio"], streaming)
    except ValueError as error:
        raise ValueError(
            f"{error} A vocoder learns from mels beside their waveforms: build the mel dataset with --keep_audio."
        ) from error
    return {split: number_rows(rows) for split, rows in splits.items()}


def aligned_waveforms(audio: torch.Tensor, feature_extractor: MelFeatureExtractor) -> torch.Tensor:
    """
    The part of the clips that their features describe: frame `t` of the features stands for the samples from
    `t * hop_length` on. What the last frame has beyond the end of a clip is silence.

    Args:
        audio (`torch.Tensor` of shape `(batch_size, num_samples)`): 16-bit PCM of whole clips, any type of number.
        feature_extractor ([`MelFeatureExtractor`]): that of the data set.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, hop_length * num_frames)`, in [-1, 1].
    """
    hop_length, num_frames = feature_extractor.hop_length, feature_extractor.num_frames
    start = (feature_extractor.num_mel_frames - num_frames) // 2 * hop_length
    waveforms = audio[:, start : start + num_frames * hop_length].float() / PCM_SCALE
    return F.pad(waveforms, (0, num_frames * hop_length - waveforms.shape[1]))


def random_segments(
    input_features: torch.Tensor,
    waveforms: torch.Tensor,
    frames: int,
    gain_range: float,
    generators: Sequence[torch.Generator],
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    A random stretch of each clip at a random level, as features and as waveform. Clips only become quieter: of a
    louder one the features could not tell what was below their floor.

    Args:
        input_features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, num_frames)`): in [-1, 1].
        waveforms (`torch.FloatTensor` of shape `(batch_size, hop_length * num_frames)`): see [`aligned_waveforms`].
        frames (`int`): length of the stretch.
        gain_range (`float`): largest change of the level, dB.
        generators (`Sequence[torch.Generator]`): one for each clip.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)` and of shape `(batch_size, hop_length *
        frames)`.
    """
    num_frames = input_features.shape[-1]
    hop_length = waveforms.shape[-1] // num_frames
    segments = []
    for features, waveform, generator in zip(input_features, waveforms, generators, strict=True):
        start = torch.randint(num_frames - frames + 1, (), generator=generator).item()
        decibels = -gain_range * torch.rand((), generator=generator).item()
        stretch = features[:, start : start + frames] + 2 * decibels / DECIBELS_OF_MEL
        samples = waveform[start * hop_length : (start + frames) * hop_length] * 10 ** (decibels / 20)
        segments.append((stretch.clamp(min=-1), samples))
    stretches, samples = zip(*segments, strict=True)
    return torch.stack(stretches), torch.stack(samples)


def add_reconstructions(
    rows: Dataset,
    audio_tokenizer: MelVQModel,
    feature_extractor: MelFeatureExtractor,
    cache_folder: str | Path,
) -> Dataset:
    """
    Adds the column `reconstruction`: the features of each clip after they went through the codes of an audio
    tokenizer, float16 of shape `(feature_size, num_frames)` in [-1, 1]. That is what a vocoder meets in use.

    Args:
        rows (`Dataset`): with the columns `mel`, `audio` and `row`.
        audio_tokenizer ([`MelVQModel`]): on the device to use.
        feature_extractor ([`MelFeatureExtractor`]): that of the data set.
        cache_folder (`str` or `Path`): the column lies there, and is made only once for the same clips and weights.
    """
    weights = [weight.cpu().numpy() for weight in audio_tokenizer.state_dict().values()]
    fingerprint = Hasher.hash([rows._fingerprint, weights])
    shape = (feature_extractor.feature_size, feature_extractor.num_frames)
    Path(cache_folder).mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def reconstruct(batch: dict) -> dict:
        features = feature_extractor.normalize(batch["mel"].float()).to(audio_tokenizer.device)
        decoded = audio_tokenizer.decode(audio_tokenizer.encode(features).audio_codes, return_audio=False)
        return {RECONSTRUCTION_COLUMN: decoded.input_features.clamp(-1, 1).half().cpu().numpy()}

    reconstructions = rows.with_format("torch", columns=["mel"]).map(
        reconstruct,
        batched=True,
        batch_size=CLIPS_AT_ONCE,
        remove_columns=rows.column_names,
        features=Features({RECONSTRUCTION_COLUMN: Array2D(shape, "float16")}),
        cache_file_name=str(Path(cache_folder) / f"{fingerprint}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=fingerprint,
        desc="Mels through the audio tokenizer",
    )
    columns = [*rows.format["columns"], RECONSTRUCTION_COLUMN]
    return concatenate_datasets([rows, reconstructions], axis=1).with_format("torch", columns=columns)

"""How does a mel dataset become a token dataset, the input of the GPT trainings?"""

import argparse
import logging
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Array2D, Dataset, DatasetDict, Features, List, Value, load_from_disk

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts.build_arguments import add_output_arguments, run_build
from melspec_gpt.datasets_scripts.mel_dataset import write_report
from melspec_gpt.datasets_scripts.output_folder import output_folder
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

logger = logging.getLogger(__name__)

# 40 dB on the scale of the mel, on which 1 is 100 dB.
AUDIBLE_RANGE = 0.4


def build_token_dataset(
    dataset_path: str | Path,
    audio_tokenizer: str | Path,
    output_dir: str | Path,
    num_views: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    overwrite: bool = False,
) -> dict:
    """
    Encodes a mel dataset: a `DatasetDict` with the splits of the mels and the columns `id`, `label` and `codes` (a
    list of `num_codes` codes, time-major, in the smallest unsigned type that holds the codebook), beside it
    `preprocessor_config.json` and `build_report.json`.

    Args:
        dataset_path (`str` or `Path`): the mel dataset, see [`build_mel_dataset`].
        audio_tokenizer (`str` or `Path`): folder (or Hub name) of a [`MelVQModel`].
        output_dir (`str` or `Path`): the folder to write.
        num_views (`int`): rows made of each training clip. View 0 (id `clip`) is the clip itself; view n (id
            `clip@n`) is the clip rolled in time, so that it begins with another of its audible frames, before its
            centre is cut out: a small data set gives more different sentences. The other splits have one row per clip.
        batch_size (`int`): clips encoded at once.
        seed (`int`): seed of the rolls. The rolls of a clip depend on it and the clip's id, on nothing else.
        overwrite (`bool`): whether to replace an earlier build.

    Returns:
        The report that is written: rows and different codes per split, seconds.

    Raises:
        ValueError: if `dataset_path` is no mel dataset, if its geometry does not fit the audio tokenizer, or if the
            output folder must not be written.
    """
    started = time.monotonic()
    mels, feature_extractor = load_mel_dataset(dataset_path)
    _check_counts(num_views, batch_size, feature_extractor.num_mel_frames)
    model = load_audio_tokenizer(audio_tokenizer)
    check_geometry(feature_extractor, model.config)
    encoder = _CodeEncoder(model, feature_extractor, seed)
    with output_folder(output_dir, overwrite, source_dir=dataset_path) as folders:
        tokens = DatasetDict(
            {
                split: _encode_split(
                    rows, encoder, num_views if split == "train" else 1, batch_size, folders.cache / f"{split}.arrow"
                )
                for split, rows in mels.items()
            }
        )
        tokens.save_to_disk(folders.result)
        feature_extractor.save_pretrained(folders.result, save_code=False)
        report = _report(tokens, model.config) | {"num_views": num_views, "seed": seed}
        report["seconds"] = round(time.monotonic() - started, 2)
        write_report(report, folders.result)
    _log_report(report, output_dir)
    return report


def load_mel_dataset(dataset_path: str | Path) -> tuple[DatasetDict, MelFeatureExtractor]:
    """
    A mel dataset and the feature extractor that describes it.

    Raises:
        ValueError: if the folder is no mel dataset.
    """
    try:
        dataset = load_from_disk(str(dataset_path))
        feature_extractor = MelFeatureExtractor.from_pretrained(dataset_path)
    except OSError as error:
        raise ValueError(
            f"`dataset_path` {str(dataset_path)!r} is no mel dataset: {error} Make one with build_audio_folder."
        ) from error
    features = next(iter(dataset.values())).features if isinstance(dataset, DatasetDict) else {}
    shape = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    mel = features.get("mel")
    if "train" not in dataset or not isinstance(mel, Array2D) or tuple(mel.shape) != shape:
        raise ValueError(
            f"`dataset_path` {str(dataset_path)!r} has the columns {dict(features)}; expected a split train "
            f"with a column `mel` of shape {shape}, as build_audio_folder makes it."
        )
    return dataset, feature_extractor


def load_audio_tokenizer(audio_tokenizer: str | Path) -> MelVQModel:
    """
    The audio tokenizer in a folder, ready to encode, on the GPU where there is one.

    Raises:
        ValueError: if the folder holds another model, such as a GPT.
    """
    model_type = MelVQConfig.get_config_dict(audio_tokenizer)[0].get("model_type")
    if model_type != MelVQConfig.model_type:
        raise ValueError(
            f"`audio_tokenizer` {str(audio_tokenizer)!r} holds a model of type {model_type!r}, expected "
            f"{MelVQConfig.model_type!r}; in a GPT checkpoint it is the folder audio_tokenizer."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return MelVQModel.from_pretrained(audio_tokenizer).eval().to(device)


def check_geometry(feature_extractor: MelFeatureExtractor, config: MelVQConfig) -> None:
    """`ValueError` unless the mels have the bands, frames and scale that the audio tokenizer was made for."""
    geometry = {"num_frames": feature_extractor.num_frames, **feature_extractor.spectrogram_geometry}
    different = [
        f"`{name}` is {value} in the dataset, but {getattr(config, name)} in the audio tokenizer"
        for name, value in geometry.items()
        if value != getattr(config, name)
    ]
    if different:
        raise ValueError(
            f"{'; '.join(different)}. Build the mels with the clip length the audio tokenizer was trained on."
        )


def roll_frames(clip_id: str, seed: int, audible: np.ndarray, first_frame: int = 0) -> list[int]:
    """
    By how many frames the mel of `clip_id` is rolled in view 0 (none), 1, 2, ...: all rolls, each once. Those that
    begin with an audible frame come first, so that a GPT does not learn to begin with a long silence.

    Args:
        clip_id (`str`): the clip.
        seed (`int`): with the clip's id it decides the order.
        audible (`np.ndarray` of shape `(num_mel_frames,)`): which frames can be heard, see [`audible_frames`].
        first_frame (`int`): frame of the rolled mel with which the sentence begins.
    """
    starts = list(range(len(audible)))
    random.Random(f"{seed}/{clip_id}").shuffle(starts)
    starts.sort(key=lambda start: not audible[start])  # a stable sort: each half stays shuffled
    rolls = [(first_frame - start) % len(audible) for start in starts]
    return [0, *(roll for roll in rolls if roll)]


def audible_frames(mel: np.ndarray) -> np.ndarray:
    """Frames (num_mel_frames,) of a mel whose loudest band is at most `AUDIBLE_RANGE` below that of the clip."""
    levels = mel.max(axis=0)
    return levels >= levels.max() - AUDIBLE_RANGE


def view_id(clip_id: str, view: int) -> str:
    """The row's id of view `view` of a clip."""
    return clip_id if view == 0 else f"{clip_id}@{view}"


def _check_counts(num_views: int, batch_size: int, num_mel_frames: int) -> None:
    if not 1 <= num_views <= num_mel_frames:
        raise ValueError(
            f"`num_views` is {num_views}; it has to be 1 to {num_mel_frames}, as many as a clip has mel frames."
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}; it has to be at least 1.")


class _CodeEncoder:
    """Mels in [0, 1] as stored -> codes as stored."""

    def __init__(self, model: MelVQModel, feature_extractor: MelFeatureExtractor, seed: int):
        self.model = model
        self.feature_extractor = feature_extractor
        self.seed = seed
        self.code_dtype = np.min_scalar_type(model.config.codebook_size - 1)

    @torch.no_grad()
    def view(self, ids: list[str], mels: np.ndarray, view: int) -> list[np.ndarray]:
        """Codes of one view of every clip; `mels` has the shape `(batch_size, feature_size, num_mel_frames)`."""
        first_frame = (mels.shape[-1] - self.feature_extractor.num_frames) // 2
        rolled = np.stack(
            [
                np.roll(mel, roll_frames(clip_id, self.seed, audible_frames(mel), first_frame)[view], axis=-1)
                for clip_id, mel in zip(ids, mels, strict=True)
            ]
        )
        features = self.feature_extractor.normalize(torch.from_numpy(rolled.astype(np.float32)))
        codes = self.model.encode(features.to(self.model.device)).audio_codes  # (B, 1, num_codes)
        return list(codes.squeeze(1).cpu().numpy().astype(self.code_dtype))


def _encode_split(mels: Dataset, encoder: _CodeEncoder, num_views: int, batch_size: int, cache_file: Path) -> Dataset:
    codes = List(Value(str(encoder.code_dtype)), length=encoder.model.config.num_codes)
    features = Features({"id": Value("string"), "label": mels.features["label"], "codes": codes})

    def encode(batch: dict) -> dict:
        ids, labels = list(batch["id"]), list(batch["label"])
        views = [encoder.view(ids, batch["mel"], view) for view in range(num_views)]
        return {
            "id": [view_id(clip_id, view) for clip_id in ids for view in range(num_views)],
            "label": [label for label in labels for _ in range(num_views)],
            "codes": [codes for views_of_clip in zip(*views, strict=True) for codes in views_of_clip],
        }

    tokens = mels.with_format("numpy").map(
        encode,
        batched=True,
        batch_size=batch_size,
        remove_columns=mels.column_names,
        features=features,
        cache_file_name=str(cache_file),
        load_from_cache_file=False,
        new_fingerprint=uuid.uuid4().hex,
        desc="Mels to codes",
    )
    return tokens.with_format(None)


def _report(tokens: DatasetDict, config: MelVQConfig) -> dict:
    return {
        "rows": {split: rows.num_rows for split, rows in tokens.items()},
        "different_codes": {split: _count_codes(rows, config.codebook_size) for split, rows in tokens.items()},
        "codebook_size": config.codebook_size,
        "num_codes": config.num_codes,
    }


def _log_report(report: dict, output_dir: str | Path) -> None:
    logger.info(
        "Wrote %s: %s rows of %d codes in %.1f s; the training rows use %d of %d codes.",
        output_dir,
        " + ".join(f"{count} {split}" for split, count in report["rows"].items()),
        report["num_codes"],
        report["seconds"],
        report["different_codes"]["train"],
        report["codebook_size"],
    )


def _count_codes(tokens: Dataset, codebook_size: int) -> int:
    used = np.zeros(codebook_size, dtype=bool)
    for batch in tokens.with_format("numpy").iter(batch_size=1000):
        used[np.unique(batch["codes"])] = True
    return int(used.sum())


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_token_dataset`]."""
    parser = argparse.ArgumentParser(
        description="Encode a mel dataset with a trained audio tokenizer into codes, the input of train_gpt."
    )
    parser.add_argument("--dataset_path", required=True, help="mel dataset, as written by build_audio_folder")
    parser.add_argument(
        "--audio_tokenizer", required=True, help="audio tokenizer, as written by train_audio_tokenizer (or a Hub name)"
    )
    add_output_arguments(parser)
    parser.add_argument(
        "--num_views",
        type=int,
        default=1,
        help="rows per training clip: the clip and copies of it shifted in time, good for small data sets "
        "(default: %(default)s)",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="clips encoded at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shifts (default: %(default)s)")
    run_build(parser, build_token_dataset, argv)


if __name__ == "__main__":
    main()

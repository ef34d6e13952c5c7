"""How does a mel dataset become a token dataset, the input of the GPT trainings?"""

import argparse
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Array2D, Dataset, DatasetDict, Features, List, Value, load_from_disk

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts.arrow_shards import Shard
from melspec_gpt.datasets_scripts.build_arguments import add_output_arguments, run_build
from melspec_gpt.datasets_scripts.description_card import write_dataset_card
from melspec_gpt.datasets_scripts.description_facts import sum_up_codes
from melspec_gpt.datasets_scripts.sharded_build import build_sharded
from melspec_gpt.datasets_scripts.token_encoding import MelFile, TokenJob
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.audio_tokenizer_files import named_audio_tokenizer
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

logger = logging.getLogger(__name__)

# What an audio tokenizer's config says about where it comes from, and not about what it does.
ORIGIN_FIELDS = ("_name_or_path", "transformers_version", "auto_map", "dtype")


def build_token_dataset(
    dataset_path: str | Path,
    audio_tokenizer: str | Path,
    output_dir: str | Path,
    num_views: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """
    Encodes a mel dataset: a `DatasetDict` with the splits of the mels and the columns `id`, `label` and `codes` (a
    list of `num_codes` codes, time-major, in the smallest unsigned type that holds the codebook), beside it
    `preprocessor_config.json`, `build_report.json` and a card, `README.md`. Under `accelerate launch` its processes
    share the work, each on a GPU of its own where there are some. A killed build goes on where it stopped when it is
    repeated, see [`build_sharded`].

    The number of processes changes no code. Other hardware, and another `batch_size`, round sums differently, so that
    a latent half-way between two entries of the codebook may get the other one.

    Args:
        dataset_path (`str` or `Path`): the mel dataset, see [`build_mel_dataset`].
        audio_tokenizer (`str` or `Path`): folder (or Hub name) of a [`MelVQModel`].
        output_dir (`str` or `Path`): the folder to write.
        num_views (`int`): rows made of each training clip. View 0 (id `clip`) is the clip itself; view n (id
            `clip@n`) is the clip rolled in time, so that it begins with another of its audible frames, before its
            centre is cut out: a small data set gives more different sentences. The other splits have one row per clip.
        batch_size (`int`): clips encoded at once.
        seed (`int`): seed of the rolls. The rolls of a clip depend on it and the clip's id, on nothing else.
        num_proc (`int`): worker processes, each with one thread and the audio tokenizer in memory; `None` for none.
        overwrite (`bool`): whether to replace an earlier build.

    Returns:
        The report that is written: rows and different codes per split.

    Raises:
        ValueError: if `dataset_path` is no mel dataset, if its geometry does not fit the audio tokenizer, or if the
            output folder must not be written.
        OSError: as in [`build_sharded`].
    """
    mels, feature_extractor = load_mel_dataset(dataset_path)
    _check_counts(num_views, batch_size, feature_extractor.num_mel_frames)
    model = named_audio_tokenizer(audio_tokenizer)
    config = model.config
    check_geometry(feature_extractor, config)
    settings = {
        "num_views": num_views,
        "batch_size": batch_size,
        "seed": seed,
        "audio_tokenizer": _digest_model(model),
        "sources": _digest_dataset(Path(dataset_path), mels),
    }
    job = TokenJob(
        files={split: _mel_files(rows) for split, rows in mels.items()},
        features=_features(mels["train"].features["label"], config),
        audio_tokenizer=str(audio_tokenizer),
        feature_extractor=feature_extractor,
        num_views=num_views,
        batch_size=batch_size,
        seed=seed,
    )
    splits = {split: range(rows.num_rows) for split, rows in mels.items()}
    del mels, model  # what is mapped into memory, and weights that the processes load for themselves

    def finish(folder: Path, shards: list[tuple[Shard, dict[str, Any]]]) -> dict[str, Any]:
        feature_extractor.save_pretrained(folder, save_code=False)
        counted = _report(shards, config, feature_extractor, job.features["label"].names)
        report = counted | {"num_views": num_views, "seed": seed}
        write_dataset_card(folder, report)
        _log_report(report)
        return report

    return build_sharded(output_dir, dataset_path, splits, settings, job, finish, num_proc, overwrite)


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


def _check_counts(num_views: int, batch_size: int, num_mel_frames: int) -> None:
    if not 1 <= num_views <= num_mel_frames:
        raise ValueError(
            f"`num_views` is {num_views}; it has to be 1 to {num_mel_frames}, as many as a clip has mel frames."
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}; it has to be at least 1.")


def _features(label: Any, config: MelVQConfig) -> Features:
    code_type = Value(str(np.min_scalar_type(config.codebook_size - 1)))
    return Features({"id": Value("string"), "label": label, "codes": List(code_type, length=config.num_codes)})


def _mel_files(rows: Dataset) -> list[MelFile]:
    paths = [file["filename"] for file in rows.cache_files]
    return [MelFile(path, Dataset.from_file(path).num_rows) for path in paths]


def _digest_model(model: MelVQModel) -> str:
    """A text that changes with the config and the weights of the audio tokenizer."""
    config = {name: value for name, value in model.config.to_dict().items() if name not in ORIGIN_FIELDS}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weights in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _digest_dataset(dataset_path: Path, mels: DatasetDict) -> str:
    """A text that changes with the mels: the fingerprint and the columns of each split, and the sizes of its files."""
    digest = hashlib.sha256()
    for split, rows in mels.items():
        digest.update(split.encode())
        for name in ("state.json", "dataset_info.json"):
            digest.update(Path(dataset_path, split, name).read_bytes())
        sizes = [Path(file["filename"]).stat().st_size for file in rows.cache_files]
        digest.update(json.dumps(sizes).encode())
    return digest.hexdigest()


def _report(
    shards: list[tuple[Shard, dict[str, Any]]],
    config: MelVQConfig,
    feature_extractor: MelFeatureExtractor,
    class_names: list[str],
) -> dict[str, Any]:
    rows: dict[str, int] = {}
    code_counts: dict[str, np.ndarray] = {}
    label_counts: dict[str, np.ndarray] = {}
    for shard, record in shards:
        rows[shard.split] = rows.get(shard.split, 0) + record["rows"]
        for counts, name in ((code_counts, "code_counts"), (label_counts, "label_counts")):
            counts[shard.split] = counts.get(shard.split, 0) + np.array(record["notes"][name])
    return {
        "rows": rows,
        "rows_per_class": {
            name: {split: int(counts[label]) for split, counts in label_counts.items()}
            for label, name in enumerate(class_names)
        },
        "codebook_size": config.codebook_size,
        "num_codes": config.num_codes,
        "clip_seconds": feature_extractor.num_samples / feature_extractor.sampling_rate,
        **sum_up_codes(code_counts),
    }


def _log_report(report: dict[str, Any]) -> None:
    logger.info(
        "The token dataset has %s rows of %d codes; the training rows use %d of %d codes.",
        " + ".join(f"{count} {split}" for split, count in report["rows"].items()),
        report["num_codes"],
        report["different_codes"]["train"],
        report["codebook_size"],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`build_token_dataset`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Encode a mel dataset with a trained audio tokenizer into codes, the input of train_gpt. With "
        "several GPUs: accelerate launch -m melspec_gpt.datasets_scripts.token_dataset ...",
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
    parser.add_argument(
        "--num_proc", type=int, default=None, help="worker processes on the CPU (default: one, without workers)"
    )
    run_build(parser, build_token_dataset, argv)


if __name__ == "__main__":
    main()

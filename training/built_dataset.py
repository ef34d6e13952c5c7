"""What does a training read? The splits that a builder wrote, with the columns the training needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from melspec_gpt.training.shard_index import INDEX_NAME, read_index
from melspec_gpt.training.sharded_rows import ShardedRows

REPORT_NAME = "build_report.json"
Splits = Mapping[str, Dataset | ShardedRows]


def load_built_dataset(dataset_path: str | Path, columns: list[str], streaming: bool = False) -> Splits:
    """
    A dataset as torch tensors.

    Args:
        dataset_path: folder written by one of the builders or by push_to_hub, or the name of a dataset on the Hub.
        columns: columns to read.
        streaming: whether the training split is to be read shard by shard, see [`ShardedRows`]. Of a dataset on the
            Hub, each process then fetches only the shards it reads.

    Returns:
        `DatasetDict`, or with `streaming` a dictionary of [`ShardedRows`] for `train` and a `Dataset` for each other
        split.

    Raises:
        ValueError: if there is no such dataset, if the training split or a column is missing, if a split has no rows,
            or if codes or classes are not what they have to be, or not the same in every split.
    """
    splits = _streamed_splits(dataset_path, columns) if streaming else _whole_splits(dataset_path)
    if not isinstance(splits, dict) or "train" not in splits:
        raise ValueError(f"`dataset_path` {str(dataset_path)!r} holds no DatasetDict with the split `train`.")
    for split, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"`dataset_path` {str(dataset_path)!r}: the split {split} has no rows; leave it out.")
        missing = [column for column in columns if column not in rows.column_names]
        if missing:
            raise ValueError(
                f"`dataset_path` {str(dataset_path)!r}: the split {split} has the columns {rows.column_names}, but "
                f"{missing} are needed. Is it the output of the right builder?"
            )
    features = {split: {name: rows.features[name] for name in columns} for split, rows in splits.items()}
    for split in splits:
        _check_features(f"`dataset_path` {str(dataset_path)!r}", split, features[split], features["train"])
    if isinstance(splits, DatasetDict):
        return splits.with_format("torch", columns=columns)
    return {
        split: rows if isinstance(rows, ShardedRows) else rows.with_format("torch", columns=columns)
        for split, rows in splits.items()
    }


def class_names(splits: Splits) -> list[str]:
    """
    Names of the classes in the order of their numbers.

    Raises:
        ValueError: if the column `label` has no names.
    """
    label = splits["train"].features["label"]
    if not isinstance(label, ClassLabel):
        raise ValueError(
            f"The column `label` is of type {label}; expected a ClassLabel with the names of the classes: use "
            'dataset.cast_column("label", ClassLabel(names=NAMES_OF_CLASSES)).'
        )
    return label.names


def _check_features(place: str, split: str, features: dict[str, Any], train_features: dict[str, Any]) -> None:
    """Whether codes and classes of a split are what the trainings read, and those of the training split."""
    codes, label, train_label = features.get("codes"), features.get("label"), train_features.get("label")
    if codes is not None and not _is_sentence(codes):
        raise ValueError(
            f"{place}: `codes` of the split {split} is a {codes}; expected whole numbers, as many in every clip: use "
            'dataset.cast_column("codes", List(Value("uint16"), length=NUMBER_OF_CODES)).'
        )
    if codes is not None and codes.length != train_features["codes"].length:
        raise ValueError(
            f"{place}: a clip has {codes.length} codes in the split {split}, but {train_features['codes'].length} in "
            "train. Encode both with one audio tokenizer: datasets_scripts.token_dataset."
        )
    if label != train_label:
        here, there = (getattr(feature, "names", feature) for feature in (label, train_label))
        raise ValueError(
            f"{place}: the classes of the split {split} are {here}, but those of train are {there}. Give both one "
            "ClassLabel, in one order."
        )


def _is_sentence(feature) -> bool:
    is_list = isinstance(feature, List) and feature.length > 0 and isinstance(feature.feature, Value)
    return is_list and "int" in feature.feature.dtype


def _whole_splits(dataset_path: str | Path) -> DatasetDict:
    try:
        if _is_published(dataset_path):
            return load_dataset(str(dataset_path))
        return load_from_disk(str(dataset_path))
    except (HTTPError, IndexError, OSError, ValueError) as error:
        raise ValueError(_reason(dataset_path, error)) from error


def _streamed_splits(dataset_path: str | Path, columns: list[str]) -> dict[str, Dataset | ShardedRows]:
    try:
        if not _is_published(dataset_path):
            splits = load_from_disk(str(dataset_path))
            if not isinstance(splits, DatasetDict) or "train" not in splits:
                return {}
            return {**splits, "train": ShardedRows.from_dataset(splits["train"], columns)}
        shards = read_index(dataset_path)
        return {
            split: ShardedRows(files, columns)
            if split == "train"
            else concatenate_datasets([file.open() for file in files])
            for split, files in shards.items()
        }
    except (HTTPError, IndexError, OSError, ValueError) as error:
        raise ValueError(_reason(dataset_path, error)) from error


def _is_published(dataset_path: str | Path) -> bool:
    """Whether it is a dataset as push_to_hub makes it, in a folder or on the Hub, and not one that a builder wrote."""
    if Path(dataset_path).exists():
        return Path(dataset_path, INDEX_NAME).is_file()
    user, _, name = str(dataset_path).partition("/")
    try:
        validate_repo_id(str(dataset_path))
    except ValueError:
        return False
    return bool(user and name)


def _reason(dataset_path: str | Path, error: Exception) -> str:
    """Why there is no dataset, as a sentence."""
    start = f"`dataset_path` {str(dataset_path)!r} holds no dataset:"
    if isinstance(error, (DatasetNotFoundError, RepositoryNotFoundError)):
        return (
            f"{start} there is neither such a folder nor such a dataset on the Hub, or your token may not see it. "
            "Check the name, and for a private one run `hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return (
            f"{start} on the Hub it has no {INDEX_NAME}, which streaming needs. Publish it with `push_to_hub "
            "--dataset`, or leave out `streaming`."
        )
    if isinstance(error, IndexError):
        return f"{start} a split of it has no rows; leave that split out."
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, HfHubHTTPError):
        return f"{start} the Hub answered {error.response.status_code}: {error.server_message or message}"
    return f"{start} {message}"

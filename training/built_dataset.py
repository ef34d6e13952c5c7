"""What does a training read? The splits that a builder wrote, with the columns the training needs."""

from pathlib import Path

from datasets import ClassLabel, DatasetDict, load_from_disk


def load_built_dataset(dataset_path: str | Path, columns: list[str]) -> DatasetDict:
    """
    A dataset from disk as torch tensors.

    Args:
        dataset_path: folder written by one of the builders.
        columns: columns to read.

    Raises:
        ValueError: if the folder holds no `DatasetDict`, or if the training split or a column is missing.
    """
    try:
        splits = load_from_disk(str(dataset_path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"`dataset_path` {str(dataset_path)!r} holds no dataset: {error}") from error
    if not isinstance(splits, DatasetDict) or "train" not in splits:
        raise ValueError(f"`dataset_path` {str(dataset_path)!r} holds no DatasetDict with the split `train`.")
    for split, rows in splits.items():
        missing = [column for column in columns if column not in rows.column_names]
        if missing:
            raise ValueError(
                f"`dataset_path` {str(dataset_path)!r}: the split {split} has the columns {rows.column_names}, but "
                f"{missing} are needed. Is it the output of the right builder?"
            )
    return splits.with_format("torch", columns=columns)


def class_names(splits: DatasetDict) -> list[str]:
    """
    Names of the classes in the order of their numbers.

    Raises:
        ValueError: if the column `label` has no names.
    """
    label = splits["train"].features["label"]
    if not isinstance(label, ClassLabel):
        raise ValueError(
            f"The column `label` is of type {label}; expected a ClassLabel with the names of the classes."
        )
    return label.names

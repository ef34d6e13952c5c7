"""What do the trainings on codes need to know of a token dataset: its processor, and how hard its codes are alone?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset

from melspec_gpt.tokenization.audio_tokenizer_files import named_audio_tokenizer
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer
from melspec_gpt.training.arguments import read_json_object
from melspec_gpt.training.built_dataset import REPORT_NAME, Splits, class_names
from melspec_gpt.training.sharded_rows import ShardedRows

STREAMED_ROWS = 50_000


def build_processor(
    audio_tokenizer: str, splits: Splits, class_token: bool = True, dataset_path: str | None = None
) -> MelGPTProcessor:
    """
    The processor of the final checkpoint: the audio tokenizer with its feature extractor, and a vocabulary of the
    classes of the dataset.

    Args:
        audio_tokenizer (`str`): folder (or Hub name).
        splits ([`Splits`]): codes and labels.
        class_token (`bool`): whether the model's sentences begin with a class token.
        dataset_path (`str`, *optional*): where the splits come from; if its report is there, it tells whether they are
            codes of another codebook.

    Raises:
        ValueError: if there is no such audio tokenizer with a feature extractor, if the codes of the dataset are not
            its codes, or if a clip has no class.
    """
    model = named_audio_tokenizer(audio_tokenizer)
    try:
        feature_extractor = MelFeatureExtractor.from_pretrained(audio_tokenizer)
    except OSError as error:
        raise ValueError(f"`audio_tokenizer` {audio_tokenizer!r} has no feature extractor: {error}") from error
    length = splits["train"].features["codes"].length
    if length != model.config.num_codes:
        raise ValueError(
            f"`dataset_path` holds sentences of {length} codes, but `audio_tokenizer` {audio_tokenizer!r} makes "
            f"{model.config.num_codes}. Encode the clips with it: datasets_scripts.token_dataset."
        )
    if dataset_path is not None:
        check_codebook(dataset_path, model.config.codebook_size)
    names = class_names(splits)
    for split, rows in splits.items():
        check_labels(rows, split, num_classes=len(names))
    return MelGPTProcessor(
        feature_extractor,
        MelCodeTokenizer(codebook_size=model.config.codebook_size, class_names=names),
        audio_tokenizer=model,
        class_token=class_token,
    )


def check_codebook(dataset_path: str | Path, codebook_size: int) -> None:
    """
    Whether the report of a token dataset, where there is one, tells of a codebook of this size.

    Raises:
        ValueError: if it is another, or if the report is no JSON object.
    """
    path = Path(dataset_path, REPORT_NAME)
    reported = read_json_object(path).get("codebook_size") if path.is_file() else None
    if reported not in (None, codebook_size):
        raise ValueError(
            f"The codes in `dataset_path` {str(dataset_path)!r} are of a codebook of {reported} entries, but that of "
            f"`audio_tokenizer` has {codebook_size}. Encode the clips with it: datasets_scripts.token_dataset."
        )


def count_codes(rows: Dataset | ShardedRows, codebook_size: int) -> np.ndarray:
    """
    How often each code occurs; of a streamed split in some of its shards, so that the others need not be fetched.

    Raises:
        ValueError: if there are values beyond the codebook, or clips without all their codes.
    """
    counts = np.zeros(codebook_size, dtype=np.int64)
    for codes in _column(rows, "codes"):
        if not np.issubdtype(codes.dtype, np.integer):  # as it is where some are missing
            raise ValueError("`dataset_path` holds a clip whose `codes` are missing, all or some. Leave it out.")
        for wrong in codes[(codes < 0) | (codes >= codebook_size)][:1]:
            raise ValueError(
                f"`dataset_path` holds the code {wrong}, but the codebook of `audio_tokenizer` has {codebook_size} "
                "entries, from 0 on. Encode the clips with it: datasets_scripts.token_dataset."
            )
        counts += np.bincount(codes.ravel(), minlength=codebook_size)
    return counts


def check_labels(rows: Dataset | ShardedRows, split: str, num_classes: int) -> None:
    """
    Whether every clip has a class; of a streamed split in some of its shards.

    Raises:
        ValueError: if a label is missing, or -1, which stands for none.
    """
    first_row = 0
    for labels in _column(rows, "label"):
        labels = labels.astype(float)  # a missing one is NaN
        for row in np.flatnonzero(~((labels >= 0) & (labels < num_classes)))[:1]:
            raise ValueError(
                f"`dataset_path`: row {first_row + row} of the split {split} has the `label` "
                f"{'None' if np.isnan(labels[row]) else int(labels[row])}, which is none of the {num_classes} "
                "classes. Give the clip a class, or leave it out."
            )
        first_row += len(labels)


def _column(rows: Dataset | ShardedRows, name: str) -> Iterator[np.ndarray]:
    """The values of a column, in portions; of a streamed split those of some shards."""
    for part in rows.some_shards(STREAMED_ROWS) if isinstance(rows, ShardedRows) else [rows]:
        for batch in part.with_format("numpy", columns=[name]).iter(batch_size=1000):
            yield batch[name]


def unigram_nats_per_code(train_counts: np.ndarray, validation_counts: np.ndarray) -> float:
    """What a model without any context reaches: cross entropy of the add-one smoothed training distribution."""
    probabilities = (train_counts + 1) / (train_counts + 1).sum()
    return float(-(validation_counts * np.log(probabilities)).sum() / validation_counts.sum())


def unigram_baseline(splits: Splits, codebook_size: int) -> float | None:
    """
    [`unigram_nats_per_code`] of the validation split, `None` if there is none.

    Raises:
        ValueError: if a split holds values beyond the codebook.
    """
    counts = {split: count_codes(rows, codebook_size) for split, rows in splits.items()}
    return unigram_nats_per_code(counts["train"], counts["validation"]) if "validation" in counts else None

"""What do the trainings on codes need to know of a token dataset: its processor, and how hard its codes are alone?"""

import numpy as np
from datasets import Dataset
from transformers.models.auto.modeling_auto import AutoModelForAudioTokenization

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer
from melspec_gpt.training.built_dataset import Splits, class_names
from melspec_gpt.training.sharded_rows import ShardedRows

STREAMED_ROWS = 50_000


def build_processor(audio_tokenizer: str, splits: Splits, class_token: bool = True) -> MelGPTProcessor:
    """
    The processor of the final checkpoint: the audio tokenizer with its feature extractor, and a vocabulary of the
    classes of the dataset.

    Args:
        audio_tokenizer (`str`): folder (or Hub name).
        splits ([`Splits`]): codes and labels.
        class_token (`bool`): whether the model's sentences begin with a class token.

    Raises:
        ValueError: if the codes of the dataset are not of the audio tokenizer's length.
    """
    model = AutoModelForAudioTokenization.from_pretrained(audio_tokenizer)
    length = splits["train"].features["codes"].length
    if length != model.config.num_codes:
        raise ValueError(
            f"`dataset_path` holds sentences of {length} codes, but `audio_tokenizer` {audio_tokenizer!r} makes "
            f"{model.config.num_codes}. Encode the clips with it: datasets_scripts.token_dataset."
        )
    return MelGPTProcessor(
        MelFeatureExtractor.from_pretrained(audio_tokenizer),
        MelCodeTokenizer(codebook_size=model.config.codebook_size, class_names=class_names(splits)),
        audio_tokenizer=model,
        class_token=class_token,
    )


def count_codes(rows: Dataset | ShardedRows, codebook_size: int) -> np.ndarray:
    """
    How often each code occurs; of a streamed split in some of its shards, so that the others need not be fetched.

    Raises:
        ValueError: if there are values beyond the codebook.
    """
    counts = np.zeros(codebook_size, dtype=np.int64)
    for part in rows.some_shards(STREAMED_ROWS) if isinstance(rows, ShardedRows) else [rows]:
        for batch in part.with_format("numpy", columns=["codes"]).iter(batch_size=1000):
            found = np.bincount(batch["codes"].ravel(), minlength=codebook_size)
            if len(found) > codebook_size:
                raise ValueError(
                    f"`dataset_path` holds the code {len(found) - 1}, but the codebook of `audio_tokenizer` has "
                    f"{codebook_size} entries. Encode the clips with it: datasets_scripts.token_dataset."
                )
            counts += found
    return counts


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

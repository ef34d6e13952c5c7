"""What is reported of a mel dataset that has been built?"""

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from melspec_gpt.datasets_scripts.arrow_shards import Shard
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.description_facts import sum_up_clips
from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE

logger = logging.getLogger(__name__)

REASONS_SHOWN = 10


def mel_report(
    shards: list[tuple[Shard, dict[str, Any]]],
    class_names: list[str],
    clip_seconds: float,
    listing: AudioListing,
    leaks: list[str],
    require_train: bool = True,
) -> dict[str, Any]:
    """
    Sums up the records of the shards.

    Args:
        shards (`list`): each shard with its record, whose notes hold `left_out`, `labels` (one per row) and `facts`
            (row id -> [`clip_facts`]).
        class_names (`list[str]`): all classes in label order.
        clip_seconds (`float`): length of every clip, s.
        listing (`AudioListing`): what was found, with what was left out of it.
        leaks (`list[str]`): warnings about recordings in more than one split.
        require_train (`bool`): whether there have to be training clips.

    Raises:
        ValueError: if there is no clip, or no training clip where one is required.
    """
    left_out = listing.left_out + [entry for _, record in shards for entry in record["notes"]["left_out"]]
    counts = {shard.split: np.zeros(len(class_names), dtype=np.int64) for shard, _ in shards}
    for shard, record in shards:
        labels = np.array(record["notes"]["labels"], dtype=np.int64)
        counts[shard.split] += np.bincount(labels, minlength=len(class_names))
    clips = {split: int(numbers.sum()) for split, numbers in counts.items() if numbers.any()}
    if "train" not in clips and (require_train or not clips):
        raise ValueError(
            f"No clip is left for training: {sum(clips.values())} could be read, none of them in the split train, and "
            f"{len(left_out)} were left out; train needs at least one that can be read. "
            f"{first_reasons(left_out)}".rstrip()
        )
    per_class = {
        name: {split: int(counts[split][label_id]) for split in clips} for label_id, name in enumerate(class_names)
    }
    return {
        "clips": clips,
        "clips_per_class": per_class,
        "num_left_out": len(left_out),
        "left_out": left_out,
        "num_missing": len(listing.missing),
        "missing": listing.missing,
        "warnings": listing.warnings + leaks + _class_warnings(shards, per_class),
        **sum_up_clips(_facts_of_rows(shards, class_names), class_names, clip_seconds),
    }


def log_report(report: dict[str, Any]) -> None:
    """Tells the user the main points of a report."""
    for warning in report["warnings"]:
        logger.warning(warning)
    for entry in report["left_out"][:REASONS_SHOWN]:
        logger.warning("Left out %s: %s", entry["file"], entry["reason"])
    num_leaks = sum(len(group) > 1 for group in report["near_duplicates"])
    if num_leaks:
        logger.warning("Clips in different splits sound the same: %d groups, see %s.", num_leaks, REPORT_FILE)
    logger.info(
        "The mel dataset has %s clips of %d classes. Files left out: %d%s.",
        " + ".join(f"{count} {split}" for split, count in report["clips"].items()),
        len(report["clips_per_class"]),
        report["num_left_out"],
        f" (see {REPORT_FILE})" if report["left_out"] else "",
    )


def first_reasons(left_out: list[dict[str, str]]) -> str:
    """The first files that were left out, with the reason of each."""
    return "; ".join(f"{entry['file']}: {entry['reason']}" for entry in left_out[:REASONS_SHOWN])


def _facts_of_rows(
    shards: list[tuple[Shard, dict[str, Any]]], class_names: list[str]
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Split, id, class and facts of every row."""
    for shard, record in shards:
        notes = record["notes"]
        for label, (row_id, facts) in zip(notes["labels"], notes["facts"].items(), strict=True):
            yield shard.split, row_id, class_names[label], facts


def _class_warnings(shards: list[tuple[Shard, dict[str, Any]]], per_class: dict[str, dict[str, int]]) -> list[str]:
    """Sentences about classes without any clip, for training or, where their files cannot be read, for a split."""
    files = Counter((clip.label, shard.split) for shard, _ in shards for clip in shard.items)
    splits = dict.fromkeys(shard.split for shard, _ in shards)  # also those that no clip is left of
    if not any("train" in numbers for numbers in per_class.values()):
        return ["There is no training clip: the dataset is for evaluation only."]
    warnings = []
    for name, numbers in per_class.items():
        unread = [split for split in splits if files[name, split] and not numbers.get(split)]
        if unread and not any(numbers.values()):
            warnings.append(f"No clip of {name!r} can be read; the class stays, without clips.")
        elif not numbers["train"]:
            count = files[name, "train"]
            reason = f": none of its {count} files for training can be read" if count else ""
            warnings.append(f"The class {name!r} has no training clip{reason}.")
        elif unread:
            warnings.append(f"No file for {', '.join(unread)} of the class {name!r} can be read.")
    return warnings

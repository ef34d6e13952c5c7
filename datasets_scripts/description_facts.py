"""What is noted of every clip while a dataset is built, and what does that sum up to?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from melspec_gpt.datasets_scripts.description_levels import SILENCE_LEVEL, frame_levels, mean_level
from melspec_gpt.datasets_scripts.near_duplicates import HASH_BITS, mel_hash, near_duplicate_groups

LEVEL_DIGITS = 2
SHARE_DIGITS = 4


def clip_facts(mel: np.ndarray) -> dict[str, float | str | None]:
    """
    What is noted of one clip, ready for JSON.

    Args:
        mel (`np.ndarray` of shape `(bands, frames)`): as stored, in [0, 1].

    Returns:
        `level` (dBFS, estimated from the mel, see [`frame_levels`]; `None` for a clip that is silent throughout),
        `silent_share` (share of the frames below `SILENCE_LEVEL`), `hash` (see [`mel_hash`], as hexadecimal digits;
        `None` for a silent clip).
    """
    levels = frame_levels(mel)
    silent = levels < SILENCE_LEVEL
    number = mel_hash(mel)
    return {
        "level": None if silent.all() else round(mean_level(levels), LEVEL_DIGITS),
        "silent_share": round(float(silent.mean()), SHARE_DIGITS),
        "hash": None if number is None else f"{number:0{HASH_BITS // 4}x}",
    }


def sum_up_clips(
    rows: Iterable[tuple[str, str, str, dict[str, Any]]], class_names: Sequence[str], clip_seconds: float
) -> dict[str, Any]:
    """
    The part of a report that describes the mels of a dataset.

    Args:
        rows (iterable of `tuple`): split, id, class name and [`clip_facts`] of every clip.
        class_names (`Sequence[str]`): all classes in label order.
        clip_seconds (`float`): length of every clip, s.

    Returns:
        `clip_seconds`; `facts` of all clips and `facts_per_class`, see [`ClipSums.as_dict`]; `silent_clips` (ids);
        `near_duplicates`, see [`near_duplicate_groups`].
    """
    total, classes = ClipSums(), {name: ClipSums() for name in class_names}
    silent_clips, hashes, split_of_clip = [], {}, {}
    for split, clip_id, class_name, facts in rows:
        total.add(facts)
        classes[class_name].add(facts)
        if facts["hash"] is None:
            silent_clips.append(clip_id)
        else:
            hashes[clip_id] = int(facts["hash"], 16)
            split_of_clip[clip_id] = split
    return {
        "clip_seconds": clip_seconds,
        "facts": total.as_dict(),
        "facts_per_class": {name: sums.as_dict() for name, sums in classes.items()},
        "silent_clips": silent_clips,
        "near_duplicates": near_duplicate_groups(hashes, split_of_clip),
    }


def sum_up_codes(counts_of_splits: dict[str, np.ndarray]) -> dict[str, Any]:
    """
    The part of a report that describes the codes of a dataset.

    Args:
        counts_of_splits (`dict[str, np.ndarray]`): split -> how often each code of the codebook occurs.

    Returns:
        `code_counts`, `different_codes` and `perplexity`, each by split.
    """
    return {
        "code_counts": {split: counts.tolist() for split, counts in counts_of_splits.items()},
        "different_codes": {split: int((counts > 0).sum()) for split, counts in counts_of_splits.items()},
        "perplexity": {split: round(perplexity(counts), 2) for split, counts in counts_of_splits.items()},
    }


def perplexity(counts: np.ndarray) -> float:
    """Number of equally frequent codes that would be as hard to guess: exp of the entropy of `counts`."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass
class ClipSums:
    """Running sums over [`clip_facts`]: memory does not depend on the number of clips."""

    num_clips: int = 0
    num_silent: int = 0
    silent_share: float = 0.0
    level: float = 0.0
    quietest: float = field(default=float("inf"))
    loudest: float = field(default=float("-inf"))

    def add(self, facts: dict[str, Any]) -> None:
        """Adds one clip."""
        self.num_clips += 1
        self.silent_share += facts["silent_share"]
        if facts["level"] is None:
            self.num_silent += 1
            return
        self.level += facts["level"]
        self.quietest = min(self.quietest, facts["level"])
        self.loudest = max(self.loudest, facts["level"])

    def as_dict(self) -> dict[str, Any]:
        """
        `clips`; `level`, dBFS, as `mean`, `min` and `max` over the clips that are not silent (`None` without any);
        `silent_share` of all frames; `silent_clips`, a count.
        """
        num_heard = self.num_clips - self.num_silent
        level = {"mean": self.level / num_heard, "min": self.quietest, "max": self.loudest} if num_heard else None
        return {
            "clips": self.num_clips,
            "level": level and {name: round(value, LEVEL_DIGITS) for name, value in level.items()},
            "silent_share": round(self.silent_share / max(self.num_clips, 1), SHARE_DIGITS),
            "silent_clips": self.num_silent,
        }

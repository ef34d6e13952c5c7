"""
Which clips of a data set are the same sound, perhaps coded again, louder, or with some noise?

Measured on the 318 clips of ESC-10 (folds 1 to 4, 5 s, float16 mels) at `MAX_DISTANCE` = 12 of 128 bits. Clips found
again after: MP3 at 78 kbit/s 100 %, MP3 at 42 kbit/s 98.4 %, Ogg Vorbis at 67 kbit/s 100 %, a gain of +6 dB with
clipping 99.7 %, of -6 dB 100 %, noise 30 dB below the sound 99.7 %, 20 dB below it 96.2 %, resampling to 16 kHz
98.1 %, a delay of 20 ms 85.2 %; longer delays and other cuts were not tried. Of 50 403 pairs of different clips one
was reported, which is one recording under two numbers (2-28314-A and 2-30322-A); the next pair differs in 28 bits. The
coefficients, the dynamic range and the limit were chosen by these same figures, so other sounds may do worse.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from melspec_gpt.datasets_scripts.description_levels import SCALE_DECIBELS, SILENCE_LEVEL, frame_levels

HASH_BITS = 128
# Pairs that differ in at most so many bits are taken for the same sound.
MAX_DISTANCE = 12
# What lies further below the loudest cell of a clip counts as this: it is noise of the room or of the codec.
DYNAMIC_RANGE_DECIBELS = 50
# Pairs compared at once, which bounds the memory.
PAIRS_IN_MEMORY = 200_000
WORD_BITS = 64
BIT_COUNTS = np.array([number.bit_count() for number in range(2**16)], dtype=np.uint8)


def mel_hash(mel: np.ndarray) -> int | None:
    """
    Perceptual hash of a mel: the signs of its lowest `HASH_BITS` cosine coefficients without the constant one, which
    makes it independent of the level. `None` for a clip that is silent throughout.

    Args:
        mel (`np.ndarray` of shape `(bands, frames)`): as stored, in [0, 1].
    """
    if frame_levels(mel).max() < SILENCE_LEVEL:
        return None
    mel = np.asarray(mel, dtype=np.float32)
    loudest = mel.max()
    heard = np.maximum(mel, loudest - DYNAMIC_RANGE_DECIBELS / SCALE_DECIBELS) - loudest
    rows, columns = LOWEST_COEFFICIENTS.T
    coefficients = _cosines(rows.max() + 1, mel.shape[0]) @ heard @ _cosines(columns.max() + 1, mel.shape[1]).T
    return int.from_bytes(np.packbits(coefficients[rows, columns] > 0).tobytes(), "big")


def find_near_duplicates(hashes: Mapping[str, int | None], max_distance: int = MAX_DISTANCE) -> list[tuple[str, str]]:
    """
    The clips that sound like an earlier one, as pairs (first clip of the group, another of it). A group holds all
    clips that can be reached from one another by steps of at most `max_distance` bits. There are fewer pairs than
    clips, and they do not depend on how they were found.

    The bits are divided into parts, so many that two close hashes differ in at most one bit of at least one part: only
    such pairs are compared. 200 000 clips take 3 s of one core, and memory in proportion to their number, 50 MB.

    Args:
        hashes (`Mapping[str, int | None]`): clip -> its [`mel_hash`]; clips with `None` are left out.
        max_distance (`int`): bits in which near-duplicates may differ.
    """
    names = [name for name, number in hashes.items() if number is not None]
    if not names:
        return []
    words = _to_words([hashes[name] for name in names])
    distinct, inverse = np.unique(words, axis=0, return_inverse=True)
    groups = _Groups(len(distinct))
    for first, second in _candidates(distinct, max(max_distance // 2 + 1, HASH_BITS // WORD_BITS)):
        apart = groups.roots[first] != groups.roots[second]
        first, second = first[apart], second[apart]
        close = _distances(distinct[first], distinct[second]) <= max_distance
        groups.join(first[close], second[close])
    first_of_group: dict[int, str] = {}
    pairs = []
    for name, group in zip(names, groups.roots[inverse.reshape(-1)].tolist(), strict=True):
        first = first_of_group.setdefault(group, name)
        if first != name:
            pairs.append((first, name))
    return pairs


def near_duplicate_groups(
    hashes: Mapping[str, int | None], split_of_clip: Mapping[str, str], max_distance: int = MAX_DISTANCE
) -> list[dict[str, list[str]]]:
    """
    Groups of clips that sound the same, each as split -> clips, ready for JSON. Groups that lie in several splits,
    which spoil a comparison on held-out clips, stand first.

    Args:
        hashes, max_distance: see [`find_near_duplicates`].
        split_of_clip (`Mapping[str, str]`): the split of every clip.
    """
    members: dict[str, list[str]] = {}
    for first, other in find_near_duplicates(hashes, max_distance):
        members.setdefault(first, [first]).append(other)
    groups = []
    for clips in members.values():
        splits = defaultdict(list)
        for clip in clips:
            splits[split_of_clip[clip]].append(clip)
        groups.append(dict(splits))
    return sorted(groups, key=lambda group: len(group) == 1)


class _Groups:
    """Which of `size` things belong together: those of a group have the same root."""

    def __init__(self, size: int):
        self.roots = np.arange(size)

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Puts `first[i]` and `second[i]` into one group, for every i."""
        parents = self.roots
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            one, other = self._root(parents, one), self._root(parents, other)
            parents[max(one, other)] = min(one, other)
        while (parents[parents] != parents).any():
            parents = parents[parents]
        self.roots = parents

    @staticmethod
    def _root(parents: np.ndarray, node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = int(parents[node])
        return node


def _candidates(words: np.ndarray, num_parts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows of `words` of which at least one part differs in one bit at most, in portions, some repeatedly."""
    for part in range(num_parts):
        keys = _part_keys(words, part, num_parts)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        positions = np.arange(len(keys))
        ends = np.searchsorted(keys, keys, side="right")
        yield from _pairs_in_ranges(order, positions, positions + 1, ends)
        for bit in range(len(range(part, HASH_BITS, num_parts))):
            unset = positions[(keys >> np.uint64(bit)) & np.uint64(1) == 0]
            wanted = keys[unset] | np.uint64(1 << bit)
            starts = np.searchsorted(keys, wanted, side="left")
            ends = np.searchsorted(keys, wanted, side="right")
            yield from _pairs_in_ranges(order, unset, starts, ends)


def _pairs_in_ranges(
    order: np.ndarray, positions: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`order` at `positions[i]` with `order` at every place of `starts[i]` to `ends[i]`, in portions."""
    filled = np.flatnonzero(ends > starts)
    positions, starts, counts = positions[filled], starts[filled], (ends - starts)[filled]
    totals = np.cumsum(counts)
    done = 0
    while done < len(positions):
        before = totals[done - 1] if done else 0
        stop = max(int(np.searchsorted(totals, before + PAIRS_IN_MEMORY, side="right")), done + 1)
        portion = slice(done, stop)
        repeats = counts[portion]
        offsets = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        yield order[np.repeat(positions[portion], repeats)], order[np.repeat(starts[portion], repeats) + offsets]
        done = stop


def _part_keys(words: np.ndarray, part: int, num_parts: int) -> np.ndarray:
    """The bits `part`, `part + num_parts`, ... of every hash, as one number: neighbouring bits resemble each other."""
    keys = np.zeros(len(words), dtype=np.uint64)
    for place, bit in enumerate(range(part, HASH_BITS, num_parts)):
        word, shift = divmod(bit, WORD_BITS)
        keys |= ((words[:, word] >> np.uint64(shift)) & np.uint64(1)) << np.uint64(place)
    return keys


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of different bits, row by row."""
    return BIT_COUNTS[(first ^ second).view(np.uint16)].sum(axis=1, dtype=np.int64)


def _to_words(numbers: list[int]) -> np.ndarray:
    """Hashes as rows of 64-bit words."""
    data = b"".join(number.to_bytes(HASH_BITS // 8, "little") for number in numbers)
    return np.frombuffer(data, dtype="<u8").reshape(len(numbers), -1)


@cache
def _cosines(count: int, length: int) -> np.ndarray:
    """The first `count` rows of the discrete cosine transform (type II) of `length` values."""
    return np.cos(np.pi * np.outer(np.arange(count), np.arange(length) + 0.5) / length).astype(np.float32)


def _lowest_coefficients() -> np.ndarray:
    """(row, column) of the coefficients that are used: those with the least product of both, counted from 1."""
    places = [(row, column) for row in range(HASH_BITS) for column in range(HASH_BITS)]
    return np.array(sorted(places, key=lambda place: ((place[0] + 1) * (place[1] + 1), place))[1 : HASH_BITS + 1])


LOWEST_COEFFICIENTS = _lowest_coefficients()

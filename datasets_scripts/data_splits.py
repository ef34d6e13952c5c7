"""Which clip belongs to which split, and which clips are kept, so that no recording is on both sides of a split?"""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from melspec_gpt.datasets_scripts.audio_sources import AudioClip

SOURCES_SHOWN = 5


def stratified_splits(
    labels: Sequence[str],
    validation_fraction: float,
    seed: int,
    groups: Sequence[Hashable | None] | None = None,
    test_fraction: float = 0.0,
) -> list[str]:
    """
    "train", "validation" or "test" for each clip. Of each class the given shares (rounded) go to validation and test;
    of two or more groups validation gets at least one, of three or more test gets one too, and never all are held out.
    The choice in one class does not depend on the other classes, unless they share a group.

    Args:
        labels (`Sequence[str]`): class of each clip.
        validation_fraction, test_fraction (`float`): shares held out, each in [0, 1), together below 1.
        seed (`int`): seed of the choice.
        groups (`Sequence`, *optional*): what must stay together, such as the recording each clip was cut from; `None`
            for a clip that belongs to no group. A group of several classes counts as one of its most frequent class.

    Raises:
        ValueError: for impossible shares, or if there are not as many groups as labels.
    """
    check_fractions(validation_fraction, test_fraction)
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"`groups` has {len(groups)} entries for {len(labels)} `labels`; give one for each clip.")
    splits = ["train"] * len(labels)
    for label, units in _units_of_classes(labels, groups).items():
        wanted = _held_out_counts(units, validation_fraction, test_fraction)
        for split, chosen in _draw(units, wanted, random.Random(f"{seed}/{label}")).items():
            for position in chosen:
                splits[position] = split
    return splits


def split_clips(
    clips: Sequence[AudioClip], validation_fraction: float, seed: int, test_fraction: float = 0.0
) -> list[str]:
    """
    The split of each clip: the one it was given; else the one that another clip of its recording (`source_id`) was
    given; else one chosen by [`stratified_splits`]. Arguments as there.
    """
    given: dict[str, str] = {}
    for clip in clips:
        if clip.split is not None and clip.source_id is not None:
            given.setdefault(clip.source_id, clip.split)
    splits = [clip.split or given.get(clip.source_id) for clip in clips]
    undecided = [position for position, split in enumerate(splits) if split is None]
    chosen = stratified_splits(
        [clips[position].label for position in undecided],
        validation_fraction,
        seed,
        groups=[clips[position].source_id for position in undecided],
        test_fraction=test_fraction,
    )
    for position, split in zip(undecided, chosen, strict=True):
        splits[position] = split
    return splits


def check_no_leak(clips: Sequence[AudioClip]) -> list[str]:
    """
    Warnings about recordings (`source_id`) whose clips were given different splits, one sentence in a list, empty
    without such recordings. Given splits are kept as they are: published lists are what others compare with. Splits
    that are chosen here cannot leak, see [`split_clips`].
    """
    splits_of_source = defaultdict(set)
    for clip in clips:
        if clip.split is not None and clip.source_id is not None:
            splits_of_source[clip.source_id].add(clip.split)
    leaks = sorted(source for source, splits in splits_of_source.items() if len(splits) > 1)
    if not leaks:
        return []
    shown = ", ".join(
        f"{source!r} ({', '.join(sorted(splits_of_source[source]))})" for source in leaks[:SOURCES_SHOWN]
    )
    more = f" and {len(leaks) - SOURCES_SHOWN} more" if len(leaks) > SOURCES_SHOWN else ""
    return [
        f"{len(leaks)} recordings have clips in more than one of the given splits, so that figures on held-out clips "
        f"are too good: {shown}{more}. Give all clips of a recording one split, or leave the splits out."
    ]


def cap_per_class(clips: Sequence[AudioClip], limit: int | None, seed: int) -> list[AudioClip]:
    """
    At most `limit` clips of each class, in their order; `None` keeps all. Where the source gives splits, each keeps
    its share of the class. Whole recordings are taken as long as they fit, so that few are cut apart. The choice in
    one class depends on the seed and the clips of that class alone, and a clip that is added changes little of it.

    Raises:
        ValueError: if `limit` is below 1.
    """
    if limit is None:
        return list(clips)
    if limit < 1:
        raise ValueError(f"`max_clips_per_class` is {limit}; it has to be at least 1, or be left out to keep all.")
    classes = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        classes[clip.label][clip.split].append(clip)
    kept = set()
    for splits in classes.values():
        quotas = _shares({split: len(members) for split, members in splits.items()}, limit)
        for split, members in splits.items():
            kept.update(clip.clip_id for clip in _choose_whole_sources(members, quotas[split], seed))
    return [clip for clip in clips if clip.clip_id in kept]


def check_fractions(validation_fraction: float, test_fraction: float = 0.0) -> None:
    """`ValueError` unless both shares lie in [0, 1) and leave something for training."""
    for name, value in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` is {value}; it has to lie in [0, 1), 0 for none.")
    if validation_fraction + test_fraction >= 1:
        raise ValueError(
            f"`validation_fraction` {validation_fraction} and `test_fraction` {test_fraction} leave nothing for "
            "training; together they have to be below 1."
        )


def _units_of_classes(labels: Sequence[str], groups: Sequence[Hashable | None] | None) -> dict[str, list[list[int]]]:
    """Class -> what is moved as a whole, lists of positions in the order of their first one."""
    members = defaultdict(list)
    for position in range(len(labels)):
        group = None if groups is None else groups[position]
        members[("clip", position) if group is None else ("group", group)].append(position)
    classes = defaultdict(list)
    for positions in members.values():
        label = Counter(labels[position] for position in positions).most_common(1)[0][0]
        classes[label].append(positions)
    return classes


def _held_out_counts(units: list[list[int]], validation_fraction: float, test_fraction: float) -> dict[str, int]:
    """Clips wanted in each split that is held out; at least one where there are groups enough."""
    num_clips, free = sum(map(len, units)), len(units) - 1
    counts = {}
    for split, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if fraction > 0 and free > 0:
            counts[split] = min(max(round(num_clips * fraction), 1), num_clips - 1 - sum(counts.values()))
            free -= 1
    return counts


def _draw(units: list[list[int]], wanted: dict[str, int], generator: random.Random) -> dict[str, list[int]]:
    """
    Positions for each split that is held out: whole units at random as far as they fit; a split that would stay empty
    gets the smallest one. One unit at least stays for training.
    """
    drawn = generator.sample(range(len(units)), min(sum(wanted.values()), len(units)))
    others = sorted(set(range(len(units))) - set(drawn))  # in place of units that are too large
    generator.shuffle(others)
    drawn = [units[index] for index in (*drawn, *others)]
    num_free = len(units) - 1 - len(wanted)  # units that may be held out beyond the first of each split
    chosen: dict[str, list[int]] = {}
    for split, count in wanted.items():
        taken, left, room = [], [], count
        for unit in drawn:
            fits = len(unit) <= room and (not taken or num_free > 0)
            num_free -= fits and bool(taken)
            room -= len(unit) if fits else 0
            (taken if fits else left).append(unit)
        if not taken:
            taken = [left.pop(min(range(len(left)), key=lambda index: len(left[index])))]
        drawn = left
        chosen[split] = [position for unit in taken for position in unit]
    return chosen


def _shares(sizes: dict[Hashable, int], limit: int) -> dict[Hashable, int]:
    """`limit` divided in proportion to `sizes`, the largest remainders rounded up; never more than there is."""
    total = sum(sizes.values())
    if total <= limit:
        return sizes
    shares = {name: size * limit // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (shares[name] > 0, -(sizes[name] * limit % total), str(name)))
    for name in by_remainder[: limit - sum(shares.values())]:
        shares[name] += 1
    return shares


def _choose_whole_sources(clips: list[AudioClip], count: int, seed: int) -> list[AudioClip]:
    """`count` of the clips of one class: whole recordings in a fixed random order, then parts of those left."""
    sources = defaultdict(list)
    for clip in clips:
        sources[clip.source_id or clip.clip_id].append(clip)
    ordered = sorted(sources, key=lambda source: _random_key(source, seed))
    chosen: list[AudioClip] = []
    left_over: list[AudioClip] = []
    for source in ordered:
        fits = len(chosen) + len(sources[source]) <= count
        (chosen if fits else left_over).extend(sources[source])
    return chosen + left_over[: count - len(chosen)]


def _random_key(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()

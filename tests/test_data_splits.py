"""Which clip goes where: shares, seeds, and recordings that stay together."""

import random
from collections import Counter

import pytest

from melspec_gpt.datasets_scripts.audio_sources import AudioClip
from melspec_gpt.datasets_scripts.data_splits import cap_per_class, check_no_leak, split_clips, stratified_splits


def clip(number, label="dog", split=None, source=None):
    return AudioClip(f"{label}/{number}.wav", f"/data/{label}/{number}.wav", label, split, source)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(20, 0.1, 2), (2, 0.1, 1), (1, 0.5, 0), (3, 0.9, 2), (10, 0.0, 0)]
)
def test_share_of_a_class_in_validation(count, fraction, expected):
    assert stratified_splits(["dog"] * count, fraction, seed=0).count("validation") == expected


def test_a_choice_made_by_earlier_versions_is_repeated():
    splits = stratified_splits(["dog"] * 30, 0.2, seed=3)
    expected = set(random.Random("3/dog").sample(range(30), 6))
    assert {position for position, split in enumerate(splits) if split == "validation"} == expected


def test_split_depends_on_the_seed_and_not_on_other_classes():
    dogs = stratified_splits(["dog"] * 50, 0.2, seed=0)
    assert dogs == stratified_splits(["dog"] * 50, 0.2, seed=0)
    assert dogs != stratified_splits(["dog"] * 50, 0.2, seed=1)
    assert dogs == stratified_splits(["cat"] * 50 + ["dog"] * 50, 0.2, seed=0)[50:]


def test_clips_without_a_group_are_split_as_without_groups():
    labels = ["dog"] * 40 + ["cat"] * 7
    plain = stratified_splits(labels, 0.2, seed=5, test_fraction=0.1)
    assert plain == stratified_splits(labels, 0.2, seed=5, groups=[None] * 47, test_fraction=0.1)


@pytest.mark.parametrize(("count", "expected"), [(20, (14, 4, 2)), (3, (1, 1, 1)), (2, (1, 1, 0)), (1, (1, 0, 0))])
def test_both_held_out_splits_get_their_share(count, expected):
    counts = Counter(stratified_splits(["dog"] * count, 0.2, seed=0, test_fraction=0.1))
    assert (counts["train"], counts["validation"], counts["test"]) == expected


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_and_no_split_is_empty(seed):
    generator = random.Random(seed)
    groups = [generator.choice([None, *range(12)]) for _ in range(80)]
    labels = [generator.choice(["dog", "cat"]) for _ in groups]
    splits = stratified_splits(labels, 0.2, seed, groups=groups, test_fraction=0.2)
    for group in set(groups) - {None}:
        assert len({split for split, own in zip(splits, groups, strict=True) if own == group}) == 1
    assert set(splits) == {"train", "validation", "test"}


def test_shares_hold_for_groups_of_several_clips():
    groups = [position // 5 for position in range(200)]
    counts = Counter(stratified_splits(["dog"] * 200, 0.1, seed=0, groups=groups, test_fraction=0.2))
    assert counts == {"train": 140, "validation": 20, "test": 40}


def test_one_large_group_does_not_swallow_the_training_clips():
    groups = ["large"] * 90 + list(range(10))
    for seed in range(10):
        splits = stratified_splits(["dog"] * 100, 0.05, seed, groups=groups)
        assert splits[0] == "train"
        assert splits.count("validation") == 5


def test_a_class_of_one_recording_stays_in_training():
    assert set(stratified_splits(["dog"] * 9, 0.5, 0, groups=["a"] * 9, test_fraction=0.2)) == {"train"}


@pytest.mark.parametrize(
    ("fractions", "named"), [((1.0, 0.0), "validation_fraction"), ((0.1, -0.1), "test_fraction"), ((0.5, 0.5), "1")]
)
def test_impossible_shares_are_named(fractions, named):
    with pytest.raises(ValueError, match=named):
        stratified_splits(["dog"] * 4, fractions[0], 0, test_fraction=fractions[1])


def test_given_splits_are_kept_and_draw_their_recording_along():
    clips = [clip(0, split="test", source="a"), clip(1, source="a"), *(clip(number) for number in range(2, 12))]
    splits = split_clips(clips, 0.3, seed=0)
    assert splits[:2] == ["test", "test"]
    assert Counter(splits[2:]) == {"train": 7, "validation": 3}


def test_recordings_in_two_given_splits_are_named():
    clips = [clip(0, split="train", source="a"), clip(1, split="test", source="a"), clip(2, split="train", source="b")]
    (warning,) = check_no_leak(clips)
    assert "'a' (test, train)" in warning
    assert "'b'" not in warning
    assert check_no_leak([clips[0], clips[2], clip(3, split="test")]) == []


def test_cap_keeps_the_order_and_small_classes():
    clips = [clip(number) for number in range(30)] + [clip(number, "cat") for number in range(4)]
    kept = cap_per_class(clips, 10, seed=0)
    assert Counter(one.label for one in kept) == {"dog": 10, "cat": 4}
    assert kept == [one for one in clips if one in kept]
    assert cap_per_class(clips, None, seed=0) == clips


def test_cap_depends_on_the_seed_and_not_on_other_classes():
    dogs, cats = [clip(number) for number in range(50)], [clip(number, "cat") for number in range(50)]
    kept = cap_per_class(dogs, 10, seed=0)
    assert kept != cap_per_class(dogs, 10, seed=1)
    assert kept == [one for one in cap_per_class(cats + dogs, 10, seed=0) if one.label == "dog"]


def test_a_clip_that_is_added_changes_little_of_the_choice():
    clips = [clip(number) for number in range(50)]
    before, after = cap_per_class(clips, 10, seed=0), cap_per_class([*clips, clip(50)], 10, seed=0)
    assert len({one.clip_id for one in before} & {one.clip_id for one in after}) >= 9


def test_cap_takes_whole_recordings_first():
    clips = [clip(number, source=str(number // 4)) for number in range(40)]
    counts = Counter(one.source_id for one in cap_per_class(clips, 10, seed=0))
    assert sorted(counts.values()) == [2, 4, 4]


def test_cap_shares_a_class_out_among_given_splits():
    clips = [clip(number, split="train" if number < 90 else "validation") for number in range(100)]
    counts = Counter(one.split for one in cap_per_class(clips, 10, seed=0))
    assert counts == {"train": 9, "validation": 1}
    assert cap_per_class(clips, 5, seed=0)[-1].split == "validation"


def test_cap_below_one_is_refused():
    with pytest.raises(ValueError, match="max_clips_per_class"):
        cap_per_class([clip(0)], 0, seed=0)

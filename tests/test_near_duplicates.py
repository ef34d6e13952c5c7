"""Same sound, same hash; other sound, other hash; and all close pairs are found."""

import itertools
import random
import time
import tracemalloc

import numpy as np
import pytest
import soundfile

from melspec_gpt.datasets_scripts.audio_reading import read_audio
from melspec_gpt.datasets_scripts.near_duplicates import (
    HASH_BITS,
    MAX_DISTANCE,
    find_near_duplicates,
    mel_hash,
    near_duplicate_groups,
)
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

FIRE = "010 - Fire crackling"


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def flipped(number: int, bits: int, generator: random.Random) -> int:
    for bit in generator.sample(range(HASH_BITS), bits):
        number ^= 1 << bit
    return number


@pytest.fixture(scope="module")
def extractor():
    return MelFeatureExtractor.from_clip_seconds(5.0)


@pytest.fixture(scope="module")
def hash_of(extractor):
    def calculate(samples, rate):
        return mel_hash(extractor.mel_spectrogram([samples], rate, resample=True)[0].numpy().astype(np.float16))

    return calculate


@pytest.fixture(scope="module")
def clips(shared_data):
    """One real clip of every class."""
    folders = sorted(path for path in (shared_data / "esc10").iterdir() if path.is_dir())
    return [read_audio(sorted(folder.glob("*.ogg"))[0]) for folder in folders]


def as_mp3(samples, rate, path):
    soundfile.write(path, samples, rate, format="MP3", subtype="MPEG_LAYER_III")
    return soundfile.read(path, dtype="float32")[0]


@pytest.mark.parametrize("name", ["mp3", "louder", "quieter", "noise"])
def test_changes_that_one_hardly_hears_stay_below_the_limit(clips, hash_of, tmp_path, name):
    noise = np.random.default_rng(0)
    for samples, rate in clips:
        level = np.sqrt(np.mean(samples**2))
        changed = {
            "mp3": lambda samples=samples, rate=rate: as_mp3(samples, rate, tmp_path / "a.mp3"),
            "louder": lambda samples=samples: (2 * samples).clip(-1, 1),
            "quieter": lambda samples=samples: 0.5 * samples,
            "noise": lambda samples=samples, level=level: samples + noise.normal(0, level / 32, len(samples)),
        }[name]()
        assert distance(hash_of(samples, rate), hash_of(changed, rate)) <= MAX_DISTANCE


def test_different_clips_are_far_apart(clips, hash_of):
    hashes = [hash_of(*clip) for clip in clips]
    assert min(distance(one, other) for one, other in itertools.combinations(hashes, 2)) > 2 * MAX_DISTANCE


def test_finds_the_recording_that_esc10_holds_twice(shared_data, hash_of):
    folder = shared_data / "esc10" / FIRE
    hashes = {path.name: hash_of(*read_audio(path)) for path in sorted(folder.glob("2-*.ogg"))}
    assert find_near_duplicates(hashes) == [("2-28314-A.ogg", "2-30322-A.ogg")]


def test_steady_tones_of_different_pitch_differ(extractor, hash_of):
    times = np.arange(extractor.num_samples) / extractor.sampling_rate
    low, high = (hash_of(0.3 * np.sin(2 * np.pi * pitch * times), extractor.sampling_rate) for pitch in (500, 2000))
    assert distance(low, high) > MAX_DISTANCE


def test_silence_has_no_hash():
    assert mel_hash(np.zeros((80, 100))) is None
    assert mel_hash(np.full((80, 100), 0.1)) is None
    assert mel_hash(np.full((80, 100), 0.8)) is not None


@pytest.mark.parametrize("max_distance", [0, 1, 5, 12])
def test_finds_all_pairs_that_a_full_comparison_finds(max_distance):
    generator = random.Random(max_distance)
    numbers = [generator.getrandbits(HASH_BITS) for _ in range(60)]
    numbers += [flipped(number, position % 15, generator) for position, number in enumerate(numbers)]
    hashes = {f"clip{position}": number for position, number in enumerate(numbers)}
    expected = {
        (f"clip{first}", f"clip{second}")
        for first, second in itertools.combinations(range(len(numbers)), 2)
        if distance(numbers[first], numbers[second]) <= max_distance
    }
    assert len(expected) > 1
    assert set(find_near_duplicates(hashes, max_distance)) == expected


def test_a_chain_is_one_group_named_after_its_first_clip():
    number = random.Random(0).getrandbits(HASH_BITS)
    chain = [number, number ^ 0b1111, number ^ 0b11111111, number ^ 0b11111111 ^ (0b1111 << 64)]
    hashes = {"far": ~number & (2**HASH_BITS - 1), "silent": None, **dict(zip("abcd", chain, strict=True))}
    assert find_near_duplicates(hashes, max_distance=4) == [("a", "b"), ("a", "c"), ("a", "d")]


def test_groups_across_splits_stand_first():
    one, other = (random.Random(seed).getrandbits(HASH_BITS) for seed in range(2))
    hashes = {"a": one, "b": one ^ 1, "c": other, "d": other, "e": None}
    splits = {"a": "train", "b": "train", "c": "train", "d": "test", "e": "test"}
    assert near_duplicate_groups(hashes, splits) == [{"train": ["c"], "test": ["d"]}, {"train": ["a", "b"]}]


def test_nothing_to_compare():
    assert find_near_duplicates({}) == []
    assert find_near_duplicates({"a": None, "b": 1}) == []


def test_time_and_memory_grow_with_the_clips_and_not_with_their_pairs():
    generator = random.Random(0)

    def peak(count):
        hashes = {str(position): generator.getrandbits(HASH_BITS) for position in range(count)}
        tracemalloc.start()
        started = time.process_time()
        find_near_duplicates(hashes)
        seconds, (_, memory) = time.process_time() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return seconds, memory

    (_, small), (seconds, large) = peak(2000), peak(16000)
    assert large < 16 * small
    assert seconds < 20  # all pairs would be 128 million


def test_a_thousand_copies_of_a_sound_are_one_group():
    number, generator = random.Random(1).getrandbits(HASH_BITS), random.Random(2)
    hashes = {str(position): flipped(number, generator.randint(0, 3), generator) for position in range(1000)}
    pairs = find_near_duplicates(hashes)
    assert {first for first, _ in pairs} == {"0"}
    assert len(pairs) == 999

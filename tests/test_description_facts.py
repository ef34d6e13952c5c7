"""What is noted of a clip, and what the notes sum up to."""

import json

import numpy as np
import pytest

from melspec_gpt.datasets_scripts.audio_reading import read_audio
from melspec_gpt.datasets_scripts.description_facts import clip_facts, perplexity, sum_up_clips, sum_up_codes
from melspec_gpt.datasets_scripts.description_levels import SILENCE_LEVEL, frame_levels
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

RATE = 22050


@pytest.fixture(scope="module")
def extractor():
    return MelFeatureExtractor.from_clip_seconds(1.0)


def mel_of(extractor, samples):
    return extractor.mel_spectrogram([samples], RATE)[0].numpy().astype(np.float16)


def noise(level):
    return np.random.default_rng(0).normal(0, 10 ** (level / 20), RATE)


def test_facts_are_small_and_ready_for_json(extractor):
    facts = clip_facts(mel_of(extractor, noise(-20)))
    assert json.loads(json.dumps(facts)) == facts
    assert len(int(facts["hash"], 16).to_bytes(16, "big").hex()) == len(facts["hash"]) == 32


@pytest.mark.parametrize("level", [-45, -30, -15])
def test_level_of_noise_is_near_that_of_its_samples(extractor, level):
    # A third of the power of white noise lies above the highest band.
    assert clip_facts(mel_of(extractor, noise(level)))["level"] == pytest.approx(level, abs=5)


def test_ten_decibels_more_are_ten_decibels_more(extractor):
    quiet, loud = (clip_facts(mel_of(extractor, noise(level)))["level"] for level in (-30, -20))
    assert loud - quiet == pytest.approx(10, abs=0.1)


def test_levels_of_real_clips_are_those_of_their_samples(shared_data):
    extractor = MelFeatureExtractor.from_clip_seconds(5.0)
    errors = []
    for path in sorted((shared_data / "esc10").rglob("*.ogg"))[::20]:
        samples, rate = read_audio(path, max_seconds=5)
        level = 10 * np.log10(np.mean(samples**2))
        mel = extractor.mel_spectrogram([samples], rate, resample=True)[0].numpy()
        errors.append(clip_facts(mel)["level"] - level)
    assert abs(np.median(errors)) < 2


def test_silent_share_is_that_of_the_time(extractor):
    samples = noise(-20)
    samples[: 3 * RATE // 4] = 0
    assert clip_facts(mel_of(extractor, samples))["silent_share"] == pytest.approx(0.75, abs=0.03)


def test_a_clip_without_sound_has_neither_level_nor_hash(extractor):
    expected = {"level": None, "silent_share": 1.0, "hash": None}
    assert clip_facts(mel_of(extractor, np.zeros(RATE))) == expected
    assert clip_facts(mel_of(extractor, noise(SILENCE_LEVEL - 20))) == expected


def test_frame_levels_do_not_overflow_in_half_precision():
    assert np.isfinite(frame_levels(np.ones((80, 4), dtype=np.float16))).all()


def fact(level, silent_share=0.0, number="0f"):
    return {"level": level, "silent_share": silent_share, "hash": number}


def test_sums_of_clips():
    rows = [
        ("train", "a", "dog", fact(-10.0, 0.5, "00")),
        ("train", "b", "dog", fact(-20.0, 0.0, "ff" * 16)),
        ("test", "c", "dog", fact(None, 1.0, None)),
        ("test", "d", "cat", fact(-30.0, 0.1, "01")),
    ]
    report = sum_up_clips(rows, ["cat", "dog", "emu"], clip_seconds=5.0)
    assert report["facts_per_class"]["dog"] == {
        "clips": 3,
        "level": {"mean": -15.0, "min": -20.0, "max": -10.0},
        "silent_share": 0.5,
        "silent_clips": 1,
    }
    assert report["facts"]["level"] == {"mean": -20.0, "min": -30.0, "max": -10.0}
    assert report["facts_per_class"]["emu"] == {"clips": 0, "level": None, "silent_share": 0.0, "silent_clips": 0}
    assert report["silent_clips"] == ["c"]
    assert report["near_duplicates"] == [{"train": ["a"], "test": ["d"]}]
    assert json.loads(json.dumps(report)) == report


def test_perplexity_of_equal_counts_is_their_number():
    assert perplexity(np.array([3, 3, 0, 3, 3])) == pytest.approx(4)
    assert perplexity(np.array([0, 9])) == pytest.approx(1)


def test_sums_of_codes():
    report = sum_up_codes({"train": np.array([4, 0, 4])})
    assert report == {
        "code_counts": {"train": [4, 0, 4]},
        "different_codes": {"train": 2},
        "perplexity": {"train": 2.0},
    }

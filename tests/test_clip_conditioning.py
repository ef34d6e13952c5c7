"""Trimming and levelling of clips."""

import numpy as np
import pytest

from melspec_gpt.datasets_scripts.clip_conditioning import (
    AUDIBLE_RANGE,
    PEAK_LIMIT,
    audible_span,
    condition_clip,
    level_gain,
)
from melspec_gpt.datasets_scripts.clip_options import ClipOptions

RATE = 8000


def tone(seconds, amplitude=0.5):
    return (amplitude * np.sin(np.arange(round(seconds * RATE)) * 0.5)).astype(np.float32)


def with_ends(middle, before=0.5, after=1.0, noise=0.0):
    ends = [np.full(round(seconds * RATE), noise, dtype=np.float32) for seconds in (before, after)]
    return np.concatenate([ends[0], middle, ends[1]])


def level(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def test_silent_ends_are_found():
    start, end = audible_span(with_ends(tone(1.0)), RATE, 40)
    assert abs(start - 0.5 * RATE) <= 0.02 * RATE
    assert abs(end - 1.5 * RATE) <= 0.02 * RATE


def test_a_pause_inside_is_kept():
    samples = with_ends(np.concatenate([tone(0.5), np.zeros(RATE, np.float32), tone(0.5)]))
    start, end = audible_span(samples, RATE, 40)
    assert end - start >= 2 * RATE - 2 * 0.02 * RATE


@pytest.mark.parametrize(("noise_db", "is_trimmed"), [(-50, True), (-30, False)])
def test_the_threshold_is_relative_to_the_loudest_frame(noise_db, is_trimmed):
    loudest = level(tone(1.0))
    samples = with_ends(tone(1.0), noise=10 ** ((loudest + noise_db) / 20))
    for gain in (1.0, 1e-3):
        start, end = audible_span(samples * np.float32(gain), RATE, 40)
        assert ((start, end) != (0, len(samples))) == is_trimmed


def test_a_click_keeps_a_tenth_of_a_second():
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 2] = 1
    start, end = audible_span(samples, RATE, 40)
    assert end - start == RATE // 10
    assert start < RATE // 2 < end


def test_digital_silence_is_left_whole():
    assert audible_span(np.zeros(RATE, np.float32), RATE, 40) == (0, RATE)
    assert level_gain(np.zeros(RATE, np.float32), RATE, -20) == 1


@pytest.mark.parametrize("amplitude", [1e-45, 1e-5])
def test_the_noise_of_silence_is_not_raised(amplitude):
    assert level_gain(np.full(RATE, amplitude, dtype=np.float32), RATE, -20) == 1


@pytest.mark.parametrize("amplitude", [0.001, 0.9])
def test_quiet_and_loud_clips_get_the_level(amplitude):
    samples = tone(1.0, amplitude)
    assert level(samples * level_gain(samples, RATE, -20)) == pytest.approx(-20, abs=0.01)


def test_silence_in_a_clip_does_not_make_it_louder():
    assert level_gain(with_ends(tone(1.0)), RATE, -20) == pytest.approx(level_gain(tone(1.0), RATE, -20), rel=0.02)


def test_frames_beyond_the_audible_range_do_not_count():
    quiet = 10 ** ((level(tone(1.0)) - AUDIBLE_RANGE - 5) / 20)
    samples = with_ends(tone(1.0), noise=quiet)
    assert level_gain(samples, RATE, -20) == pytest.approx(level_gain(tone(1.0), RATE, -20), rel=0.02)


def test_the_peak_is_limited():
    samples = np.full(RATE, 0.001, np.float32)
    samples[100] = -0.1
    gain = level_gain(samples, RATE, -20)
    assert abs(samples[100] * gain) == pytest.approx(PEAK_LIMIT)


def test_the_level_is_that_of_the_trimmed_clip():
    clip = condition_clip(with_ends(tone(1.0, 0.1)), RATE, ClipOptions(trim_silence=40, loudness=-20))
    assert len(clip) == pytest.approx(RATE, abs=0.04 * RATE)
    assert level(clip) == pytest.approx(-20, abs=0.2)


def test_without_options_nothing_changes():
    samples = with_ends(tone(1.0))
    assert condition_clip(samples, RATE, ClipOptions()) is samples

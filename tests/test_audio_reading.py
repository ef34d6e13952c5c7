"""Sound files become samples and clips."""

import tracemalloc

import numpy as np
import pytest
import torch
import torchaudio
from tiny_media import RATE, noise, write_media, write_sound

from melspec_gpt.datasets_scripts.audio_reading import read_audio, read_clips
from melspec_gpt.datasets_scripts.clip_options import FIRST_CLIP, ClipOptions
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

# Clips of half a second at the rate of the files.
EXTRACTOR = MelFeatureExtractor.from_clip_seconds(0.5, sampling_rate=RATE, max_frequency=3500.0, hop_length=64)
CLIP = RATE // 2
# Duration of the published features of the two clips that are shorter than 10 s: their loops are one AAC frame longer
# than the decoded sound. Samples at 22 050 Hz.
PUBLISHED_PERIODS = {"dog/video_02677": 133120, "gun/video_00819": 177152}


def clips_of(path, hop_seconds=None, **options):
    return list(read_clips(path, EXTRACTOR, ClipOptions(hop_seconds=hop_seconds, **options)))


def test_file_is_read_as_a_vector(tmp_path):
    samples = noise(CLIP)
    audio, rate = read_audio(write_sound(tmp_path / "a.wav", samples))
    assert rate == RATE
    assert audio.dtype == np.float32
    np.testing.assert_allclose(audio, samples[0], atol=1e-4)


def test_stereo_file_is_averaged(tmp_path):
    samples = noise(CLIP, channels=2)
    audio, _ = read_audio(write_sound(tmp_path / "a.wav", samples))
    np.testing.assert_allclose(audio, samples.mean(0), atol=1e-4)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_reading_stops_after_max_seconds(tmp_path, name):
    samples = noise(3 * RATE)
    path = write_media(tmp_path / name, samples) if name == "a.m4a" else write_sound(tmp_path / name, samples)
    whole, _ = read_audio(path)
    start, _ = read_audio(path, max_seconds=1.6)
    np.testing.assert_array_equal(start, whole[: round(1.6 * RATE)])


def test_absent_file_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_audio(tmp_path / "absent.wav")


def test_a_file_gives_its_first_clip(tmp_path):
    path = write_sound(tmp_path / "a.wav", noise(5 * RATE))
    [(suffix, samples, rate)] = clips_of(path)
    assert (suffix, rate) == ("", RATE)
    np.testing.assert_array_equal(samples, read_audio(path)[0][:CLIP])


def test_a_short_file_is_given_whole(tmp_path):
    path = write_sound(tmp_path / "a.wav", noise(2000))
    for hop_seconds in (None, 0.5):
        [(suffix, samples, _)] = clips_of(path, hop_seconds)
        assert suffix == ""
        assert len(samples) == 2000


@pytest.mark.parametrize(
    ("seconds", "hop_seconds", "starts"),
    [
        (2.0, 0.5, [0, 0.5, 1.0, 1.5]),
        (1.24, 0.5, [0, 0.5]),
        (1.26, 0.5, [0, 0.5, 1.0]),
        (0.74, 0.5, [0]),
        (1.5, 0.25, [0, 0.25, 0.5, 0.75, 1.0]),
        (1.51, 0.25, [0, 0.25, 0.5, 0.75, 1.0]),
        (1.63, 0.25, [0, 0.25, 0.5, 0.75, 1.0, 1.25]),
        (6.0, 2.5, [0, 2.5, 5.0]),
        (5.2, 2.5, [0, 2.5]),
    ],
)
def test_a_long_file_is_cut(tmp_path, seconds, hop_seconds, starts):
    path = write_sound(tmp_path / "a.wav", noise(round(seconds * RATE)))
    whole, _ = read_audio(path)
    clips = clips_of(path, hop_seconds)
    assert [suffix for suffix, _, _ in clips] == ([""] if len(starts) == 1 else [f"#{i}" for i in range(len(starts))])
    for start, (_, samples, _) in zip(starts, clips, strict=True):
        np.testing.assert_array_equal(samples, whole[round(start * RATE) :][:CLIP])


def test_a_hop_that_is_no_whole_number_of_samples_does_not_drift(tmp_path):
    ramp = np.arange(40 * RATE)[None] / 2**20
    path = write_sound(tmp_path / "a.wav", ramp, subtype="FLOAT")
    starts = [samples[0] * 2**20 for _, samples, _ in clips_of(path, hop_seconds=1 / 3)]
    assert len(starts) == 120
    np.testing.assert_array_equal(starts, [round(index * RATE / 3) for index in range(len(starts))])


def test_a_video_is_cut_as_its_sound_would_be(tmp_path):
    path = write_media(tmp_path / "a.mp4", noise(3 * RATE, channels=2), picture="mpeg4")
    write_sound(tmp_path / "a.wav", read_audio(path)[0], subtype="FLOAT")
    clips, expected = clips_of(path, 0.4), clips_of(tmp_path / "a.wav", 0.4)
    assert len(clips) > 6
    for clip, (suffix, samples, _) in zip(clips, expected, strict=True):
        assert clip[0] == suffix
        np.testing.assert_array_equal(clip[1], samples)


@pytest.mark.parametrize("hop_seconds", [0.125, 1.0, 1.5])
@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampled_clips_have_no_filter_edges(tmp_path, rate, hop_seconds):
    extractor = MelFeatureExtractor.from_clip_seconds(1.0)
    samples = noise(4 * rate, seed=rate)
    path = write_sound(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    whole = torchaudio.functional.resample(torch.from_numpy(samples[0]), rate, 22050).numpy()
    for index, (_, clip, clip_rate) in enumerate(read_clips(path, extractor, ClipOptions(hop_seconds=hop_seconds))):
        start = round(index * hop_seconds * 22050)
        expected = whole[start : start + 22050]
        assert clip_rate == 22050
        if hop_seconds * 22050 * index % 1 == 0:  # the others start between two samples
            np.testing.assert_allclose(clip, expected, atol=1e-5)
        assert abs(len(clip) - len(expected)) <= 1


def test_trimmed_clips_are_shorter(tmp_path):
    samples = noise(RATE)[0]
    samples[: CLIP // 2] = 0
    path = write_sound(tmp_path / "a.wav", samples)
    first, second = clips_of(path, 0.5, trim_silence=40)
    assert len(first[1]) == pytest.approx(CLIP // 2, abs=0.02 * RATE)
    assert len(second[1]) == CLIP


def test_levels_are_brought_to_one_value(tmp_path):
    samples = noise(RATE)[0] * np.repeat([0.01, 0.5], CLIP).astype(np.float32)
    clips = clips_of(write_sound(tmp_path / "a.wav", samples, subtype="FLOAT"), 0.5, loudness=-20)
    for _, clip, _ in clips:
        assert 10 * np.log10(np.mean(clip[:CLIP] ** 2)) == pytest.approx(-20, abs=0.05)


@pytest.mark.parametrize("num_samples", [0, 1, 300])
def test_a_file_without_enough_samples_says_so(tmp_path, num_samples):
    path = write_sound(tmp_path / "a.wav", noise(num_samples))
    with pytest.raises(ValueError, match="holds no samples" if num_samples == 0 else f"too short: {num_samples} samp"):
        clips_of(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_clips_that_are_not_finite_are_refused_and_the_others_kept(tmp_path, value):
    samples = noise(5 * RATE)[0]
    samples[4 * RATE] = value
    path = write_sound(tmp_path / "a.wav", samples, subtype="FLOAT")
    clips = read_clips(path, EXTRACTOR, ClipOptions(hop_seconds=0.5))
    suffixes = []
    with pytest.raises(ValueError, match="1 of its 10 clips hold NaN or infinite"):
        suffixes.extend(suffix for suffix, _, _ in clips)
    assert suffixes == [f"#{index}" for index in range(10) if index != 8]
    samples[0] = value
    with pytest.raises(ValueError, match="^holds NaN or infinite"):
        clips_of(write_sound(path, samples, subtype="FLOAT"))


def cut_off(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3", "a.mp4"])
def test_a_file_that_is_cut_off_gives_its_whole_clips_and_says_so(tmp_path, name):
    if name == "a.mp4":
        path = write_media(tmp_path / name, noise(8 * RATE), options={"movflags": "faststart"})
    else:
        path = write_sound(tmp_path / name, noise(8 * RATE))
    kept = []
    with pytest.raises(ValueError, match=r"(is cut off: |is damaged: ).*clips before that are kept"):
        kept.extend(
            len(samples) for _, samples, _ in read_clips(cut_off(path), EXTRACTOR, ClipOptions(hop_seconds=0.5))
        )
    assert 5 <= len(kept) <= 8
    assert set(kept) == {CLIP}


def test_a_file_that_is_cut_off_within_its_first_clip_gives_none(tmp_path):
    path = cut_off(write_sound(tmp_path / "a.wav", noise(RATE)), 0.2)
    for hop_seconds in (None, 0.5):
        clips = []
        with pytest.raises(ValueError, match=r"is cut off: 0.2 s of the 1.0 s that its header promises"):
            clips += read_clips(path, EXTRACTOR, ClipOptions(hop_seconds=hop_seconds))
        assert clips == []
    with pytest.raises(ValueError, match="is cut off"):
        read_audio(path)


def test_damage_behind_the_first_clip_does_not_matter_where_only_that_is_wanted(tmp_path):
    path = cut_off(write_sound(tmp_path / "a.flac", noise(20 * RATE)))
    [(suffix, samples, _)] = read_clips(path, EXTRACTOR, FIRST_CLIP)
    assert suffix == ""
    assert len(samples) == CLIP


@pytest.mark.parametrize("name", ["a.flac", "a.mkv"])
def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path, name):
    peaks = []
    for num_seconds in (60, 600):
        samples = np.tile(noise(10 * RATE), num_seconds // 10)
        if name == "a.mkv":
            path = write_media(tmp_path / name, samples, RATE, "pcm_s16le")
        else:
            path = write_sound(tmp_path / name, samples)
        tracemalloc.start()
        count = sum(1 for _ in read_clips(path, EXTRACTOR, ClipOptions(hop_seconds=0.5)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == 2 * num_seconds
    assert peaks[1] < peaks[0] + 2**20  # ten minutes take 19 MB


@pytest.fixture(scope="module")
def vas_errors(shared_data):
    """Clip name -> mel from the video, published mel, sampling rate of the video."""
    extractor = MelFeatureExtractor()
    root = shared_data / "vas_mini" / "vas"
    found = {}
    for video in sorted(root.glob("videos/*/*.mp4")):
        name = f"{video.parent.name}/{video.stem}"
        [(suffix, samples, rate)] = read_clips(video, extractor)
        if name in PUBLISHED_PERIODS:
            samples = np.pad(samples, (0, PUBLISHED_PERIODS[name] - len(samples)))
        mel = extractor.mel_spectrogram([samples], rate)[0].numpy()
        folder = root / "features" / video.parent.name / "melspec_10s_22050hz"
        found[name] = (mel, np.load(folder / f"{video.stem}_mel.npy"), read_audio(video, max_seconds=0.1)[1])
    return found


def test_mels_of_the_real_videos_are_the_published_ones(vas_errors):
    assert len(vas_errors) == 10
    for name, (mel, published, rate) in vas_errors.items():
        error = mel - published
        if name in PUBLISHED_PERIODS:
            assert np.abs(error).mean() < 0.012, name
            continue
        assert np.abs(error).mean() < (0.002 if rate == 22050 else 0.02), name
        assert np.corrcoef(mel.ravel(), published.ravel())[0, 1] > 0.985, name
        assert abs(error.mean()) < 0.01, name

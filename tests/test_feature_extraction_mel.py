"""Waveform to log-mel features and back, and everything that is not a waveform."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor

from melspec_gpt import MelFeatureExtractor
from melspec_gpt.configuration import strict_fields
from melspec_gpt.tokenization import mono_clips

RATE = 22050
PARITY = 1e-4
# Near-empty bands of a sine sit at the floor of the log, where float32 rounding shows.
PARITY_OF_SINE = 5e-4


@pytest.fixture(scope="module")
def extractor():
    """For clips of half a second: 42 mel frames, the middle 32 used."""
    return MelFeatureExtractor.from_clip_seconds(0.5)


@pytest.fixture(scope="module")
def noise(extractor):
    return np.random.default_rng(0).normal(0, 0.1, extractor.num_samples).astype(np.float32)


@pytest.fixture(scope="module")
def golden(shared_data):
    return load_file(shared_data / "golden" / "mel_frontend.safetensors")


def sine(frequency: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


# Parity with the original's front end


def test_real_clip_is_as_the_original_makes_it(golden):
    waveform = golden["video_00331.waveform_int16"].numpy()
    mel = MelFeatureExtractor().mel_spectrogram(waveform, RATE)[0]
    torch.testing.assert_close(mel, golden["video_00331.mel"], atol=PARITY, rtol=0)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("silence", PARITY), ("sine1k_full", PARITY_OF_SINE), ("short_1s_noise", PARITY)]
)
def test_probes_are_as_the_original_makes_them(golden, name, tolerance):
    waveforms = {"silence": np.zeros(220500), "sine1k_full": sine(1000, 10)}
    waveform = waveforms.get(name)
    if waveform is None:
        waveform = golden["probe.short_1s_noise.waveform"]
    mel = MelFeatureExtractor(short_clips="zero").mel_spectrogram(waveform, RATE)[0, :, :200]
    torch.testing.assert_close(mel, golden[f"probe.{name}.mel"], atol=tolerance, rtol=0)


# Geometry


@pytest.mark.parametrize(
    ("seconds", "expected"), [(10.0, (220500, 860, 848)), (5.0, (110250, 430, 416)), (2.0, (44100, 172, 160))]
)
def test_geometry_of_clip_lengths(seconds, expected):
    extractor = MelFeatureExtractor.from_clip_seconds(seconds)
    assert (extractor.num_samples, extractor.num_mel_frames, extractor.num_frames) == expected
    features = extractor(np.zeros(expected[0]), sampling_rate=RATE, return_tensors="pt").input_features
    assert features.shape == (1, 80, expected[2])
    assert features.dtype == torch.float32


def test_ten_seconds_are_the_default():
    assert MelFeatureExtractor().to_dict() == MelFeatureExtractor.from_clip_seconds(10.0).to_dict()


def test_features_are_the_middle_of_the_mel_on_another_scale(extractor, noise):
    mel = extractor.mel_spectrogram(noise, RATE)
    features = extractor(noise, sampling_rate=RATE, return_tensors="pt").input_features
    assert mel.shape[-1] == 42
    torch.testing.assert_close(features, 2 * mel[..., 5:37] - 1)
    assert mel.min() >= 0
    assert mel.max() <= 1
    assert mel.std() > 0.01


def test_clip_of_five_seconds_has_the_frames_of_a_longer_one():
    waveform = np.random.default_rng(0).normal(0, 0.1, 220500)
    short = MelFeatureExtractor.from_clip_seconds(5.0).mel_spectrogram(waveform, RATE)
    long = MelFeatureExtractor().mel_spectrogram(waveform, RATE)
    # The last two frames hold the reflection at the end of the shorter clip.
    torch.testing.assert_close(short[..., :-2], long[..., :428])


@pytest.mark.parametrize("sizes", [{"num_frames": 900}, {"num_mel_frames": 900}, {"num_frames": 0}])
def test_geometry_that_does_not_hold_is_refused(sizes):
    with pytest.raises(ValueError, match="does not hold"):
        MelFeatureExtractor(**sizes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"feature_size": 0}, "`feature_size` is 0; it has to be 1 or more"),
        ({"sampling_rate": 0}, "`sampling_rate` is 0"),
        ({"hop_length": 0}, "`hop_length` is 0"),
        ({"n_fft": 0}, "`n_fft` is 0"),
        ({"n_fft": 255}, "`n_fft` is 255 and `hop_length` 256"),
        ({"min_frequency": -1.0}, "`min_frequency` is -1.0"),
        ({"max_frequency": 125.0}, "`max_frequency` is 125.0.*above `min_frequency`"),
        ({"num_samples": 512, "num_mel_frames": 2, "num_frames": 2}, "`num_samples` is 512.*above 512"),
    ],
)
def test_impossible_sizes_are_refused_by_name(sizes, message):
    with pytest.raises(ValueError, match=message):
        MelFeatureExtractor(**sizes)


def test_the_shortest_possible_clip_has_its_frames():
    extractor = MelFeatureExtractor(num_samples=513, num_mel_frames=3, num_frames=2)
    assert extractor(np.zeros(2000), sampling_rate=RATE, return_tensors="pt").input_features.shape == (1, 80, 2)


def test_clip_without_a_single_time_step_is_refused():
    with pytest.raises(ValueError, match="`clip_seconds` is 0.1"):
        MelFeatureExtractor.from_clip_seconds(0.1)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 0, -1.0])
def test_clip_length_has_to_be_a_time(seconds):
    with pytest.raises(ValueError, match=f"`clip_seconds` is {seconds}; it has to be positive and finite"):
        MelFeatureExtractor.from_clip_seconds(seconds)


def test_clip_length_goes_with_another_hop():
    extractor = MelFeatureExtractor.from_clip_seconds(10.0, hop_length=512)
    assert (extractor.num_samples, extractor.num_mel_frames, extractor.num_frames) == (220500, 430, 416)


def test_too_few_mel_frames_are_refused(extractor):
    with pytest.raises(ValueError, match="`mel` has 31 frames; at least `num_frames` = 32"):
        extractor.normalize(torch.zeros(80, 31))


# Lengths


def test_long_clip_is_cut(extractor, noise):
    longer = np.concatenate([noise, np.ones(5000, np.float32)])
    assert torch.equal(extractor.mel_spectrogram(longer, RATE), extractor.mel_spectrogram(noise, RATE))


def test_short_clip_is_looped_by_default(extractor, noise):
    piece = noise[:3000]
    looped = np.tile(piece, 10)[: extractor.num_samples]
    assert torch.equal(extractor.mel_spectrogram(piece, RATE), extractor.mel_spectrogram(looped, RATE))


def test_short_clip_is_padded_with_silence_on_request(extractor, noise):
    padded = np.concatenate([noise[:3000], np.zeros(extractor.num_samples - 3000, np.float32)])
    expected = extractor.mel_spectrogram(padded, RATE)
    assert torch.equal(extractor.mel_spectrogram(noise[:3000], RATE, short_clips="zero"), expected)
    padding = MelFeatureExtractor.from_clip_seconds(0.5, short_clips="zero")
    assert torch.equal(padding.mel_spectrogram(noise[:3000], RATE), expected)


def test_unknown_treatment_of_short_clips_is_refused(extractor, noise):
    with pytest.raises(ValueError, match='`short_clips` is \'loop\'; choose "repeat" or "zero"'):
        extractor(noise, sampling_rate=RATE, short_clips="loop")
    with pytest.raises(ValueError, match="`short_clips`"):
        MelFeatureExtractor(short_clips="")


# Shapes and sample formats


def test_channels_are_averaged(extractor, noise):
    stereo = np.stack([noise, np.zeros_like(noise)])
    assert torch.equal(extractor.mel_spectrogram([stereo], RATE), extractor.mel_spectrogram(noise / 2, RATE))


def test_batches_come_as_lists_and_arrays(extractor, noise):
    clips = np.stack([noise, noise * 0.1])
    one_by_one = torch.cat([extractor.mel_spectrogram(clip, RATE) for clip in clips])
    for batch in (clips, list(clips), clips.tolist(), torch.from_numpy(clips), clips[:, None]):
        torch.testing.assert_close(extractor.mel_spectrogram(batch, RATE), one_by_one)


def test_list_of_samples_is_one_clip(extractor, noise):
    assert torch.equal(extractor.mel_spectrogram(noise.tolist(), RATE), extractor.mel_spectrogram(noise, RATE))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8])
def test_integer_pcm_is_scaled(extractor, dtype):
    information = np.iinfo(dtype)
    centre, amplitude = (128, 128) if dtype == np.uint8 else (0, -float(information.min))
    pcm = np.round(sine(440, 0.5) * 0.5 * amplitude + centre).astype(dtype)
    expected = extractor.mel_spectrogram((pcm.astype(np.float64) - centre) / amplitude, RATE)
    torch.testing.assert_close(extractor.mel_spectrogram(pcm, RATE), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_float_type_is_read(extractor, noise, dtype):
    clip = torch.from_numpy(noise).to(dtype)
    assert torch.equal(extractor.mel_spectrogram(clip, RATE), extractor.mel_spectrogram(clip.float(), RATE))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_, np.complex64, np.str_])
def test_what_is_no_sample_format_is_refused(extractor, dtype):
    with pytest.raises(ValueError, match="`audio` has dtype .*int16"):
        extractor(np.ones(11025).astype(dtype), sampling_rate=RATE)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0), "empty clip"),
        ([], "empty list"),
        ([np.zeros(2000), np.zeros(0)], "empty clip"),
        (np.zeros((0, 2000)), r"shape \(0, 2000\)"),
        (np.float32(0.5), r"shape \(\)"),
        (np.zeros((1, 1, 1, 2000)), r"shape \(1, 1, 1, 2000\)"),
        (np.zeros(1023), "has 1023 samples; at least one frame of 1024 samples"),
        ([np.zeros((2000, 2))], r"shape \(2000, 2\).*transpose it"),
        (np.zeros((2000, 2)), r"shape \(2000, 2\).*transposed.*`\[audio.T\]`"),
        (np.zeros((2000, 2)).tolist(), r"shape \(2000, 2\).*transposed"),
        (np.zeros((2000, 64)), "has 64 samples.*transposed"),
        ({"array": np.zeros(2000), "sampling_rate": RATE}, r"'sampling_rate'\]; pass `audio\[\"array\"\]`"),
        ([{"audio": np.zeros(2000), "sampling_rate": RATE}], r"pass `audio\[\"audio\"\]`.*`sampling_rate`"),
        ({"samples": np.zeros(2000)}, "keys .*pass the array of samples"),
        ("x.wav", "`audio` is 'x.wav'.*read the file first"),
        ([np.zeros(2000), Path("x.wav")], "read the file first"),
        (np.full(2000, np.nan), "NaN or infinite"),
        (np.full(2000, np.inf), "NaN or infinite"),
        ([np.zeros(2000), np.full(2000, -np.inf)], "NaN or infinite"),
    ],
)
def test_what_is_no_clip_is_refused(extractor, audio, message):
    with pytest.raises(ValueError, match=message):
        extractor(audio, sampling_rate=RATE)


def test_samples_before_channels_are_refused_before_they_are_split(extractor, monkeypatch):
    monkeypatch.setattr(mono_clips, "_to_mono", lambda clip: pytest.fail("split into clips"))
    with pytest.raises(ValueError, match="transposed"):
        extractor(np.zeros((220500, 2), np.float32), sampling_rate=RATE)


def test_clips_are_left_as_they_were(extractor, noise):
    clip = noise.copy()
    clip.setflags(write=False)
    assert torch.equal(extractor.mel_spectrogram(clip, RATE), extractor.mel_spectrogram(noise, RATE))
    reversed_view = noise[::-1]
    assert torch.equal(
        extractor.mel_spectrogram(reversed_view, RATE), extractor.mel_spectrogram(reversed_view.copy(), RATE)
    )


# Sampling rates


def test_another_rate_is_refused_by_naming_both(extractor, noise):
    with pytest.raises(ValueError, match="`sampling_rate` 44100.* 22050.*`resample=True`"):
        extractor(noise, sampling_rate=44100)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 44_101, 44_075])
def test_resampling_keeps_the_tone(extractor, rate):
    resampled = extractor.mel_spectrogram(0.5 * sine(1000, 0.5, rate), rate, resample=True)
    expected = extractor.mel_spectrogram(0.5 * sine(1000, 0.5), RATE)
    middle = resampled[0, :, 5:37].mean(-1)
    assert middle.argmax() == expected[0, :, 5:37].mean(-1).argmax()
    loudest = expected > 0.6
    assert (resampled - expected)[loudest].abs().mean() < 0.01


def test_shortest_clip_is_measured_at_its_own_rate(extractor):
    with pytest.raises(ValueError, match="has 2047 samples; at least one frame of 2048 samples at 44100 Hz"):
        extractor(np.zeros(2047), sampling_rate=44100, resample=True)


def test_only_resampling_needs_torchaudio(noise, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    extractor = MelFeatureExtractor.from_clip_seconds(0.5)
    extractor(noise, sampling_rate=RATE)
    with pytest.raises(ValueError, match="`resample=True` needs the package torchaudio.*pip install"):
        extractor(noise, sampling_rate=16000, resample=True)


@pytest.mark.parametrize("rate", [0, -22050])
def test_rate_has_to_be_positive(extractor, noise, rate):
    with pytest.raises(ValueError, match=f"`sampling_rate` is {rate}; it has to be positive"):
        extractor(noise, sampling_rate=rate, resample=True)


# Saving, and the way back


@pytest.mark.parametrize("loader", [MelFeatureExtractor, AutoFeatureExtractor])
def test_saved_and_loaded_extractor_is_the_same(extractor, noise, tmp_path, loader):
    expected = extractor(noise, sampling_rate=RATE, return_tensors="pt").input_features
    extractor.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is MelFeatureExtractor
    assert loaded.to_dict() == extractor.to_dict()
    assert torch.equal(loaded(noise, sampling_rate=RATE, return_tensors="pt").input_features, expected)


def test_a_misspelled_argument_is_an_error_that_names_the_nearest(extractor, tmp_path):
    with pytest.raises(ValueError, match="no argument 'hop_lenght'; did you mean 'hop_length'"):
        MelFeatureExtractor(hop_lenght=3)
    extractor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no argument 'hop_lenght'; did you mean 'hop_length'"):
        MelFeatureExtractor.from_pretrained(tmp_path, hop_lenght=3)


def test_names_of_the_library_are_taken():
    extractor = MelFeatureExtractor(processor_class="Any", return_attention_mask=False, padding_side="left", _own=1)
    assert extractor.padding_side == "left"
    assert MelFeatureExtractor(**extractor.to_dict()).to_dict() == extractor.to_dict()


def test_a_file_of_another_version_is_read_with_a_warning(extractor, noise, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(strict_fields.logger, "warning", messages.append)
    extractor.save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"argument_of_the_future": 1}))
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert torch.equal(loaded.mel_spectrogram(noise, RATE), extractor.mel_spectrogram(noise, RATE))
    assert len(messages) == 1
    assert "argument_of_the_future" in messages[0]


def test_features_without_tensors_are_arrays(extractor, noise):
    features = extractor([noise, noise], sampling_rate=RATE).input_features
    assert [feature.shape for feature in features] == [(80, 32), (80, 32)]
    assert extractor(noise, sampling_rate=RATE, return_tensors="np").input_features.shape == (1, 80, 32)


def test_mel_of_the_inverse_is_near_the_mel():
    extractor = MelFeatureExtractor.from_clip_seconds(2.0)
    generator = np.random.default_rng(0)
    tones = sum(sine(frequency, 2.0) for frequency in (220, 700, 1800, 4100))
    clip = 0.1 * tones * np.linspace(0.1, 1, len(tones)) + generator.normal(0, 0.02, len(tones))
    features = extractor(clip, sampling_rate=RATE, return_tensors="pt").input_features
    waveform = extractor.inverse(features)
    assert waveform.shape == (1, 256 * extractor.num_frames)
    # The way back is as long as the used frames: compare those, away from the edges.
    again = extractor.mel_spectrogram(waveform, RATE, short_clips="zero")
    used = 2 * again[..., 2 : extractor.num_frames - 2] - 1
    error = (used - features[..., 2:-2]).abs().mean()
    assert error < 0.3 * (features - features.mean()).abs().mean()


def test_inverse_of_silence_is_silent(extractor):
    assert extractor.inverse(-torch.ones(1, 80, 32)).abs().max() < 1e-3

"""Waveforms for the vocoder training: aligned with their features, cut alike, reconstructed once."""

import pytest
import torch
from datasets import load_from_disk
from tiny_tokens import save_audio_tokenizer
from tiny_waveforms import made_up_clips, write_waveforms

from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.clip_randomness import clip_generators
from melspec_gpt.training.waveform_clips import (
    RECONSTRUCTION_COLUMN,
    add_reconstructions,
    aligned_waveforms,
    load_waveform_dataset,
    random_segments,
)


@pytest.fixture(scope="module")
def dataset_path(tmp_path_factory) -> str:
    return write_waveforms(tmp_path_factory.mktemp("waveforms"), num_clips=4, num_validation_clips=2)


def click(feature_extractor: MelFeatureExtractor, sample: int) -> torch.Tensor:
    audio = torch.zeros(1, feature_extractor.num_samples, dtype=torch.int16)
    audio[0, sample] = 20000
    return audio


def test_a_click_is_in_the_frame_that_the_features_show_it_in():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.6)
    crop = (feature_extractor.num_mel_frames - feature_extractor.num_frames) // 2
    audio = click(feature_extractor, (crop + 20) * 256)
    features = feature_extractor(audio[0], sampling_rate=22050, return_tensors="pt")["input_features"]
    assert features[0].mean(0).argmax() == 20
    assert aligned_waveforms(audio, feature_extractor).abs().argmax() == 20 * 256


def test_waveforms_are_as_long_as_their_features_and_in_their_range():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.6)
    audio = torch.from_numpy(made_up_clips(2, feature_extractor.num_samples))
    waveforms = aligned_waveforms(audio, feature_extractor)
    assert waveforms.shape == (2, 256 * feature_extractor.num_frames)
    assert 0.1 < waveforms.abs().max() <= 1


def test_what_lies_beyond_the_end_is_silent():
    """The 41 frames of 10 300 samples: the last one begins at sample 10 240."""
    feature_extractor = MelFeatureExtractor(num_samples=10300, num_mel_frames=41, num_frames=41)
    waveforms = aligned_waveforms(torch.full((1, 10300), 100, dtype=torch.int16), feature_extractor)
    assert waveforms.shape == (1, 41 * 256)
    assert (waveforms[:, 10300:] == 0).all()
    assert (waveforms[:, :10300] > 0).all()


def numbered_clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Features and waveforms that hold the number of their frame."""
    frames = torch.arange(40) / 40
    return frames.expand(3, 5, 40), frames.repeat_interleave(256).expand(3, -1)


def test_features_and_waveform_of_a_segment_are_of_the_same_stretch():
    segments = random_segments(*numbered_clips(), 8, 0.0, clip_generators([0, 1, 2], "seed"))
    features, waveforms = segments
    assert features.shape == (3, 5, 8)
    torch.testing.assert_close(features[:, 0].repeat_interleave(256, 1), waveforms)
    assert len(waveforms[:, 0].unique()) > 1


def test_a_quieter_segment_has_the_features_of_the_quieter_waveform():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.6)
    audio = torch.from_numpy(made_up_clips(2, feature_extractor.num_samples))
    features = feature_extractor(audio, sampling_rate=22050, return_tensors="pt")["input_features"]
    frames = feature_extractor.num_frames  # whole clips, so that only the level is drawn
    waveforms = aligned_waveforms(audio, feature_extractor)
    quieter, waveforms_then = random_segments(features, waveforms, frames, 20.0, clip_generators([0, 1], "a"))
    gains = waveforms_then.norm(dim=1) / waveforms.norm(dim=1)
    assert ((gains >= 0.1) & (gains < 1)).all()
    extracted = feature_extractor(
        audio / 32768 * gains.unsqueeze(1), sampling_rate=22050, return_tensors="pt"
    )["input_features"]  # fmt: skip
    torch.testing.assert_close(quieter, extracted, atol=1e-4, rtol=0)


def test_segments_depend_on_seed_and_clip_alone():
    one = random_segments(*numbered_clips(), 8, 6.0, clip_generators([5, 6, 7], 0, 1))
    features, waveforms = numbered_clips()
    alone = random_segments(features[1:2], waveforms[1:2], 8, 6.0, clip_generators([6], 0, 1))
    assert torch.equal(one[1][1:2], alone[1])
    other = random_segments(*numbered_clips(), 8, 6.0, clip_generators([5, 6, 7], 0, 2))
    assert not torch.equal(one[1], other[1])


def test_a_dataset_without_waveforms_says_how_to_get_them(dataset_path, tmp_path):
    splits = load_from_disk(dataset_path).remove_columns("audio")
    splits.save_to_disk(tmp_path)
    with pytest.raises(ValueError, match="audio.*--keep_audio"):
        load_waveform_dataset(tmp_path)


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_hold_mel_waveform_and_number(dataset_path, streaming):
    rows = load_waveform_dataset(dataset_path, streaming)["train"]
    feature_extractor = MelFeatureExtractor.from_pretrained(dataset_path)
    assert rows[1]["row"] == 1
    mel = feature_extractor.mel_spectrogram(rows[1]["audio"].short().unsqueeze(0), 22050)[0]
    torch.testing.assert_close(rows[1]["mel"].float(), mel, atol=1e-3, rtol=0)


def test_reconstructions_are_what_the_audio_tokenizer_gives_back(dataset_path, tmp_path):
    feature_extractor = MelFeatureExtractor.from_pretrained(dataset_path)
    audio_tokenizer = MelVQModel.from_pretrained(save_audio_tokenizer(tmp_path / "tokenizer"))
    rows = load_waveform_dataset(dataset_path)["train"]
    with_reconstructions = add_reconstructions(rows, audio_tokenizer, feature_extractor, tmp_path / "cache")
    assert with_reconstructions[2]["row"] == 2
    features = feature_extractor.normalize(rows[2]["mel"].float()).unsqueeze(0)
    expected = audio_tokenizer.decode(audio_tokenizer.encode(features).audio_codes, return_audio=False).input_features
    found = with_reconstructions[2][RECONSTRUCTION_COLUMN]
    torch.testing.assert_close(found.float(), expected[0].clamp(-1, 1), atol=2e-3, rtol=0)
    files = list((tmp_path / "cache").iterdir())
    add_reconstructions(rows, audio_tokenizer, feature_extractor, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == files
    audio_tokenizer.decoder.conv_out.bias.data += 1
    add_reconstructions(rows, audio_tokenizer, feature_extractor, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2 * len(files)

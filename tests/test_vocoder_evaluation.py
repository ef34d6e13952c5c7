"""Numbers of a vocoder: zero for the recording itself, right for a change of level, means for Griffin-Lim."""

import pytest
import torch
from tiny_waveforms import write_waveforms
from torch import nn

from melspec_gpt.modeling.modeling_griffin_lim import GriffinLimVocoder
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.vocoder_evaluation import clip_values, griffin_lim_baseline, resynthesized_features
from melspec_gpt.training.waveform_clips import RECONSTRUCTION_COLUMN, aligned_waveforms, load_waveform_dataset

NAMES = ("stft_distance", "mel_error", "level_error")


@pytest.fixture(scope="module")
def dataset_path(tmp_path_factory) -> str:
    return write_waveforms(tmp_path_factory.mktemp("waveforms"), num_clips=2, num_validation_clips=2)


@pytest.fixture(scope="module")
def feature_extractor(dataset_path) -> MelFeatureExtractor:
    return MelFeatureExtractor.from_pretrained(dataset_path)


@pytest.fixture(scope="module")
def batch(dataset_path) -> dict[str, torch.Tensor]:
    return load_waveform_dataset(dataset_path)["validation"][:2]


class Replay(nn.Module):
    """A perfect vocoder, but for its level."""

    def __init__(self, waveforms: torch.Tensor, gain: float):
        super().__init__()
        self.waveforms = waveforms
        self.gain = gain

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        return self.gain * self.waveforms


def values_of_replay(batch, feature_extractor, gain: float) -> dict[str, torch.Tensor]:
    return clip_values(Replay(aligned_waveforms(batch["audio"], feature_extractor), gain), batch, feature_extractor)


def test_the_recording_itself_is_no_distance_away(batch, feature_extractor):
    values = values_of_replay(batch, feature_extractor, 1.0)
    assert {name: len(value) for name, value in values.items()} == dict.fromkeys(NAMES, 2)
    assert values["stft_distance"].max() < 0.01
    assert values["mel_error"].max() < 1e-3
    assert values["level_error"].max() == 0


def test_half_the_level_is_6_decibels(batch, feature_extractor):
    values = values_of_replay(batch, feature_extractor, 0.5)
    torch.testing.assert_close(values["level_error"], torch.full((2,), 6.02), atol=0.01, rtol=0)
    # 6 of the 100 dB that the features' range of 2 covers; at the floor there is less to change.
    assert (values["mel_error"] <= 0.1205).all()
    assert (values["mel_error"] > 0.06).all()


def test_mels_of_the_audio_tokenizer_are_measured_beside_those_of_the_recording(batch, feature_extractor):
    silent = torch.full((2, 80, feature_extractor.num_frames), -1.0)
    griffin_lim = GriffinLimVocoder(**feature_extractor.spectrogram_geometry)
    values = clip_values(griffin_lim, batch | {RECONSTRUCTION_COLUMN: silent}, feature_extractor)
    assert len(values) == 6
    assert (values["reconstructed_stft_distance"] > values["stft_distance"]).all()
    assert (values["reconstructed_mel_error"] < values["mel_error"]).all()


def test_features_of_waveforms_are_as_long_as_those_they_were_made_of(batch, feature_extractor):
    waveforms = aligned_waveforms(batch["audio"], feature_extractor)
    features = resynthesized_features(waveforms, feature_extractor)
    assert features.shape == (2, 80, feature_extractor.num_frames)


def test_baseline_is_the_mean_over_the_clips(dataset_path, batch, feature_extractor):
    rows = load_waveform_dataset(dataset_path)["validation"]
    values = clip_values(GriffinLimVocoder(**feature_extractor.spectrogram_geometry), batch, feature_extractor)
    expected = {f"griffin_lim_{name}": value.mean().item() for name, value in values.items()}
    assert griffin_lim_baseline(rows, feature_extractor) == pytest.approx(expected, rel=1e-3)

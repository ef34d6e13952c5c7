import pytest

from melspec_gpt import MelGANConfig, MelGPTConfig, MelVQConfig
from melspec_gpt.configuration import value_checks


def test_defaults_give_the_original_grid():
    config = MelVQConfig()
    assert config.grid_shape == (5, 53)
    assert config.num_codes == 265


def test_five_second_geometry_by_configuration_alone():
    config = MelVQConfig(num_frames=416)
    assert config.grid_shape == (5, 26)
    assert config.num_codes == 130


def test_round_trip_keeps_every_field(tmp_path):
    config = MelVQConfig(
        base_channels=16, norm_num_groups=8, channel_multipliers=[1, 2], attention_levels=[], commitment_cost=1
    )
    config.save_pretrained(tmp_path)
    assert MelVQConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_frames": 850}, "num_frames"),
        ({"num_mel_bins": 0}, "num_mel_bins"),
        ({"base_channels": 20}, "norm_num_groups"),
        ({"attention_levels": [5]}, "attention_levels"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"channel_multipliers": []}, "channel_multipliers"),
        ({"norm_num_groups": 0}, "norm_num_groups"),
        ({"dropout": 1.0}, "`dropout` is 1.0"),
        ({"dropout": -0.1}, "`dropout` is -0.1"),
        ({"commitment_cost": -1}, "`commitment_cost` is -1"),
        ({"sampling_rate": 0}, "`sampling_rate` is 0"),
        ({"n_fft": 0}, "`n_fft` is 0"),
        ({"hop_length": 0}, "`hop_length` is 0"),
        ({"n_fft": 255}, "`n_fft` is 255 and `hop_length` 256"),
        ({"min_frequency": -1.0}, "`min_frequency` is -1.0"),
        ({"max_frequency": 125.0}, "`max_frequency` is 125.0.*above `min_frequency` = 125.0"),
        ({"max_frequency": float("nan")}, "`max_frequency` is nan"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        MelVQConfig(**wrong)


def test_vocoder_survives_a_round_trip(tmp_path):
    config = MelVQConfig(vocoder={"base_channels": 4, "weight_norm": False})
    config.save_pretrained(tmp_path)
    loaded = MelVQConfig.from_pretrained(tmp_path)
    assert isinstance(loaded.vocoder, MelGANConfig)
    assert loaded.to_dict() == config.to_dict()


def test_no_vocoder_survives_a_round_trip(tmp_path):
    MelVQConfig().save_pretrained(tmp_path)
    assert MelVQConfig.from_pretrained(tmp_path).vocoder is None


@pytest.mark.parametrize(
    ("vocoder", "named"),
    [
        ({"num_mel_bins": 40}, "vocoder.num_mel_bins.*40.*num_mel_bins.*80"),
        (MelGANConfig(sampling_rate=16000), "vocoder.sampling_rate.*16000.*sampling_rate.*22050"),
        ({"upsample_ratios": [8, 8, 2]}, "vocoder.upsample_ratios.*128.*hop_length.*256"),
        (MelGPTConfig(), "vocoder.*melgan"),
        ({"base_channels": 0}, "base_channels"),
    ],
)
def test_vocoder_that_does_not_fit_is_refused_by_name(vocoder, named):
    with pytest.raises(ValueError, match=named):
        MelVQConfig(vocoder=vocoder)


def test_bands_that_stay_empty_are_a_warning(monkeypatch):
    messages = []
    monkeypatch.setattr(value_checks.logger, "warning_once", messages.append)
    MelVQConfig(max_frequency=11025)
    assert not messages
    MelVQConfig(max_frequency=11026)
    assert "nothing above 11025.0 Hz" in messages[0]

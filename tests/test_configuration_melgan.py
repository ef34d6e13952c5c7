import pytest

from melspec_gpt import MelGANConfig


def test_defaults_are_the_originals():
    config = MelGANConfig()
    assert config.hop_length == 256
    assert config.weight_norm


def test_hop_is_the_product_of_the_ratios():
    assert MelGANConfig(upsample_ratios=[5, 3, 2]).hop_length == 30


def test_round_trip_keeps_every_field(tmp_path):
    config = MelGANConfig(num_mel_bins=40, upsample_ratios=[4, 3], num_residual_layers=2, weight_norm=False)
    config.save_pretrained(tmp_path)
    assert MelGANConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_mel_bins": 0}, "num_mel_bins"),
        ({"base_channels": -4}, "base_channels"),
        ({"num_residual_layers": 0}, "num_residual_layers"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"upsample_ratios": []}, "upsample_ratios"),
        ({"upsample_ratios": [8, 1]}, "upsample_ratios"),
    ],
)
def test_impossible_sizes_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        MelGANConfig(**wrong)

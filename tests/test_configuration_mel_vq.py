import pytest

from melspec_gpt import MelVQConfig


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
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        MelVQConfig(**wrong)

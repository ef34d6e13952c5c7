"""Mel pictures: which way up, and what is bright."""

import torch
from matplotlib import image

from melspec_gpt.training.mel_picture import write_mel_picture


def test_low_loud_band_is_bright_at_the_bottom(tmp_path):
    features = torch.full((8, 20), -1.0)
    features[0, 5:] = 1.0
    write_mel_picture(features, tmp_path / "a.png")
    brightness = image.imread(tmp_path / "a.png")[..., :3].sum(-1)  # rows from the top
    assert brightness.shape == (8, 20)
    assert (brightness[-1, 5:] > 2).all()
    assert (brightness[-1, :5] < 0.5).all()
    assert (brightness[:-1] < 0.5).all()


def test_scale_is_fixed_and_values_beyond_it_are_cut_off(tmp_path):
    for name, value in [("quiet", 0.0), ("loud", 1.0), ("louder", 3.0)]:
        write_mel_picture(torch.full((4, 4), value), tmp_path / f"{name}.png")
    pictures = [(tmp_path / f"{name}.png").read_bytes() for name in ("quiet", "loud", "louder")]
    assert pictures[0] != pictures[1] == pictures[2]

"""The discriminators of MelGAN: sizes of the paper, what each scale hears, where gradients go."""

import pytest
import torch

from melspec_gpt.modeling.modeling_melgan_discriminator import MelGANDiscriminator


def tiny(**sizes) -> MelGANDiscriminator:
    torch.manual_seed(0)
    return MelGANDiscriminator(**({"base_channels": 4, "max_channels": 8, "num_layers": 2} | sizes))


def test_the_defaults_are_the_sizes_of_the_paper():
    scales = MelGANDiscriminator().scales
    layers = [(layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.groups)
              for layer in scales[0].convolutions]  # fmt: skip
    assert len(scales) == 3
    assert layers == [
        (1, 16, 15, 1, 1),
        (16, 64, 41, 4, 4),
        (64, 256, 41, 4, 16),
        (256, 1024, 41, 4, 64),
        (1024, 1024, 41, 4, 256),
        (1024, 1024, 5, 1, 1),
        (1024, 1, 3, 1, 1),
    ]


def test_every_scale_gives_all_its_feature_maps_and_scores():
    outputs = tiny()(torch.randn(2, 1024))
    assert [[tuple(feature_map.shape) for feature_map in maps] for maps in outputs] == [
        [(2, 4, length), (2, 8, length // 4), (2, 8, length // 16), (2, 8, length // 16), (2, 1, length // 16)]
        for length in (1024, 512, 256)
    ]


def test_a_slower_scale_hears_the_average():
    """A tone at the highest frequency is gone after pooling, a constant is not."""
    discriminator = tiny()
    alternating = 0.5 * (-1.0) ** torch.arange(1024).unsqueeze(0)
    silence, constant = torch.zeros(1, 1024), torch.full((1, 1024), 0.5)
    outputs = [discriminator(waveforms) for waveforms in (alternating, silence, constant)]
    inner = slice(4, -4)  # at the edges fewer samples are averaged
    fast, slow = ([maps[scale][0][..., inner] for maps in outputs] for scale in (0, 1))
    assert not torch.allclose(fast[0], fast[1], atol=1e-3)
    torch.testing.assert_close(slow[0][..., 8:-8], slow[1][..., 8:-8])
    assert not torch.allclose(slow[2], slow[1], atol=1e-3)


def test_scales_have_weights_of_their_own():
    first, second = (scale.convolutions[0].weight for scale in tiny().scales[:2])
    assert not torch.equal(first, second)


def test_clips_are_judged_one_by_one():
    discriminator, waveforms = tiny(), torch.randn(3, 512)
    together = discriminator(waveforms)[0][-1]
    alone = torch.cat([discriminator(clip)[0][-1] for clip in waveforms.split(1)])
    torch.testing.assert_close(together, alone)


def test_weights_are_normalized():
    discriminator = tiny()
    names = [name for name, _ in discriminator.named_parameters()]
    assert sum("parametrizations.weight.original0" in name for name in names) == 3 * 5


@pytest.mark.parametrize(
    ("sizes", "words"),
    [({"base_channels": 6}, "`base_channels` is 6"), ({"max_channels": 0}, "`max_channels` is 0"),
     ({"num_layers": 0}, "`num_layers` is 0"), ({"num_scales": 0}, "`num_scales` 0")],
)  # fmt: skip
def test_impossible_sizes_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        tiny(**sizes)

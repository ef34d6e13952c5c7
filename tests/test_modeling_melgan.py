"""The tiny vocoder makes 12 samples of each frame of 6 bands."""

import copy

import pytest
import torch
from transformers import AutoModel

from melspec_gpt import MelGANConfig, MelGANVocoder


def new_vocoder(**changes) -> MelGANVocoder:
    torch.manual_seed(0)
    sizes = {"num_mel_bins": 6, "base_channels": 4, "upsample_ratios": [4, 3], "num_residual_layers": 2}
    return MelGANVocoder(MelGANConfig(**(sizes | changes))).eval()


def tiny_vocoder(**changes) -> MelGANVocoder:
    """A vocoder as loud as a trained one: its magnitudes are no longer those of the directions."""
    vocoder = new_vocoder(**changes)
    for name, weight in vocoder.named_parameters():
        if name.endswith(("original0", ".weight")):
            weight.data.mul_(2)
    return vocoder


@pytest.fixture
def vocoder() -> MelGANVocoder:
    return tiny_vocoder()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.rand(3, 6, 20, generator=torch.Generator().manual_seed(1)) * 2 - 1


def assert_same_weights(one: MelGANVocoder, other: MelGANVocoder) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


@torch.no_grad()
@pytest.mark.parametrize("ratios", [[4, 3], [5], [2, 7, 2], [8, 8, 2, 2]])
@pytest.mark.parametrize("frames", [4, 9])
def test_every_frame_becomes_hop_length_samples(ratios, frames):
    vocoder = tiny_vocoder(upsample_ratios=ratios)
    assert vocoder(torch.zeros(2, 6, frames)).shape == (2, vocoder.config.hop_length * frames)


@torch.no_grad()
def test_batch_rows_do_not_influence_each_other(vocoder, features):
    torch.testing.assert_close(vocoder(features[1:2]), vocoder(features)[1:2])


@torch.no_grad()
def test_a_frame_is_heard_only_around_its_own_time(vocoder, features):
    changed = features.clone()
    changed[:, :, 15] = -changed[:, :, 15]
    first = (vocoder(changed) != vocoder(features)).any(0).nonzero().min()
    # 3 frames from the first convolution, 1 from each upsampling (of 12 and 3 samples), 1 + 3 positions from the
    # blocks of the first stage (3 samples each), 1 + 3 samples from those of the second and 3 from the end
    reach = 3 * 12 + 12 + 3 + 4 * 3 + 4 + 3
    assert 15 * 12 - reach <= first < 15 * 12


@torch.no_grad()
def test_features_are_not_clamped(vocoder, features):
    assert not torch.equal(vocoder(1.5 * features), vocoder((1.5 * features).clamp(-1, 1)))


@pytest.mark.parametrize("shape", [(3, 5, 20), (6, 20), (3, 6, 0), (1, 3, 6, 20)])
def test_features_of_another_shape_are_refused(vocoder, shape):
    with pytest.raises(ValueError, match="input_features"):
        vocoder(torch.zeros(shape))


@torch.no_grad()
@pytest.mark.parametrize(("layers", "fewest"), [(1, 4), (4, 14)])
def test_the_fewest_frames_work_and_fewer_are_refused(layers, fewest):
    vocoder = tiny_vocoder(upsample_ratios=[2, 3], num_residual_layers=layers)
    assert vocoder(torch.zeros(1, 6, fewest)).isfinite().all()
    with pytest.raises(ValueError, match=rf"at least {fewest} frames"):
        vocoder(torch.zeros(1, 6, fewest - 1))


def test_gradients_reach_every_weight(vocoder, features):
    vocoder(features).square().mean().backward()
    assert [name for name, weight in vocoder.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_new_vocoder_of_full_size_is_not_too_quiet_to_learn():
    torch.manual_seed(0)
    vocoder = MelGANVocoder(MelGANConfig())
    vocoder(torch.rand(1, 80, 8)).sum().backward()
    assert vocoder.conv_in.bias.grad.norm() > 1e-4


def test_new_weights_are_normalised_to_themselves():
    vocoder = new_vocoder()
    for convolution in (vocoder.conv_in, vocoder.stages[0].upsample, vocoder.stages[1].blocks[0].shortcut):
        torch.testing.assert_close(convolution.weight, convolution.parametrizations.weight.original1)


@pytest.mark.parametrize("weight_norm", [True, False])
def test_loading_gives_the_saved_weights_every_time(tmp_path, weight_norm):
    vocoder = tiny_vocoder(weight_norm=weight_norm)
    vocoder.save_pretrained(tmp_path)
    for _ in range(2):
        loaded = AutoModel.from_pretrained(tmp_path)
        assert isinstance(loaded, MelGANVocoder)
        assert_same_weights(loaded, vocoder)


def test_a_missing_weight_does_not_reset_those_beside_it(vocoder, tmp_path):
    kept = {name: weight for name, weight in vocoder.state_dict().items() if name != "conv_in.bias"}
    vocoder.save_pretrained(tmp_path, state_dict=dict(kept))  # which it empties
    loaded = AutoModel.from_pretrained(tmp_path).state_dict()
    for name, weight in kept.items():
        assert torch.equal(loaded[name], weight), name


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_back_loads_and_runs(vocoder, features, tmp_path, dtype):
    reference = vocoder(features)
    vocoder.save_pretrained(tmp_path / "full")
    half = AutoModel.from_pretrained(tmp_path / "full", dtype=dtype)
    half.save_pretrained(tmp_path / "half")
    loaded = AutoModel.from_pretrained(tmp_path / "half")
    assert loaded.dtype == dtype
    assert_same_weights(loaded, half)
    assert torch.equal(loaded(features.to(dtype)), half(features.to(dtype)))
    back = AutoModel.from_pretrained(tmp_path / "half", dtype=torch.float32)
    assert_same_weights(back, half.float())
    torch.testing.assert_close(back(features), reference, atol=0.1 * reference.std().item(), rtol=0)


@torch.no_grad()
def test_removing_weight_norm_keeps_the_waveform_and_can_be_saved(vocoder, features, tmp_path):
    with_norm = vocoder(features)
    vocoder.remove_weight_norm()
    vocoder.remove_weight_norm()
    assert not vocoder.config.weight_norm
    assert not any("parametrizations" in name for name in vocoder.state_dict())
    torch.testing.assert_close(vocoder(features), with_norm, atol=1e-4, rtol=0)
    vocoder.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert_same_weights(loaded, vocoder)
    assert torch.equal(loaded(features), vocoder(features))


def test_removing_weight_norm_leaves_trainable_weights(vocoder, features):
    vocoder.remove_weight_norm()
    vocoder(features).square().mean().backward()
    assert all(weight.grad is not None for weight in vocoder.parameters())


@torch.no_grad()
def test_removing_weight_norm_from_a_copy_leaves_the_model_alone(vocoder, features):
    expected = vocoder(features)
    copy.deepcopy(vocoder).remove_weight_norm()
    assert vocoder.config.weight_norm
    assert torch.equal(vocoder(features), expected)


def test_full_size_has_as_many_weights_as_the_original():
    with torch.device("meta"):
        vocoder = MelGANVocoder(MelGANConfig())
    assert sum(weight.numel() for weight in vocoder.parameters()) == 4_266_050

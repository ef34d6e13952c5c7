"""The PatchGAN discriminator: sizes and weights of the original, what one logit sees, how it starts."""

import pytest
import torch
from safetensors.torch import load_file

from melspec_gpt.modeling.modeling_patch_discriminator import MIN_SIZE, PatchDiscriminator

PATCH = 70


def test_it_has_the_size_of_the_original():
    assert sum(parameter.numel() for parameter in PatchDiscriminator().parameters()) == 2_763_585


@torch.no_grad()
def test_weights_of_the_original_give_its_logits(shared_data):
    prefix = "discriminator."
    checkpoint = torch.load(shared_data / "golden" / "vqvae_tiny.pt", weights_only=True)
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.items() if name.startswith(prefix)}
    discriminator = PatchDiscriminator(base_channels=len(weights["main.0.weight"]))
    discriminator.load_state_dict(weights)
    golden = load_file(shared_data / "golden" / "vqvae.safetensors")
    logits = discriminator.eval()(golden["input"].squeeze(1))
    torch.testing.assert_close(logits, golden["discriminator_logits"].squeeze(1), atol=1e-4, rtol=0)


def test_a_logit_sees_its_patch_only():
    discriminator = PatchDiscriminator(2).eval()
    features = torch.randn(1, 160, 160, requires_grad=True)
    logits = discriminator(features)
    logits[0, logits.shape[1] // 2, logits.shape[2] // 2].backward()
    for axis in (1, 2):
        seen = features.grad[0].abs().sum(2 - axis).nonzero().flatten()
        assert seen.max() - seen.min() + 1 == PATCH


def test_weights_start_small():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(16)
    for layer in discriminator.main:
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0 < layer.weight.std() < 0.04


def test_smallest_features_give_one_logit():
    assert PatchDiscriminator(2)(torch.zeros(2, MIN_SIZE, MIN_SIZE)).shape == (2, 1, 1)
    with pytest.raises(RuntimeError):
        PatchDiscriminator(2)(torch.zeros(2, MIN_SIZE, MIN_SIZE - 1))

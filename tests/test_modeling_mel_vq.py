"""The tiny model has two levels: 8 bands x 12 frames become a 4 x 6 grid."""

import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForAudioTokenization

from melspec_gpt import MelVQConfig, MelVQModel


def tiny_model() -> MelVQModel:
    torch.manual_seed(0)
    config = MelVQConfig(
        num_mel_bins=8,
        num_frames=12,
        base_channels=8,
        channel_multipliers=[1, 2],
        num_res_blocks=1,
        attention_levels=[1],
        latent_channels=8,
        codebook_dim=8,
        codebook_size=16,
        norm_num_groups=4,
    )
    model = MelVQModel(config).eval()
    model.quantizer.codebook.weight.data.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def model() -> MelVQModel:
    return tiny_model()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_codes_are_time_major(model, features):
    grid = model.quantizer.nearest_codes(model._latents(features))  # (B, rows, steps)
    codes = model.encode(features).audio_codes
    rows, steps = model.config.grid_shape
    assert codes.shape == (3, 1, rows * steps)
    for step in range(steps):
        assert torch.equal(codes[:, 0, step * rows : (step + 1) * rows], grid[:, :, step])


@torch.no_grad()
def test_decode_of_codes_equals_the_reconstruction(model, features):
    output = model(features)
    decoded = model.decode(output.audio_codes)
    torch.testing.assert_close(decoded.input_features, output.reconstruction, atol=1e-5, rtol=0)
    assert decoded.audio_values.shape == (3, 12 * model.config.hop_length)


@torch.no_grad()
def test_decode_of_vectors_equals_decode_of_codes(model, features):
    encoded = model.encode(features)
    by_codes = model.decode(audio_codes=encoded.audio_codes, return_audio=False).input_features
    by_vectors = model.decode(
        quantized_representation=encoded.quantized_representation, return_audio=False
    ).input_features
    assert torch.equal(by_codes, by_vectors)


@torch.no_grad()
@pytest.mark.parametrize("frames", [2, 6, 20])
def test_other_lengths_of_whole_steps_work(model, frames):
    features = torch.zeros(1, 8, frames)
    codes = model.encode(features).audio_codes
    assert codes.shape[-1] == 4 * frames // 2
    assert model.decode(codes, return_audio=False).input_features.shape == features.shape


@torch.no_grad()
def test_batch_rows_do_not_influence_each_other(model, features):
    alone = model.encode(features[1:2]).audio_codes
    assert torch.equal(alone, model.encode(features).audio_codes[1:2])


@torch.no_grad()
def test_griffin_lim_output_is_reproducible(model, features):
    codes = model.encode(features).audio_codes
    assert torch.equal(model.decode(codes).audio_values, model.decode(codes).audio_values)


def test_loss_is_reconstruction_plus_codebook_and_reaches_every_weight(features):
    model = tiny_model().train()
    output = model(features)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + output.codebook_loss)
    torch.testing.assert_close(output.reconstruction_loss, (output.reconstruction - features).abs().mean())
    output.loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("shape", [(3, 7, 12), (3, 8, 13), (8, 12), (3, 8, 0)])
def test_features_of_another_shape_are_refused(model, shape):
    with pytest.raises(ValueError, match="input_features"):
        model.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "codes", [torch.full((1, 1, 24), 16), torch.full((1, 24), -1), torch.zeros(1, 1, 23, dtype=torch.long)]
)
def test_sequences_that_are_not_codes_are_refused(model, codes):
    with pytest.raises(ValueError, match="audio_codes"):
        model.decode(codes)


def test_decode_wants_exactly_one_input(model):
    with pytest.raises(ValueError, match="exactly one"):
        model.decode()


@torch.no_grad()
@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForAudioTokenization])
def test_saved_and_loaded_model_is_bit_exact(model, features, tmp_path, auto_class):
    model.save_pretrained(tmp_path)
    loaded = auto_class.from_pretrained(tmp_path)
    assert isinstance(loaded, MelVQModel)
    assert torch.equal(loaded(features).reconstruction, model(features).reconstruction)


def original_name(name: str) -> str:
    """Our name of a weight of the original VQ-VAE."""
    steps = [
        (r"^_(encoder|decoder)\.", r"\1."),
        (r"_vq_vae\._embedding", "quantizer.codebook"),
        (r"^post_quant_conv", "post_quantization"),
        (r"^quant_conv", "pre_quantization"),
        (r"\.down\.(\d)\.", r".levels.\1."),
        (r"\.up\.(\d)\.", lambda match: f".levels.{4 - int(match[1])}."),
        (r"\.block\.(\d)\.", r".blocks.\1."),
        (r"\.attn\.(\d)\.", r".attentions.\1."),
        (r"\.(up|down)sample\.", ".resample."),
        (r"nin_shortcut", "shortcut"),
        (r"mid\.block_1", "middle.0"),
        (r"mid\.attn_1", "middle.1"),
        (r"mid\.block_2", "middle.2"),
        (r"\.q\.", ".query."),
        (r"\.k\.", ".key."),
        (r"\.v\.", ".value."),
        (r"proj_out", "output"),
    ]
    for pattern, replacement in steps:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def original(shared_data):
    """The original's tiny VQ-VAE in our model, and its own outputs."""
    weights = torch.load(shared_data / "golden" / "vqvae_tiny.pt", weights_only=True)
    weights = {original_name(name): value for name, value in weights.items() if not name.startswith("discriminator")}
    model = MelVQModel(MelVQConfig(base_channels=32, latent_channels=64, codebook_dim=64)).eval()
    model.load_state_dict(weights)
    return model, load_file(shared_data / "golden" / "vqvae.safetensors")


@torch.no_grad()
def test_parity_with_the_original(original):
    model, golden = original
    output = model(golden["input"].squeeze(1))
    torch.testing.assert_close(output.latents, golden["z"], atol=1e-4, rtol=0)
    torch.testing.assert_close(output.reconstruction, golden["reconstruction"].squeeze(1), atol=1e-4, rtol=0)
    assert torch.equal(output.audio_codes.squeeze(1), golden["sequence_time_major"])
    torch.testing.assert_close(output.codebook_loss, golden["vq_loss"], atol=0, rtol=1e-5)
    torch.testing.assert_close(output.perplexity, golden["perplexity"], atol=0, rtol=1e-5)


def test_full_size_has_as_many_weights_as_the_original():
    with torch.device("meta"):
        model = MelVQModel(MelVQConfig())
    discriminator = 2_763_585
    assert sum(weight.numel() for weight in model.parameters()) == 74_671_298 - discriminator

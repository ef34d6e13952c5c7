"""The tiny model has two levels: 8 bands x 12 frames become a 4 x 6 grid."""

import json

import pytest
import torch
from transformers import AutoModel, AutoModelForAudioTokenization

from melspec_gpt import MelGANConfig, MelGANVocoder, MelVQConfig, MelVQModel


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


def tiny_vocoder(**changes) -> MelGANVocoder:
    torch.manual_seed(2)
    vocoder = MelGANVocoder(MelGANConfig(**({"num_mel_bins": 8, "base_channels": 2} | changes))).eval()
    for name, weight in vocoder.named_parameters():
        if name.endswith("original0"):
            weight.data.mul_(1.7)  # a new vocoder is too quiet to tell its waveforms apart
    return vocoder


@pytest.fixture(scope="module")
def model() -> MelVQModel:
    return tiny_model()


@pytest.fixture
def speaking_model() -> MelVQModel:
    """A model with a vocoder inside."""
    model = tiny_model()
    model.set_vocoder(tiny_vocoder())
    return model


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


@pytest.mark.parametrize("shape", [(3, 7, 12), (3, 8, 13), (8, 12), (3, 8, 0), (0, 8, 12)])
def test_features_of_another_shape_are_refused(model, shape):
    with pytest.raises(ValueError, match="`input_features` has shape"):
        model.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "codes",
    [
        torch.full((1, 1, 24), 16),
        torch.full((1, 24), -1),
        torch.zeros(1, 1, 23, dtype=torch.long),
        torch.zeros(0, 1, 24, dtype=torch.long),
        torch.zeros(0, 24, dtype=torch.long),
    ],
)
def test_sequences_that_are_not_codes_are_refused(model, codes):
    with pytest.raises(ValueError, match="`audio_codes`"):
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


@torch.no_grad()
def test_decode_goes_through_the_vocoder(speaking_model, features):
    decoded = speaking_model.decode(speaking_model.encode(features).audio_codes)
    expected = tiny_vocoder()(decoded.input_features.clamp(-1, 1))
    assert decoded.audio_values.shape == (3, 12 * speaking_model.config.hop_length)
    assert torch.equal(decoded.audio_values, expected)


@torch.no_grad()
def test_vocoder_hears_features_within_its_range(speaking_model):
    speaking_model.decoder.conv_out.bias.fill_(5.0)
    decoded = speaking_model.decode(torch.zeros(1, 1, 24, dtype=torch.long))
    assert decoded.input_features.min() > 1
    assert torch.equal(decoded.audio_values, tiny_vocoder()(torch.ones(1, 8, 12)))


@torch.no_grad()
def test_without_its_vocoder_a_model_falls_back_to_griffin_lim(model, speaking_model, features):
    codes = model.encode(features).audio_codes
    speaking_model.set_vocoder(None)
    assert speaking_model.config.vocoder is None
    assert torch.equal(speaking_model.decode(codes).audio_values, model.decode(codes).audio_values)


def test_vocoder_follows_the_precision_of_the_model():
    model = tiny_model().to(torch.bfloat16)
    model.set_vocoder(tiny_vocoder())
    assert {weight.dtype for weight in model.vocoder.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_mel_bins": 10}, "num_mel_bins"),
        ({"sampling_rate": 16000}, "sampling_rate"),
        ({"upsample_ratios": [8, 8, 2]}, "upsample_ratios.*hop_length"),
    ],
)
def test_vocoder_for_other_features_is_refused_and_changes_nothing(speaking_model, changes, named):
    vocoder = speaking_model.vocoder
    with pytest.raises(ValueError, match=named):
        speaking_model.set_vocoder(tiny_vocoder(**changes))
    assert speaking_model.vocoder is vocoder
    assert speaking_model.config.vocoder is vocoder.config


def test_loss_does_not_reach_the_vocoder(speaking_model, features):
    speaking_model.train()(features).loss.backward()
    with_gradient = {name for name, weight in speaking_model.named_parameters() if weight.grad is not None}
    assert with_gradient == {name for name, _ in tiny_model().named_parameters()}


@torch.no_grad()
@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForAudioTokenization])
@pytest.mark.parametrize("weight_norm", [True, False])
def test_vocoder_is_saved_and_loaded_with_the_model(speaking_model, features, tmp_path, auto_class, weight_norm):
    if not weight_norm:
        speaking_model.vocoder.remove_weight_norm()
    speaking_model.save_pretrained(tmp_path)
    loaded = auto_class.from_pretrained(tmp_path)
    assert loaded.config.vocoder.weight_norm == weight_norm
    assert loaded.state_dict().keys() == speaking_model.state_dict().keys()
    for name, weight in speaking_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    codes = speaking_model.encode(features).audio_codes
    assert torch.equal(loaded.decode(codes).audio_values, speaking_model.decode(codes).audio_values)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_model_speaks_in_float32(speaking_model, features, tmp_path, dtype):
    speaking_model.save_pretrained(tmp_path / "full")
    AutoModel.from_pretrained(tmp_path / "full", dtype=dtype).save_pretrained(tmp_path / "half")
    half = AutoModel.from_pretrained(tmp_path / "half")
    assert half.dtype == half.vocoder.dtype == dtype
    audio = half.decode(half.encode(features.to(dtype)).audio_codes).audio_values
    assert audio.dtype == torch.float32
    assert audio.isfinite().all()
    back = AutoModel.from_pretrained(tmp_path / "half", dtype=torch.float32)
    codes = speaking_model.encode(features).audio_codes
    expected = speaking_model.decode(codes).audio_values
    torch.testing.assert_close(back.decode(codes).audio_values, expected, atol=0.2 * expected.std().item(), rtol=0)


def test_model_without_vocoder_stays_without_one(model, tmp_path):
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["vocoder"] is None
    assert AutoModel.from_pretrained(tmp_path).vocoder is None


def test_checkpoint_from_before_there_was_a_vocoder_loads_whole(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["vocoder"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, report = MelVQModel.from_pretrained(tmp_path, output_loading_info=True)
    assert loaded.vocoder is None
    assert not any(report.values())


def test_full_size_has_as_many_weights_as_the_original():
    with torch.device("meta"):
        model = MelVQModel(MelVQConfig())
    discriminator = 2_763_585
    assert sum(weight.numel() for weight in model.parameters()) == 74_671_298 - discriminator

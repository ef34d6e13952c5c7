"""Does the GPT-VAE compute what the original computes, after conversion by the command line?"""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.convert_original_checkpoints import main as convert
from melspec_gpt.modeling.modeling_gaussian_latent import log_normal, log_standard_normal
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel


@pytest.fixture(scope="module")
def golden(shared_data):
    return load_file(shared_data / "golden" / "gpt_vae.safetensors")


@pytest.fixture(scope="module")
def original(shared_data, tmp_path_factory):
    """The original's tiny checkpoint, converted by the command line."""
    folder = tmp_path_factory.mktemp("converted") / "vae"
    checkpoint = shared_data / "golden" / "gpt_vae_tiny.ckpt"
    convert(f"--kind vae --checkpoint {checkpoint} --output_dir {folder} --num_attention_heads 4".split())
    return AutoModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def original_outputs(original, golden):
    with torch.no_grad():
        return original(golden["codes"], noise=golden["noise"].squeeze(1))


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        ("mean", "mu", 1e-5),
        ("log_variance", "logvar", 1e-5),
        ("latents", "z", 1e-5),
        ("kl_nats", "kl", 1e-4),
        ("reconstruction_nats", "reconstruct_error", 5e-3),
    ],
)
def test_outputs_equal_the_original(original_outputs, golden, ours, theirs, tolerance):
    expected = golden[theirs].reshape(original_outputs[ours].shape)
    torch.testing.assert_close(original_outputs[ours], expected, atol=tolerance, rtol=0)


def test_logits_equal_the_original(original, original_outputs, golden):
    logits = original_outputs.logits[..., : original.config.codebook_size]
    torch.testing.assert_close(logits, golden["decoder_logits"], atol=1e-4, rtol=0)


def test_densities_equal_the_original(original_outputs, golden):
    latents, mean, log_variance = (original_outputs[name] for name in ("latents", "mean", "log_variance"))
    posterior, prior = log_normal(latents, mean, log_variance), log_standard_normal(latents)
    torch.testing.assert_close(posterior, golden["log_q_z_given_x"].squeeze(1), atol=5e-3, rtol=0)
    torch.testing.assert_close(prior, golden["log_p_z"].squeeze(1), atol=5e-3, rtol=0)


@pytest.mark.parametrize(("case", "kl_weight"), [("fb0", 0.5), ("beta0", 0.0)])
def test_the_training_step_equals_the_original(shared_data, original, golden, case, kl_weight):
    expected = load_file(shared_data / "golden" / "gpt_vae_training_step.safetensors")
    original.zero_grad()
    loss = original(golden["codes"], noise=golden["noise"].squeeze(1), kl_weight=kl_weight).loss
    loss.backward()
    gradients = [parameter.grad.norm() for parameter in original.parameters()]
    torch.testing.assert_close(loss, expected[f"{case}/loss"], atol=0, rtol=1e-5)
    torch.testing.assert_close(torch.stack(gradients).norm(), expected[f"{case}/grad_norm"], atol=0, rtol=1e-4)
    head_gradient = original.encoder_head.weight.grad.norm()
    torch.testing.assert_close(head_gradient, expected[f"{case}/encoder_head_grad_norm"], atol=0, rtol=1e-4)


@torch.no_grad()
def test_encoder_attention_equals_the_original(original, golden):
    original.set_attn_implementation("eager")
    attentions = original.encode(golden["codes"], output_attentions=True).attentions
    original.set_attn_implementation("sdpa")
    expected = golden["encoder_last_attention_last_row"]
    torch.testing.assert_close(attentions[-1][:, :, -1], expected, atol=1e-5, rtol=0)


def test_greedy_sentences_equal_the_original(original, golden):
    assert torch.equal(original.reconstruct(golden["codes"]), golden["greedy_recon_from_mu"])
    from_prior = original.generate(latents=golden["prior_z"].squeeze(0), do_sample=False)
    assert torch.equal(from_prior, golden["greedy_from_prior_z"])


def test_the_interpolation_equals_the_original(original, golden):
    path = original.interpolate(golden["codes"][0], golden["codes"][1], steps=5)
    assert torch.equal(path, golden["interp_mu0_mu1_greedy"])


def test_the_importance_weighted_likelihood_equals_the_original(shared_data, original, golden):
    metrics = load_file(shared_data / "golden" / "gpt_vae_metrics.safetensors")
    nll = original.importance_weighted_nll(golden["codes"], num_samples=8, noise=metrics["iw8_noise"])
    torch.testing.assert_close(nll, metrics["iw8_nll"], atol=5e-3, rtol=0)


def test_the_original_size_has_the_original_number_of_parameters():
    with torch.device("meta"):
        model = MelGPTVAEModel(MelGPTVAEConfig())
    null_classes = 2 * model.config.decoder.hidden_size
    assert sum(parameter.numel() for parameter in model.parameters()) == 607_656_960 + null_classes

"""Values and metrics of a GPT-VAE over clips: definitions, and independence of the batches."""

import math

import pytest
import torch
from safetensors.torch import load_file
from tiny_tokens import CODEBOOK_SIZE, NUM_CODES, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.convert_original_checkpoints import main as convert
from melspec_gpt.modeling.modeling_gaussian_latent import gaussian_kl
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import clip_generators, draw_noise, number_rows
from melspec_gpt.training.latent_metrics import active_units
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.vae_evaluation import clip_values, evaluate_vae, summarize_clips


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return number_rows(
        load_built_dataset(write_dataset(tmp_path_factory.mktemp("tokens")), ["codes", "label"])["train"]
    )


def tiny_model(**overrides):
    torch.manual_seed(0)
    shared = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES, "initializer_range": 0.3}
    return MelGPTVAEModel(load_model_config(MelGPTVAEConfig, "tiny", overrides, encoder=shared, decoder=shared)).eval()


@torch.no_grad()
def test_values_are_those_of_the_posterior_and_of_the_prior(rows):
    model, batch = tiny_model(), rows[:3]
    values = clip_values(model.config, model, batch, clip_generators(range(3), 7))
    noise, random_latents = draw_noise(clip_generators(range(3), 7), 2, model.config.latent_size).unbind(1)
    posterior = model.encode(batch["codes"], noise=noise)
    torch.testing.assert_close(values["latents"], posterior.latents)
    torch.testing.assert_close(values["kl_loss"], gaussian_kl(posterior.mean, posterior.log_variance).sum(1))
    for name, latents in (("reconstruction_loss", posterior.latents), ("random_latent_loss", random_latents)):
        logits = model(batch["codes"], latents=latents).logits
        expected = -logits.log_softmax(-1).gather(-1, batch["codes"].unsqueeze(-1)).sum((1, 2))
        torch.testing.assert_close(values[name], expected)


def test_summary_follows_from_the_values():
    torch.manual_seed(0)
    values = {
        "reconstruction_loss": torch.tensor([20.0, 40.0]),
        "kl_loss": torch.tensor([4.0, 6.0]),
        "random_latent_loss": torch.tensor([50.0, 70.0]),
        "mean": torch.tensor([[0.0, 1.0], [3.0, 1.0]]),
        "log_variance": torch.zeros(2, 2),
        "latents": torch.randn(2, 2),
    }
    metrics = summarize_clips(values, num_codes=10)
    expected = {"reconstruction_loss": 30, "kl_loss": 5, "elbo": -35, "nats_per_code": 3.5, "active_units": 1}
    expected |= {"reconstruction_nats_per_code": 3, "random_latent_nats_per_code": 6, "perplexity": math.exp(3.5)}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert set(metrics) == {*expected, "mutual_information", "mutual_information_one_draw"}


def test_batch_size_makes_no_difference_and_the_seed_does(rows):
    model = tiny_model()
    results = [
        evaluate_vae(model, rows, num_importance_samples=3, batch_size=size, seed=seed)
        for size, seed in ((12, 0), (5, 0), (5, 1))
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-4)
    assert results[0]["importance_weighted_nll"] != pytest.approx(results[2]["importance_weighted_nll"], rel=1e-4)


def test_importance_weighted_likelihood_is_left_out_on_request(rows):
    assert "importance_weighted_nll" not in evaluate_vae(tiny_model(), rows, num_importance_samples=0)


def test_importance_weighted_likelihood_is_tighter_than_the_elbo(rows):
    metrics = evaluate_vae(tiny_model(), rows, num_importance_samples=100)
    assert metrics["importance_weighted_nll"] < -metrics["elbo"]


def test_decoder_with_classes_reads_the_labels(rows):
    model = tiny_model(class_conditioning=True, decoder={"id2label": {0: "a", 1: "b", 2: "c"}})
    right = evaluate_vae(model, rows, num_importance_samples=2)
    wrong = rows.remove_columns("label").add_column("label", [0] * len(rows))
    wrong = evaluate_vae(
        model, wrong.with_format("torch", columns=["codes", "label", "row"]), num_importance_samples=2
    )
    for name in ("reconstruction_loss", "random_latent_nats_per_code", "importance_weighted_nll"):
        assert right[name] != pytest.approx(wrong[name], rel=1e-4)


@pytest.fixture(scope="module")
def original(shared_data, tmp_path_factory):
    """The original's tiny model, and what was measured of it."""
    folder, files = tmp_path_factory.mktemp("converted") / "vae", shared_data / "golden"
    checkpoint = str(files / "gpt_vae_tiny.ckpt")
    convert(["--kind", "vae", "--checkpoint", checkpoint, "--output_dir", str(folder), "--num_attention_heads", "4"])
    return MelGPTVAEModel.from_pretrained(folder).eval(), load_file(files / "gpt_vae_metrics.safetensors")


@torch.no_grad()
def test_latents_of_the_original_have_its_metrics(original):
    model, expected = original
    posterior = model.encode(expected["codes64"], noise=expected["mi_noise"][:, 0])
    nats = torch.zeros(len(posterior.mean))
    values = dict.fromkeys(("reconstruction_loss", "kl_loss", "random_latent_loss"), nats) | dict(posterior.items())
    metrics = summarize_clips(values, num_codes=expected["codes64"].shape[1])
    assert metrics["mutual_information_one_draw"] == pytest.approx(expected["mi_for_noise"].item(), abs=5e-3)
    assert metrics["active_units"] == active_units(expected["mu64"]) == expected["au"].item()
    torch.testing.assert_close(posterior.mean.var(0), expected["au_var"], rtol=1e-4, atol=0)

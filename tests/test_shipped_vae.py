"""Does the GPT-VAE in the repository do what the README says of it?"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

import melspec_gpt  # noqa: F401  registers the Auto classes

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
CHECKPOINT = CHECKPOINTS / "esc10-vae-small"
MAXIMUM_BYTES = 30_000_000


@pytest.fixture(scope="module")
def model():
    return AutoModel.from_pretrained(CHECKPOINT).eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def codes(model):
    torch.manual_seed(0)
    return model.generate(num_samples=4)


def test_all_checkpoints_together_are_within_the_limit():
    files = [path for path in CHECKPOINTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAXIMUM_BYTES
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


def test_it_computes_in_single_precision(model):
    assert model.dtype == torch.float32


def test_samples_sound(processor, codes):
    waveforms = processor.batch_decode(codes)
    assert waveforms.shape == (4, 106_496)
    assert (waveforms.std(dim=1) > 1e-3).any()


@torch.no_grad()
def test_the_latent_counts(model, codes):
    """Codes are more probable from their own latents than from those of the next clip."""
    means = model.encode(codes).mean
    own, other = (model(codes, latents=latents).reconstruction_loss for latents in (means, means.roll(1, 0)))
    assert own + 5 < other


def test_a_gap_is_filled_and_the_rest_is_kept(model, processor, codes):
    sound = processor.batch_decode(codes[:1])[0]
    inputs = processor(audio=sound, sampling_rate=22050, short_clips="repeat", hidden_seconds=(2.0, 3.0))
    torch.manual_seed(0)
    filled = model.impute(inputs["input_ids"], inputs["mask"], num_candidates=2)
    assert torch.equal(filled[~inputs["mask"]], inputs["input_ids"][~inputs["mask"]])
    assert filled.max() < model.config.codebook_size


def test_card_gives_the_measured_numbers():
    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((CHECKPOINT / "evaluation.json").read_text())["metrics"]
    assert f"{metrics['elbo']:.1f}, {metrics['importance_weighted_nll']:.1f}" in card
    assert f"{metrics['kl_loss']:.1f}; {metrics['active_units']:.0f} of 12" in card
    assert f"{metrics['reconstruction_nats_per_code']:.2f} / {metrics['random_latent_nats_per_code']:.2f}" in card

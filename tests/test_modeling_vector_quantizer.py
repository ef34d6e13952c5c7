import pytest
import torch

from melspec_gpt.modeling.modeling_vector_quantizer import VectorQuantizer, code_perplexity


@pytest.fixture
def quantizer() -> VectorQuantizer:
    quantizer = VectorQuantizer(codebook_size=4, codebook_dim=2, commitment_cost=0.25)
    quantizer.codebook.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return quantizer


def test_nearest_vector_wins(quantizer):
    latents = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).t().reshape(1, 2, 1, 2)
    assert quantizer.nearest_codes(latents).tolist() == [[[1, 2]]]


def test_lookup_inverts_nearest_codes(quantizer):
    codes = torch.tensor([[[0, 1], [2, 3]]])
    assert torch.equal(quantizer.nearest_codes(quantizer.lookup(codes)), codes)


def test_gradient_passes_straight_through(quantizer):
    latents = torch.full((1, 2, 1, 1), 0.3, requires_grad=True)
    quantizer(latents).quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_commitment_cost_weighs_the_encoder_term_only(quantizer):
    latents = torch.tensor([0.8, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    quantizer(latents).loss.backward()
    error = torch.tensor([-0.2, 0.0])  # latent minus nearest vector
    torch.testing.assert_close(latents.grad.flatten(), 0.25 * error)
    torch.testing.assert_close(quantizer.codebook.weight.grad[1], -error)


def test_perplexity_of_known_histograms():
    assert code_perplexity(torch.zeros(5, dtype=torch.long), 8).item() == pytest.approx(1.0)
    assert code_perplexity(torch.arange(8), 8).item() == pytest.approx(8.0)
    assert code_perplexity(torch.tensor([0, 0, 1, 1]), 8).item() == pytest.approx(2.0)

"""How do continuous latents become codes, and codes latents again?"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class QuantizerOutput:
    """Result of [`VectorQuantizer`]: straight-through latents (B, C, H, W), codes (B, H, W), two scalars."""

    quantized: torch.Tensor
    codes: torch.Tensor
    loss: torch.Tensor
    perplexity: torch.Tensor


class VectorQuantizer(nn.Module):
    """
    Nearest-neighbour quantizer with a straight-through gradient (van den Oord et al., 2017, arXiv:1711.00937, eq. 3):
    loss = mse(codebook vector, sg[latent]) + commitment_cost * mse(sg[codebook vector], latent).
    """

    def __init__(self, codebook_size: int, codebook_dim: int, commitment_cost: float):
        super().__init__()
        self.commitment_cost = commitment_cost
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def nearest_codes(self, latents: torch.Tensor) -> torch.Tensor:
        """Indices (..., H, W) of the codebook vectors nearest to `latents` (B, C, H, W), by squared distance."""
        vectors = latents.permute(0, 2, 3, 1)  # (B, H, W, C)
        weight = self.codebook.weight
        # |z - e|^2 without |z|^2, which does not change the argmin
        distances = weight.square().sum(1) - 2 * vectors @ weight.t()  # (B, H, W, codebook_size)
        return distances.argmin(-1)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """Codebook vectors (B, C, H, W) of `codes` (B, H, W)."""
        return self.codebook(codes).permute(0, 3, 1, 2)

    def forward(self, latents: torch.Tensor) -> QuantizerOutput:
        codes = self.nearest_codes(latents)
        quantized = self.lookup(codes)
        codebook_term = F.mse_loss(quantized, latents.detach())
        commitment_term = F.mse_loss(latents, quantized.detach())
        return QuantizerOutput(
            quantized=latents + (quantized - latents).detach(),
            codes=codes,
            loss=codebook_term + self.commitment_cost * commitment_term,
            perplexity=code_perplexity(codes, self.codebook.num_embeddings),
        )


def code_perplexity(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """exp(entropy) of the code histogram of `codes` (any shape): 1 for a single code, `codebook_size` if uniform."""
    probabilities = torch.bincount(codes.flatten(), minlength=codebook_size) / codes.numel()
    return torch.exp(torch.special.entr(probabilities).sum())

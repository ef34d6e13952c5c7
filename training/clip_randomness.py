"""Which random numbers does a clip get, so that batch size, order and number of processes make no difference?"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset

from melspec_gpt.training.code_masks import random_code_mask

SEED_BITS = 63
ROW_COLUMN = "row"


def number_rows(rows: Dataset) -> Dataset:
    """Adds the column `row` with the number of each clip, which [`clip_generators`] needs."""
    columns = rows.format["columns"]
    return rows.add_column(ROW_COLUMN, range(len(rows))).with_format("torch", columns=[*columns, ROW_COLUMN])


def clip_generators(rows: Iterable[int], *context: int | str) -> list[torch.Generator]:
    """
    A source of random numbers for each clip, on the CPU.

    Args:
        rows (`Iterable[int]`): numbers of the clips.
        context (`int` or `str`): what else the random numbers depend on, such as seed and epoch.
    """
    prefix = "/".join(map(str, context))
    return [
        torch.Generator().manual_seed(random.Random(f"{prefix}/{int(row)}").getrandbits(SEED_BITS)) for row in rows
    ]


def draw_noise(generators: Sequence[torch.Generator], *shape: int) -> torch.FloatTensor:
    """Standard normal noise of `shape` for each clip, `(batch_size, *shape)`."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@dataclass(frozen=True, kw_only=True)
class CodeNoise:
    """
    What encoder and decoder of a GPT-VAE read in training in place of the true codes.

    Args:
        codebook_size (`int`): number of different codes; as an id, it is the hidden code.
        grid_shape (`tuple[int, int]`): frequency rows and time steps of a clip.
        mask_probability (`float`): share of the clips that the encoder reads with a gap.
        code_noise (`float`): share of the codes that the decoder reads as random ones.
    """

    codebook_size: int
    grid_shape: tuple[int, int]
    mask_probability: float = 0.0
    code_noise: float = 0.0

    def apply(
        self, codes: torch.LongTensor, generators: Sequence[torch.Generator]
    ) -> tuple[torch.LongTensor, torch.LongTensor]:
        """
        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): true codes.
            generators (`Sequence[torch.Generator]`): one for each clip.

        Returns:
            Two `torch.LongTensor` of the shape of `codes`: what the encoder reads, and what the decoder reads.
        """
        hidden = torch.stack([self._hidden(generator) for generator in generators]).to(codes.device)
        noise = [self._replacements(row, generator) for row, generator in zip(codes.cpu(), generators, strict=True)]
        return codes.masked_fill(hidden, self.codebook_size), torch.stack(noise).to(codes.device)

    def _hidden(self, generator: torch.Generator) -> torch.Tensor:
        rows, steps = self.grid_shape
        if torch.rand((), generator=generator) >= self.mask_probability:
            return torch.zeros(rows * steps, dtype=torch.bool)
        return random_code_mask(self.grid_shape, generator)

    def _replacements(self, codes: torch.LongTensor, generator: torch.Generator) -> torch.LongTensor:
        replaced = torch.rand(codes.shape, generator=generator) < self.code_noise
        return torch.where(replaced, torch.randint(self.codebook_size, codes.shape, generator=generator), codes)

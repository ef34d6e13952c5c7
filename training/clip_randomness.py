"""Which random numbers does a clip get, so that batch size, order and number of processes make no difference?"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset

from melspec_gpt.training.code_masks import random_code_mask
from melspec_gpt.training.sharded_rows import ShardedRows

SEED_BITS = 63
ROW_COLUMN = "row"


def number_rows(rows: Dataset | ShardedRows) -> Dataset | ShardedRows:
    """Adds the column `row` with the number of each clip, which [`clip_generators`] needs."""
    if isinstance(rows, ShardedRows):
        return rows.numbered(ROW_COLUMN)
    columns = rows.format["columns"]
    # Without the others, one of which may have that name.
    rows = rows.select_columns(columns)
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


def with_random_codes(
    codes: torch.LongTensor, share: float, codebook_size: int, generators: Sequence[torch.Generator]
) -> torch.LongTensor:
    """
    Sentences in which some codes are replaced.

    Args:
        codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): true codes.
        share (`float`): probability of a random code instead of a code.
        codebook_size (`int`): number of different codes.
        generators (`Sequence[torch.Generator]`): one for each clip.
    """
    rows = []
    for row, generator in zip(codes.cpu(), generators, strict=True):
        replaced = torch.rand(row.shape, generator=generator) < share
        rows.append(torch.where(replaced, torch.randint(codebook_size, row.shape, generator=generator), row))
    return torch.stack(rows).to(codes.device)


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
        noisy_codes = with_random_codes(codes, self.code_noise, self.codebook_size, generators)
        return codes.masked_fill(hidden, self.codebook_size), noisy_codes

    def _hidden(self, generator: torch.Generator) -> torch.Tensor:
        rows, steps = self.grid_shape
        if torch.rand((), generator=generator) >= self.mask_probability:
            return torch.zeros(rows * steps, dtype=torch.bool)
        return random_code_mask(self.grid_shape, generator)

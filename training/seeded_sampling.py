"""How can a sampled sentence be repeated on its own, whatever else was in its batch?"""

import random
from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SEED_BITS = 63


def sentence_seed(seed: int, class_name: str, index: int) -> int:
    """Seed of the sentence number `index` of a class: other classes and a larger number of sentences leave it be."""
    return random.Random(f"{seed}/{class_name}/{index}").getrandbits(SEED_BITS)


class SeededSamplingLogitsProcessor(LogitsProcessor):
    r"""
    Sampling in which every sentence has random numbers of its own. With Gumbel noise added to the log-probabilities,
    the largest score is a draw from the distribution (Gumbel, 1954); so `generate` has to be called with
    `do_sample=False`, and this processor has to be the last one. The draws come from the CPU, which makes them the
    same on all devices.

    Args:
        seeds (`Sequence[int]`): one seed for each row of the batch.
        temperature (`float`): as in [`~transformers.GenerationConfig`].
        top_k (`int`): codes that can be chosen; 0 for all.
        top_p (`float`): probability mass of the codes that can be chosen; 1 for all.
    """

    def __init__(self, seeds: Sequence[int], temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.warpers = LogitsProcessorList([TemperatureLogitsWarper(float(temperature))])
        if top_k > 0:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            self.warpers.append(TopPLogitsWarper(top_p))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): sentences so far.
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): logits of the next id.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, vocab_size)`: scores whose largest one is the id drawn.

        Raises:
            ValueError: if there are not as many rows as seeds.
        """
        if len(scores) != len(self.generators):
            raise ValueError(f"`scores` has {len(scores)} rows, but there are {len(self.generators)} `seeds`.")
        waiting_times = torch.empty(scores.shape, dtype=torch.float64)
        for row, generator in zip(waiting_times, self.generators, strict=True):
            row.exponential_(generator=generator)
        return self.warpers(input_ids, scores) - waiting_times.log().to(scores)

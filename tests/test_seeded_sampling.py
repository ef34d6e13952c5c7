"""Sampling with random numbers of each sentence's own: the right distribution, whatever else is in the batch."""

import pytest
import torch

from melspec_gpt.training.seeded_sampling import SeededSamplingLogitsProcessor, sentence_seed

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf")])


def draw(num_rows, **options):
    scores = LOGITS.expand(num_rows, -1)
    return SeededSamplingLogitsProcessor(range(num_rows), **options)(None, scores).argmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_distribution(temperature):
    shares = torch.bincount(draw(4000, temperature=temperature), minlength=5) / 4000
    torch.testing.assert_close(shares, (LOGITS / temperature).softmax(-1), atol=0.03, rtol=0)


def test_forbidden_ids_are_never_drawn():
    assert draw(4000).max() == 3


def test_top_k_and_top_p_leave_the_likeliest():
    assert draw(500, top_k=2).unique().tolist() == [0, 1]
    assert draw(500, top_p=0.9).unique().tolist() == [0, 1, 2]  # shares 0.64, 0.24, 0.09
    assert draw(500, top_k=0, top_p=1.0).unique().tolist() == [0, 1, 2, 3]


def test_row_does_not_depend_on_the_others():
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together, alone = SeededSamplingLogitsProcessor([7, 8, 9]), SeededSamplingLogitsProcessor([8])
    for _ in range(5):
        torch.testing.assert_close(together(None, scores)[1:2], alone(None, scores[1:2]))


def test_every_step_draws_anew():
    processor = SeededSamplingLogitsProcessor([0])
    assert not torch.equal(processor(None, LOGITS[None]), processor(None, LOGITS[None]))


def test_number_of_rows_has_to_fit():
    with pytest.raises(ValueError, match="2 rows, but there are 1"):
        SeededSamplingLogitsProcessor([0])(None, LOGITS.expand(2, -1))


def test_sentence_seed_depends_on_all_three():
    seeds = {sentence_seed(*key) for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]}
    assert len(seeds) == 4
    assert sentence_seed(0, "a", 0) in seeds

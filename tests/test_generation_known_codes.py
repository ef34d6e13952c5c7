"""Is every known code forced at its position, and every hidden one left to the model?"""

import pytest
import torch

from melspec_gpt.modeling.generation_known_codes import KnownCodesLogitsProcessor

CODES = torch.tensor([[4, 1, 2], [3, 0, 5]])
MASK = torch.tensor([[False, True, False], [True, True, False]])
VOCABULARY = 7


def process(position: int, scores: torch.Tensor, num_prefix_positions: int = 1) -> torch.Tensor:
    processor = KnownCodesLogitsProcessor(CODES, MASK, num_prefix_positions)
    return processor(torch.zeros(len(scores), num_prefix_positions + position, dtype=torch.long), scores)


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return torch.randn(2, VOCABULARY)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("num_prefix_positions", [0, 1, 2])
def test_known_codes_are_the_only_choice_and_hidden_ones_are_free(scores, position, num_prefix_positions):
    forced = process(position, scores, num_prefix_positions)
    for row in range(2):
        if MASK[row, position]:
            assert torch.equal(forced[row], scores[row])
        else:
            assert forced[row].isfinite().nonzero().flatten().tolist() == [CODES[row, position]]


def test_a_known_code_keeps_its_score(scores):
    assert process(0, scores)[0, CODES[0, 0]] == scores[0, CODES[0, 0]]


def test_a_known_code_that_is_banned_is_written_all_the_same(scores):
    scores[0, CODES[0, 0]] = -torch.inf
    assert process(0, scores)[0].softmax(dim=-1)[CODES[0, 0]] == 1


@pytest.mark.parametrize("repeats", [2, 3])
def test_repeated_rows_belong_to_their_clip(scores, repeats):
    expected = process(0, scores).repeat_interleave(repeats, dim=0)
    assert torch.equal(process(0, scores.repeat_interleave(repeats, dim=0)), expected)


def test_the_scores_that_came_in_are_left_alone(scores):
    before = scores.clone()
    process(2, scores)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("value", [-1, -100, VOCABULARY, 10_000])
def test_hidden_values_may_be_anything(scores, value):
    codes = CODES.masked_fill(MASK, value)
    ids = torch.zeros(2, 2, dtype=torch.long)
    assert torch.equal(KnownCodesLogitsProcessor(codes, MASK, 1)(ids, scores), process(1, scores))


@pytest.mark.parametrize("mask", [MASK.long(), MASK[:1], MASK[0]])
def test_a_mask_of_another_kind_is_an_error(mask):
    with pytest.raises(ValueError, match="`mask`"):
        KnownCodesLogitsProcessor(CODES, mask, 1)


def test_a_negative_prefix_is_an_error():
    with pytest.raises(ValueError, match="`num_prefix_positions`"):
        KnownCodesLogitsProcessor(CODES, MASK, -1)


def test_an_id_that_is_no_code_of_the_clip_is_an_error(scores):
    processor = KnownCodesLogitsProcessor(CODES, MASK, 2)
    for length in (1, 5):
        with pytest.raises(ValueError, match="`num_prefix_positions`"):
            processor(torch.zeros(2, length, dtype=torch.long), scores)


def test_rows_that_are_no_multiple_of_the_clips_are_an_error(scores):
    with pytest.raises(ValueError, match="`codes`"):
        process(0, torch.cat([scores, scores[:1]]))

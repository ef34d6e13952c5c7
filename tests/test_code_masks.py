"""Gaps in clips: every kind has its form, and never hides nothing or everything."""

import pytest
import torch

from melspec_gpt.training.code_masks import LARGEST_SHARE, MASK_KINDS, SMALLEST_SHARE, random_code_mask

GRID_SHAPE = (5, 26)


def grids(kind, number=200, grid_shape=GRID_SHAPE):
    """Masks as (rows, steps)."""
    generator = torch.Generator().manual_seed(0)
    masks = [random_code_mask(grid_shape, generator, kind) for _ in range(number)]
    assert all(mask.shape == (grid_shape[0] * grid_shape[1],) for mask in masks)
    return [mask.view(grid_shape[1], grid_shape[0]).T for mask in masks]


def edges(values):
    """How often a row of True and False changes."""
    return (values[1:] != values[:-1]).sum().item()


@pytest.mark.parametrize("kind", [*MASK_KINDS, None])
@pytest.mark.parametrize("grid_shape", [GRID_SHAPE, (5, 2), (2, 2)])
def test_something_is_hidden_and_something_is_not(kind, grid_shape):
    for grid in grids(kind, grid_shape=grid_shape):
        assert 0 < grid.sum() < grid.numel()


@pytest.mark.parametrize("kind", ["span", "start", "end"])
def test_time_masks_hide_whole_neighbouring_steps(kind):
    for grid in grids(kind):
        assert (grid.any(0) == grid.all(0)).all()
        hidden = grid[0]
        assert edges(hidden) == (1 if kind != "span" or hidden[0] or hidden[-1] else 2)
        assert kind != "start" or hidden[0]
        assert kind != "end" or hidden[-1]


def test_bands_hide_whole_neighbouring_rows():
    grids_of_bands = grids("band")
    for grid in grids_of_bands:
        assert (grid.any(1) == grid.all(1)).all()
        assert edges(grid[:, 0]) <= 2
    assert {int(grid[:, 0].sum()) for grid in grids_of_bands} == {1, 2, 3, 4}


def test_random_masks_hide_single_codes_in_all_shares():
    shares = torch.stack([grid.float().mean() for grid in grids("random")])
    assert SMALLEST_SHARE <= shares.min() < 0.1
    assert 0.7 < shares.max() <= LARGEST_SHARE
    assert max(edges(grid[0]) for grid in grids("random")) > 5


def test_any_kind_can_come():
    masks = grids(None)
    bands = sum(bool((grid.any(1) == grid.all(1)).all()) for grid in masks)
    spans = sum(bool((grid.any(0) == grid.all(0)).all()) for grid in masks)
    assert bands == pytest.approx(200 / 5, abs=20)
    assert spans == pytest.approx(3 * 200 / 5, abs=25)


def test_generator_decides():
    masks = [random_code_mask(GRID_SHAPE, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind` is 'hole'"):
        random_code_mask(GRID_SHAPE, torch.Generator(), "hole")

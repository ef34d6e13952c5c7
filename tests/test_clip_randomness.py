"""Random numbers of clips: the same for a clip wherever it is, others for another clip, seed or epoch."""

import pytest
import torch
from tiny_tokens import CODEBOOK_SIZE, GRID_SHAPE, NUM_CLIPS, NUM_CODES, write_dataset

from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import CodeNoise, clip_generators, draw_noise, number_rows


def test_noise_belongs_to_the_clip_and_not_to_its_place():
    noise = draw_noise(clip_generators([3, 8, 5], 0, 1), 4)
    moved = draw_noise(clip_generators([5, 3], 0, 1), 4)
    assert noise.shape == (3, 4)
    assert torch.equal(moved, noise[[2, 0]])


@pytest.mark.parametrize("context", [(1, 1), (0, 2), (0, "validation"), (0,)])
def test_seed_and_epoch_give_other_noise(context):
    assert not torch.equal(draw_noise(clip_generators([3], *context), 4), draw_noise(clip_generators([3], 0, 1), 4))


def test_noise_is_standard_normal():
    noise = draw_noise(clip_generators(range(2000), 0), 2, 3)
    assert noise.shape == (2000, 2, 3)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_rows_are_numbered(tmp_path):
    rows = number_rows(load_built_dataset(write_dataset(tmp_path), ["codes", "label"])["train"])
    batch = rows[4:6]
    assert set(batch) == {"codes", "label", "row"}
    assert batch["row"].tolist() == [4, 5]
    assert rows[NUM_CLIPS - 1]["row"].item() == NUM_CLIPS - 1


def applied(mask_probability=0.0, code_noise=0.0, clips=400):
    codes = torch.ones(clips, NUM_CODES, dtype=torch.long)
    noise = CodeNoise(
        codebook_size=CODEBOOK_SIZE, grid_shape=GRID_SHAPE, mask_probability=mask_probability, code_noise=code_noise
    )
    return codes, *noise.apply(codes, clip_generators(range(clips), 0))


def test_without_probabilities_both_read_the_codes():
    codes, encoder_codes, decoder_codes = applied()
    assert torch.equal(encoder_codes, codes)
    assert torch.equal(decoder_codes, codes)


def test_share_of_the_clips_has_a_gap_for_the_encoder_only():
    codes, encoder_codes, decoder_codes = applied(mask_probability=0.3)
    has_gap = (encoder_codes == CODEBOOK_SIZE).any(1)
    assert has_gap.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert set(encoder_codes.unique().tolist()) == {1, CODEBOOK_SIZE}
    assert torch.equal(decoder_codes, codes)


def test_share_of_the_codes_is_random_for_the_decoder_only():
    codes, encoder_codes, decoder_codes = applied(code_noise=0.4)
    changed = (decoder_codes != codes).float().mean().item()
    assert changed == pytest.approx(0.4 * (1 - 1 / CODEBOOK_SIZE), abs=0.03)
    assert decoder_codes.min() == 0
    assert decoder_codes.max() == CODEBOOK_SIZE - 1
    assert torch.equal(encoder_codes, codes)

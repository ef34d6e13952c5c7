"""Crops of the audio tokenizer training, and the summary of its validation."""

import pytest
import torch

from melspec_gpt.training.clip_randomness import clip_generators
from melspec_gpt.training.tokenizer_step import random_crops, summarize_evaluation


def test_crops_are_stretches_of_their_clips():
    mel = torch.rand(3, 80, 50)
    crops = random_crops(mel, 32, gain_range=0, generators=clip_generators(range(3)))
    for crop, clip in zip(crops, mel, strict=True):
        windows = (2 * clip - 1).unfold(1, 32, 1).permute(1, 0, 2)
        assert any(torch.equal(crop, window) for window in windows)


def test_gain_moves_everything_but_the_floor():
    mel = torch.full((4, 80, 40), 0.5)
    mel[:, :10] = 0
    crops = (random_crops(mel, 32, gain_range=10, generators=clip_generators(range(4))) + 1) / 2
    assert (crops[:, :10] == 0).all()
    levels = crops[:, 10:].flatten(1)
    assert (levels.amax(1) - levels.amin(1)).max() == 0
    assert ((levels[:, 0] - 0.5).abs() <= 0.1).all()
    assert len(levels[:, 0].unique()) > 1


def test_a_crop_belongs_to_its_clip_and_epoch():
    mel = torch.rand(4, 80, 60)
    crops = random_crops(mel, 32, 3.0, clip_generators(range(4), 0, 0))
    second_half = random_crops(mel[2:], 32, 3.0, clip_generators([2, 3], 0, 0))
    assert torch.equal(second_half, crops[2:])
    assert not torch.equal(random_crops(mel, 32, 3.0, clip_generators(range(4), 0, 1)), crops)


def test_summary_counts_the_codes_of_the_whole_split():
    values = {"loss": torch.tensor([1.0, 3.0]), "audio_codes": torch.tensor([[0, 0], [5, 5]])}
    summary = summarize_evaluation(values, codebook_size=8)
    assert summary == pytest.approx({"loss": 2.0, "codes_used": 2.0, "perplexity": 2.0})

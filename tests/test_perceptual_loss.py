"""The perceptual loss, and the file of the classifier behind it."""

import pytest
import torch
from safetensors.torch import save_file

from melspec_gpt.modeling.modeling_mel_classifier import (
    ClassifierEnsemble,
    classify,
    load_classifier,
    save_classifier,
)
from melspec_gpt.training.perceptual_loss import PerceptualLoss


def classifier() -> ClassifierEnsemble:
    torch.manual_seed(0)
    return ClassifierEnsemble(["dog", "rain"], num_members=2)


def clips(seed: int) -> torch.Tensor:
    return torch.rand(2, 80, 96, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_equal_spectrograms_have_no_loss():
    assert PerceptualLoss(classifier())(clips(0), clips(0)).item() == 0


def test_the_further_the_higher():
    loss = PerceptualLoss(classifier())
    distances = [loss(clips(0) + strength * clips(1), clips(0)).item() for strength in (0.05, 0.2, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_gradient_reaches_the_reconstruction_and_not_the_classifier():
    loss = PerceptualLoss(classifier())
    reconstruction = clips(1).requires_grad_()
    loss(reconstruction, clips(0)).backward()
    assert reconstruction.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.classifier.parameters())


def test_the_classifier_does_not_change_with_use():
    model = classifier()
    before = classify(model, clips(0))
    PerceptualLoss(model.train())(clips(1), clips(2))
    assert torch.equal(classify(model, clips(0)), before)


def test_it_comes_from_a_file(tmp_path):
    save_classifier(classifier(), tmp_path / "classifier.safetensors")
    loss = PerceptualLoss.from_file(str(tmp_path / "classifier.safetensors"))
    assert loss.classifier.class_names == ["dog", "rain"]
    assert torch.equal(loss(clips(0), clips(1)), PerceptualLoss(classifier())(clips(0), clips(1)))


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match="perceptual_model.*no classifier"):
        PerceptualLoss.from_file(str(path))
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="perceptual_model.*no classifier"):
        PerceptualLoss.from_file(str(path))
    with pytest.raises(ValueError, match="no classifier"):
        load_classifier(path)

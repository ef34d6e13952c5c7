"""Would the comparison with the original's formulas notice that a converted model computes something else?"""

import copy

import pytest
import torch
from original_layouts import NUM_FRAMES, NUM_HEADS, gpt, melgan, vae, vq
from torch import nn

from melspec_gpt.modeling.conversion_output import check_parity, parity_table
from melspec_gpt.modeling.conversion_parity import (
    ParityRow,
    compare,
    gpt_parity,
    melgan_parity,
    vae_parity,
    vq_parity,
)
from melspec_gpt.modeling.original_models import gpt_model, melgan_model, vae_model, vq_model
from melspec_gpt.modeling.original_weights import OriginalWeights

# Of a model with more, some are tried.
MAXIMUM_WEIGHTS = 25
SETTINGS = {"n_mel_channels": 80, "ngf": 2, "n_residual_layers": 1}
CASES = {
    "gpt": (gpt, lambda original: gpt_model(original, NUM_HEADS, ["a", "b", "c"]), gpt_parity),
    "vae": (vae, lambda original: vae_model(original, NUM_HEADS), vae_parity),
    "vq": (vq, lambda original: vq_model(original, NUM_FRAMES), vq_parity),
    "melgan": (melgan, lambda original: melgan_model(original, SETTINGS), melgan_parity),
}


def bad_quantities(rows: list[ParityRow]) -> list[str]:
    return [row.quantity for row in rows if not row.is_within]


@pytest.fixture(scope="module", params=CASES)
def converted(request):
    """A model, the tensors it was made of, and how they are compared."""
    layout, build, measure = CASES[request.param]
    weights = layout()
    return build(OriginalWeights(weights)), weights, measure


def test_weights_count(converted):
    model, weights, measure = converted
    assert bad_quantities(measure(model, weights)) == []
    parameters = list(model.named_parameters())
    for name, parameter in parameters[:: 1 + len(parameters) // MAXIMUM_WEIGHTS]:
        if name.endswith(("k_proj.bias", "key.bias")):
            continue  # adds the same to all scores of a query
        changed = copy.deepcopy(model)
        changed.get_parameter(name).data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        assert bad_quantities(measure(changed, weights)), name


@pytest.mark.parametrize("kind", ["gpt", "vae"])
def test_another_gelu_and_another_number_of_heads_are_noticed(kind, monkeypatch):
    layout, build, measure = CASES[kind]
    weights = layout()
    model = build(OriginalWeights(weights))
    with monkeypatch.context() as patches:
        patches.setattr(nn.functional, "gelu", lambda hidden: 0.5 * hidden * (1 + torch.tanh(0.8 * hidden)))
        assert bad_quantities(measure(model, weights))
    for module in model.modules():
        if hasattr(module, "head_dim"):
            module.head_dim, module.scaling = module.head_dim // 2, (module.head_dim // 2) ** -0.5
    assert bad_quantities(measure(model, weights))


def test_comparing_is_relative_to_large_values_and_never_accepts_nan():
    assert compare("x", torch.tensor([1000.05]), torch.tensor([1000.0])).is_within
    assert not compare("x", torch.tensor([0.05]), torch.tensor([0.0])).is_within
    assert not compare("x", torch.tensor([float("nan")]), torch.tensor([0.0])).is_within


def test_an_error_beyond_its_tolerance_stops_the_conversion():
    rows = {"gpt": [ParityRow("logits", 1e-6, 1e-4), ParityRow("loss", 1e-3, 1e-4)]}
    with pytest.raises(ValueError, match=r"gpt.*loss.*1\.0e-03.*nothing was written"):
        check_parity(rows)
    assert [line.split()[:2] for line in parity_table(rows).splitlines()[1:]] == [["gpt", "logits"], ["gpt", "loss"]]

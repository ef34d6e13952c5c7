import pytest
import torch
from torch import nn

from melspec_gpt.modeling.modeling_decoding_linear import FEW_ROWS, DecodingLinear


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    layer = DecodingLinear(1024, 1024)
    plain = nn.Linear(1024, 1024)
    plain.load_state_dict(layer.state_dict())
    return layer, plain


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1), (16, 1), (4, 3), (FEW_ROWS[-1], 1), (2, 100)])
def test_it_is_a_linear_layer(layers, shape):
    hidden_states = torch.randn(*shape, 1024)
    layer, plain = layers
    torch.testing.assert_close(layer(hidden_states), plain(hidden_states), atol=1e-5, rtol=0)
    assert layer(hidden_states).is_contiguous()


def test_it_trains_like_one(layers):
    layer, plain = layers
    hidden_states = torch.randn(16, 1, 1024)
    gradients = [torch.autograd.grad(module(hidden_states).square().sum(), module.weight)[0] for module in layers]
    assert torch.equal(*gradients)


@torch.no_grad()
def test_a_few_rows_take_the_other_order(layers, monkeypatch):
    calls = []
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args: calls.append(args[1].shape) or addmm(*args))
    layers[0](torch.randn(16, 1, 1024))
    assert calls == [torch.Size([1024, 1024])]
    layers[0](torch.randn(1, 1, 1024))
    assert len(calls) == 1

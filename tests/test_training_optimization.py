"""Weight decay on matrices only, fused AdamW, and a learning rate that ends with the run."""

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.optimization import (
    build_adamw,
    build_schedule,
    decay_groups,
    schedule_position,
    set_learning_rates,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MelGPTForCausalLM(
        MelGPTConfig(codebook_size=8, num_codes=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    )


def names_of(model, parameters):
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_only_matrices_of_linear_layers_decay(model):
    decaying, others = (names_of(model, group["params"]) for group in decay_groups(model, 0.1))
    assert decaying | others == {name for name, _ in model.named_parameters()}
    assert not decaying & others
    assert "lm_head.weight" in decaying
    for name in decaying:
        assert name.endswith("weight")
        assert "norm" not in name and "embed" not in name  # noqa: PT018


def test_convolutions_decay_and_norms_and_frozen_parameters_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Conv2d(2, 1, 3))
    model[2].weight.requires_grad_(False)
    decaying, others = (names_of(model, group["params"]) for group in decay_groups(model, 0.1))
    assert decaying == {"0.weight"}
    assert others == {"0.bias", "1.weight", "1.bias", "2.bias"}


def test_fused_adamw_equals_the_reference(model):
    optimizer = build_adamw(model, learning_rate=0.01, weight_decay=0.1)
    assert optimizer.defaults["fused"]
    reference = MelGPTForCausalLM(model.config)
    reference.load_state_dict(model.state_dict())
    plain = torch.optim.AdamW(decay_groups(reference, 0.1), lr=0.01, betas=(0.9, 0.95), fused=False, foreach=False)
    gradients = [torch.randn_like(parameter) for parameter in model.parameters()]
    for _ in range(3):
        for one, other, gradient in zip(model.parameters(), reference.parameters(), gradients, strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        plain.step()
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def rates(name, warmup_steps, positions):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(optimizer, name, warmup_steps)
    result = []
    for position in positions:
        set_learning_rates(schedule, position)
        result.append(optimizer.param_groups[0]["lr"])
    return result


@pytest.mark.parametrize("name", ["cosine", "linear", "constant_with_warmup"])
def test_a_run_limited_by_steps_follows_the_schedule_of_transformers(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=12)
    expected = []
    for _ in range(13):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    positions = [schedule_position(step, 99.0 * step, 3, 200.0, max_steps=12) for step in range(13)]
    assert rates(name, 3, positions) == pytest.approx(expected)


def test_a_run_limited_by_time_warms_up_by_steps_and_ends_at_zero():
    limits = {"warmup_steps": 4, "warmup_seconds": 20.0, "max_seconds": 100.0}
    positions = [schedule_position(step, 5.0 * step, **limits) for step in range(21)]
    result = rates("cosine", 4, positions)
    assert result[:5] == pytest.approx([0, 0.5, 1.0, 1.5, 2.0])
    assert result[12] == pytest.approx(1.0)  # half of the 80 seconds after the warm-up
    assert result[20] == pytest.approx(0)


def test_the_limit_that_is_nearer_decides():
    def position(step, seconds):
        return schedule_position(step, seconds, 0, 0.0, max_steps=100, max_seconds=50.0)

    assert position(step=20, seconds=5.0) == pytest.approx(0.2)
    assert position(step=20, seconds=40.0) == pytest.approx(0.8)
    assert position(step=20, seconds=70.0) == 1.0


def test_a_warmup_longer_than_the_run_stays_a_warmup():
    assert schedule_position(5, 1.0, 10, 1.0, max_steps=6) == 5.0

"""The KL term: modes of free bits, its weight over a run, and both against the original's training step."""

import pytest
import torch
from safetensors.torch import load_file

from melspec_gpt.modeling.convert_original_checkpoints import main as convert
from melspec_gpt.modeling.modeling_gaussian_latent import gaussian_kl
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.kl_objective import free_bits_kl, kl_weight

# Two clips of three dimensions: 6 and 3 nats.
KL = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.5, 1.5]])


def test_mode_0_counts_everything():
    assert free_bits_kl(KL).tolist() == [6, 3]


@pytest.mark.parametrize(("target_kl", "expected"), [(2.9, [6, 3]), (3.0, [6, 0]), (6.0, [0, 0])])
def test_mode_1_drops_clips_at_or_below_the_target(target_kl, expected):
    assert free_bits_kl(KL, 1, target_kl).tolist() == expected


@pytest.mark.parametrize(("target_kl", "expected"), [(2.9, [6, 3]), (3.0, [5, 3]), (4.5, [5, 0]), (9.0, [0, 0])])
def test_mode_2_drops_dimensions_at_or_below_their_share(target_kl, expected):
    assert free_bits_kl(KL, 2, target_kl).tolist() == expected


@pytest.mark.parametrize(("target_kl", "expected"), [(4.4, [6, 3]), (4.5, [0, 0])])
def test_mode_3_drops_the_batch_if_its_mean_is_not_above(target_kl, expected):
    assert free_bits_kl(KL, 3, target_kl).tolist() == expected


def test_mode_3_compares_the_mean_of_all_processes():
    assert free_bits_kl(KL, 3, 5.0, mean_kl=torch.tensor(5.1)).tolist() == [6, 3]


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="`free_bits` is 4"):
        free_bits_kl(KL, 4)


@pytest.mark.parametrize("mode", [1, 2])
def test_gradients_are_those_of_the_larger_of_threshold_and_kl(mode):
    kl = KL.clone().requires_grad_()
    free_bits_kl(kl, mode, 4.0).sum().backward()
    other = KL.clone().requires_grad_()
    threshold = torch.tensor(4.0 if mode == 1 else 4.0 / 3)
    torch.maximum(other.sum(1) if mode == 1 else other, threshold).sum().backward()
    assert torch.equal(kl.grad, other.grad)


@pytest.mark.parametrize("kl_start", [0.0, 0.3, 1.0])
def test_weight_is_the_originals_recursion(kl_start):
    """`w = min(1, w + rate)` before every step, with the original's 11773 clips, batches of 24 and 10 epochs."""
    steps_per_epoch = 11773 / 24
    rate, weight = (1 - kl_start) / (10 * steps_per_epoch), kl_start
    for step in range(5000):
        weight = min(1.0, weight + rate)
        ours = kl_weight(step, beta=1, kl_start=kl_start, warm_up=10, steps_per_epoch=steps_per_epoch)
        assert ours == pytest.approx(weight, abs=1e-9)
    assert weight == 1


def test_weight_rises_to_beta_and_is_0_for_an_autoencoder():
    def weights(beta):
        return [kl_weight(step, beta=beta, kl_start=0.5, warm_up=2, steps_per_epoch=5) for step in range(12)]

    assert weights(0) == [0] * 12
    assert weights(0.4) == pytest.approx([0.4 * weight for weight in weights(1)])
    assert max(weights(0.4)) == 0.4
    assert weights(1) == sorted(weights(1))


def test_without_warm_up_the_weight_is_beta_at_once():
    assert kl_weight(0, beta=0.7, kl_start=0.0, warm_up=0, steps_per_epoch=5) == 0.7


CASES = ["beta0", "fb0"] + [f"fb{mode}_target{target}" for mode in (1, 2, 3) for target in (4, 8, 16)]


@pytest.fixture(scope="module")
def golden(shared_data, tmp_path_factory):
    """The converted model of the original, the clips with their noise, and what its training step gave."""
    folder = tmp_path_factory.mktemp("converted") / "vae"
    files = shared_data / "golden"
    checkpoint = str(files / "gpt_vae_tiny.ckpt")
    convert(["--kind", "vae", "--checkpoint", checkpoint, "--output_dir", str(folder), "--num_attention_heads", "4"])
    clips = load_file(files / "gpt_vae.safetensors")
    expected = load_file(files / "gpt_vae_training_step.safetensors")
    return MelGPTVAEModel.from_pretrained(folder).eval(), clips["codes"], clips["noise"][:, 0], expected


@pytest.mark.parametrize("case", CASES)
def test_training_step_is_the_originals(golden, case):
    model, codes, noise, expected = golden
    mode, target = (0, 0) if "_" not in case else (int(case[2]), float(case.split("target")[1]))
    weight = 0.0 if case == "beta0" else 0.5
    outputs = model(codes, noise=noise)
    kl = gaussian_kl(outputs.mean, outputs.log_variance)
    loss = outputs.reconstruction_loss + weight * free_bits_kl(kl, mode, target).mean()
    model.zero_grad()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    head = model.encoder_head.weight.grad
    torch.testing.assert_close(loss, expected[f"{case}/loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(norm, expected[f"{case}/grad_norm"], rtol=1e-4, atol=0)
    torch.testing.assert_close(head.norm(), expected[f"{case}/encoder_head_grad_norm"], rtol=1e-4, atol=0)
    log_variance_half = head[model.config.latent_size :].abs().sum()
    expected_sum = expected[f"{case}/encoder_head_grad_sum_abs_logvar_half"]
    torch.testing.assert_close(log_variance_half, expected_sum, rtol=1e-4, atol=0)

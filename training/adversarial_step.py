"""How does a training step of the audio tokenizer play against the discriminator?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from melspec_gpt.training.vq_gan_losses import (
    adaptive_weight,
    discriminator_hinge_loss,
    generator_loss,
    weight_from_start,
)

if TYPE_CHECKING:
    from melspec_gpt.training.loop import TrainingLoop

DISCRIMINATOR = "discriminator"


def plays(loop: TrainingLoop) -> bool:
    """Whether there is a discriminator, and its time has come."""
    arguments = loop.arguments
    weight = weight_from_start(loop.state.step, arguments.discriminator_weight, arguments.discriminator_start)
    return DISCRIMINATOR in loop.modules and weight > 0


def adversarial_term(
    loop: TrainingLoop, reconstruction: torch.Tensor, reconstruction_loss: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The part of the tokenizer's loss that comes from the discriminator, whose own gradients stay as they are.

    Args:
        loop ([`TrainingLoop`]): with the modules "model" and "discriminator".
        reconstruction (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): with its graph.
        reconstruction_loss (`torch.FloatTensor` of shape `()`): what the adversarial loss is balanced against.

    Returns:
        The term, weighted, and metrics.
    """
    loss = generator_loss(loop.unwrapped(DISCRIMINATOR)(reconstruction))
    # The discriminator is passed backwards once; from here on its gradient stands for it.
    [gradient] = torch.autograd.grad(loss, reconstruction)
    loss = loss.detach() + ((reconstruction - reconstruction.detach()) * gradient).sum()
    weight = torch.tensor(loop.arguments.discriminator_weight)
    metrics = {"generator_loss": loss.detach()}
    if loop.arguments.adaptive_weight:
        metrics["adaptive_weight"] = _balance(loop, loss, reconstruction_loss)
        weight = weight * metrics["adaptive_weight"]
    return weight * loss, metrics


def _balance(loop: TrainingLoop, loss: torch.Tensor, reconstruction_loss: torch.Tensor) -> torch.Tensor:
    """The adaptive weight of `loss`, from the gradients of the whole batch: every process gets the same."""
    last_layer = loop.unwrapped().decoder.conv_out.weight
    gradients = [torch.autograd.grad(term, last_layer, retain_graph=True)[0] for term in (reconstruction_loss, loss)]
    return adaptive_weight(*loop.accelerator.reduce(torch.stack(gradients), reduction="mean"))


def train_discriminator(
    loop: TrainingLoop, features: torch.Tensor, reconstruction: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    One step of the discriminator.

    Args:
        loop ([`TrainingLoop`]): with the module "discriminator".
        features, reconstruction (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): recordings and
            what the tokenizer made of them.

    Returns:
        Metrics.
    """
    discriminator = loop.modules[DISCRIMINATOR]
    logits = {"real": discriminator(features), "fake": discriminator(reconstruction.detach())}
    loss = discriminator_hinge_loss(logits["real"], logits["fake"])
    loop.optimize(loss, DISCRIMINATOR)
    return {"discriminator_loss": loss} | {f"logits_{name}": value.mean() for name, value in logits.items()}


def judge(loop: TrainingLoop, features: torch.Tensor, reconstruction: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the discriminator thinks of clips and of their reconstructions; arguments as above, one row per clip."""
    discriminator = loop.modules[DISCRIMINATOR]
    real, fake = discriminator(features), discriminator(reconstruction)
    losses = [discriminator_hinge_loss(*pair) for pair in zip(real, fake, strict=True)]
    return {
        "discriminator_loss": torch.stack(losses),
        "logits_real": real.mean((1, 2)),
        "logits_fake": fake.mean((1, 2)),
    }

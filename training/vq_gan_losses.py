"""Which losses make the audio tokenizer a VQ-GAN, and how far is a reconstruction from the original?"""

import torch
import torch.nn.functional as F

LARGEST_ADAPTIVE_WEIGHT = 1e4
# The features' range of 2 is 100 dB: magnitudes are proportional to 10 ** (100 / 20 / 2 * features).
DECADES_PER_UNIT = 2.5


def discriminator_hinge_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """
    Hinge loss of the discriminator (Lim and Ye, 2017, arXiv:1705.02894), halved as in Taming Transformers: 0 as soon
    as all recordings are above 1 and all reconstructions below -1.

    Args:
        real_logits, fake_logits (`torch.FloatTensor` of any shape): of recordings and of reconstructions.
    """
    return (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()) / 2


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """What the tokenizer minimises to be taken for real: the mean logit of its reconstructions, negated."""
    return -fake_logits.mean()


def adaptive_weight(reconstruction_gradient: torch.Tensor, adversarial_gradient: torch.Tensor) -> torch.Tensor:
    """
    Weight of the adversarial loss at which it pulls as strongly at the last layer of the decoder as the reconstruction
    does (Esser et al., 2021, arXiv:2012.09841, eq. 7): the ratio of the lengths of the gradients.

    Args:
        reconstruction_gradient, adversarial_gradient (`torch.FloatTensor` of one shape): gradients of the two losses
            with respect to that layer's weights.

    Returns:
        `torch.FloatTensor` of shape `()`: a constant, at most 10 000.
    """
    ratio = reconstruction_gradient.norm() / (adversarial_gradient.norm() + 1e-4)
    return ratio.clamp(0, LARGEST_ADAPTIVE_WEIGHT).detach()


def weight_from_start(step: int, weight: float, start: int) -> float:
    """`weight` from step `start` on (the first step is 0), before that 0: the reconstructions have to come first."""
    return weight if step >= start else 0.0


def spectral_convergence(reconstruction: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """
    Length of the error of the magnitudes relative to the length of the magnitudes themselves, over mel bands (Arik et
    al., 2018, arXiv:1808.06719): the loud parts count most, 0 is perfect, 1 is as bad as silence. A silent clip, next
    to which every error is huge, counts 1 at most.

    Args:
        reconstruction, features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1];
            what a reconstruction has beyond is cut off, as the vocoder does it.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`.
    """
    original = 10 ** (DECADES_PER_UNIT * features.float())
    decoded = 10 ** (DECADES_PER_UNIT * reconstruction.float().clamp(-1, 1))
    ratio = (decoded - original).flatten(1).norm(dim=1) / original.flatten(1).norm(dim=1)
    is_silent = features.flatten(1).amax(dim=1) <= -1
    return torch.where(is_silent, ratio.clamp(max=1), ratio)

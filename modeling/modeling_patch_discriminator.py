"""Which parts of a mel spectrogram look like a recording? The discriminator for the audio tokenizer's training."""

import torch
from torch import nn
from transformers import initialization as init

NEGATIVE_SLOPE = 0.2
NUM_HALVINGS = 3
# Below this a feature map is used up before the last convolution.
MIN_SIZE = 3 * 2**NUM_HALVINGS


class PatchDiscriminator(nn.Module):
    """
    PatchGAN of pix2pix (Isola et al., 2017, arXiv:1611.07004): one logit for each of many overlapping patches of
    70 x 70, high where the features look real.

    The weights have the names that the original gives them after `discriminator.`, so that those of its checkpoints
    fit. They start as in pix2pix: normal with a deviation of 0.02, the scales of the norms around 1.

    Args:
        base_channels (`int`): channels after the first convolution; the deepest ones have eight times as many.
        norm_class (`type[nn.BatchNorm2d]`): class of the norms.
    """

    def __init__(self, base_channels: int = 64, norm_class: type[nn.BatchNorm2d] = nn.BatchNorm2d):
        super().__init__()
        channels = [base_channels * 2**level for level in range(NUM_HALVINGS + 1)]
        layers = [nn.Conv2d(1, channels[0], 4, stride=2, padding=1), nn.LeakyReLU(NEGATIVE_SLOPE)]
        for level in range(1, len(channels)):
            stride = 2 if level < NUM_HALVINGS else 1
            layers += [
                nn.Conv2d(channels[level - 1], channels[level], 4, stride=stride, padding=1, bias=False),
                norm_class(channels[level]),
                nn.LeakyReLU(NEGATIVE_SLOPE),
            ]
        layers.append(nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.main = nn.Sequential(*layers)
        self.apply(_init_weights)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """
        Judges features.

        Args:
            features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1], at least
                `MIN_SIZE` bands and frames.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, rows, steps)`: logits of the patches, one about every 8 bands
            and 8 frames.
        """
        return self.main(features.unsqueeze(1)).squeeze(1)


@torch.no_grad()
def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        init.normal_(module.weight, mean=1.0, std=0.02)
        init.zeros_(module.bias)

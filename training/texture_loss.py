"""Does a reconstruction fluctuate as much as the original? A loss against the smoothing that L1 alone leads to."""

import torch
import torch.nn.functional as F

# Windows in (mel bands, frames): fine grain, short and long runs in time, both, and runs over bands.
WINDOWS = ((3, 3), (3, 9), (9, 9), (1, 15), (9, 1))


def local_contrast(features: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """
    Local standard deviation of `features` (batch, bands, frames): the deviation from the mean of the window around
    each cell, as root mean square over windows that overlap by half.
    """
    maps = features.unsqueeze(1)
    means = F.avg_pool2d(maps, window, stride=1)
    (top, left), (rows, columns) = ((size // 2 for size in window), means.shape[-2:])
    deviations = maps[..., top : top + rows, left : left + columns] - means
    variances = F.avg_pool2d(deviations.square(), window, stride=tuple(max(1, size // 2) for size in window))
    return torch.sqrt(variances + 1e-4)  # (batch, 1, rows', columns')


def texture_loss(reconstruction: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """
    Mean absolute difference of the local contrasts of two spectrograms at five window sizes.

    Noise-like sounds cannot be predicted cell by cell from a few codes; L1 then answers with their mean, which sounds
    and looks smooth. Comparing contrasts (the contrast term of SSIM, Wang et al., 2004, is the same idea) asks for as
    much fluctuation as the original has, wherever its peaks are.

    Args:
        reconstruction (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): decoded features.
        features (`torch.FloatTensor` of the same shape): the original. Windows that are too large for it (2 x size - 1
            positions are needed) are left out; at least 5 bands and 5 frames are needed.

    Returns:
        `torch.FloatTensor` of shape `()`.
    """
    differences = [
        (local_contrast(reconstruction, window) - local_contrast(features, window)).abs().mean()
        for window in WINDOWS
        if all(2 * size - 1 <= available for size, available in zip(window, features.shape[-2:], strict=True))
    ]
    return torch.stack(differences).mean()

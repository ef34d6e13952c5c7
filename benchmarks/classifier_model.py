"""How is the classifier of sounds trained that judges what the models make?"""

import math

import torch
import torch.nn.functional as F

from melspec_gpt.modeling.modeling_mel_classifier import ClassifierEnsemble, SoundClassifier


def _uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """One value for each clip, shape (batch, 1, 1)."""
    return torch.empty(len(like), 1, 1).uniform_(low, high)


def _shift(features: torch.Tensor, max_bands: int) -> torch.Tensor:
    """Rolls each clip in time by any amount and moves it by up to `max_bands` mel bands."""
    batch, bands, frames = features.shape
    times = (torch.arange(frames) + torch.randint(frames, (batch, 1))) % frames
    rows = (torch.arange(bands) + torch.randint(-max_bands, max_bands + 1, (batch, 1))).clamp(0, bands - 1)
    return features[torch.arange(batch)[:, None, None], rows[:, :, None], times[:, None, :]]


def _equalise(features: torch.Tensor, gain: float, tilt: float) -> torch.Tensor:
    """Adds a random level and a smooth random curve over the bands: other microphones and distances."""
    points = torch.randn(len(features), 1, 6) * tilt
    curve = F.interpolate(points, size=features.shape[1], mode="linear", align_corners=True).transpose(1, 2)
    return features + curve + _uniform(features, -gain, gain)


def blur(features: torch.Tensor, max_sigma: float) -> torch.Tensor:
    """Gaussian blur in time and in frequency, of another strength for each clip and direction."""
    radius = math.ceil(2 * max_sigma)
    for dim in (1, 2):
        sigma = _uniform(features, 0.2, max_sigma)
        weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)  # (B, 1, 2 * radius + 1)
        weights = weights / weights.sum(-1, keepdim=True)
        padding = (0, 0, radius, radius) if dim == 1 else (radius, radius, 0, 0)
        padded = F.pad(features.unsqueeze(1), padding, mode="replicate").squeeze(1)
        size = features.shape[dim]
        features = sum(weights[..., i : i + 1] * padded.narrow(dim, i, size) for i in range(2 * radius + 1))
    return features


def _mask(features: torch.Tensor, max_bands: int, max_frames: int) -> torch.Tensor:
    """Sets one band range and one time range of each clip to its mean (Park et al., 2019, SpecAugment)."""
    for dim, longest in ((1, max_bands), (2, max_frames)):
        size = features.shape[dim]
        position = torch.arange(size).view((1, -1, 1) if dim == 1 else (1, 1, -1))
        start, length = _uniform(features, 0, size), _uniform(features, 0, longest)
        hidden = (position >= start) & (position < start + length)
        features = torch.where(hidden, features.mean((1, 2), keepdim=True), features)
    return features


def augment(features: torch.Tensor) -> torch.Tensor:
    """
    Random versions of clips that keep their class but not their fine texture, level or digital silence, so that
    the classifier can judge reconstructed and generated sounds too.
    """
    features = _equalise(_shift(features, max_bands=2), gain=0.2, tilt=0.08)
    blurred = torch.rand(len(features)) < 0.6
    if blurred.any():
        features[blurred] = blur(features[blurred], max_sigma=3.0)
    noise = torch.randn_like(features) * _uniform(features, 0, 0.15)
    floor = _uniform(features, -1.2, -0.4)
    features = torch.maximum(features + noise, floor + noise)
    return _mask(features, max_bands=16, max_frames=80).clamp(-1, 1)


def _mixup(features: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Blends each clip and its target with another one (Zhang et al., 2018)."""
    share = torch.distributions.Beta(alpha, alpha).sample((len(features),))
    share = torch.maximum(share, 1 - share)
    order = torch.randperm(len(features))
    features = share[:, None, None] * features + (1 - share)[:, None, None] * features[order]
    return features, share[:, None] * targets + (1 - share)[:, None] * targets[order]


def train_member(
    member: SoundClassifier,
    versions: torch.Tensor,
    labels: torch.Tensor,
    num_epochs: int,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
) -> None:
    """
    Trains one network in place.

    Args:
        versions (`torch.FloatTensor` of shape `(num_versions, num_clips, bands, frames)`): each clip in several
            versions (as recorded, rendered, blurred); one is drawn at each use.
        labels (`torch.LongTensor` of shape `(num_clips,)`): class indices.
        num_epochs (`int`): passes over the clips.
    """
    num_clips = len(labels)
    batch_size = min(batch_size, num_clips)
    one_hot = F.one_hot(labels, member.head.out_features).float()
    optimizer = torch.optim.AdamW(member.parameters(), lr=learning_rate, weight_decay=0.02, fused=True)
    total_steps = num_epochs * (num_clips // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total_steps, pct_start=0.15)
    member.train()
    for _ in range(num_epochs):
        for chosen in torch.randperm(num_clips)[: num_clips // batch_size * batch_size].split(batch_size):
            clips = versions[torch.randint(len(versions), (batch_size,)), chosen]
            inputs, targets = _mixup(augment(clips), one_hot[chosen], alpha=0.4)
            loss = F.cross_entropy(member(inputs), targets, label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    member.eval()


def train_classifier(
    versions: torch.Tensor, labels: torch.Tensor, class_names: list[str], seeds: list[int], num_epochs: int
) -> ClassifierEnsemble:
    """Trains one network for each seed; arguments as in [`train_member`]."""
    model = ClassifierEnsemble(class_names, len(seeds))
    for index, seed in enumerate(seeds):
        torch.manual_seed(seed)
        model.members[index] = SoundClassifier(len(class_names))
        train_member(model.members[index], versions, labels, num_epochs)
    return model.eval()

"""Which class does a five-second sound belong to? A small CNN over log-mel features, and how it is trained."""

import json
import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

WIDTHS = (24, 32, 64, 96, 96)


class SoundClassifier(nn.Module):
    """
    Log-mel features -> class logits: five convolutions, then mean and maximum over time.

    Args:
        num_classes (`int`): classes.
        widths (`tuple[int, ...]`): channels of the convolutions.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        # Half of the bands and a quarter of the frames (46 ms) are enough, and four times faster to train.
        layers = [nn.Conv2d(1, widths[0], (5, 9), (2, 4), (2, 4), bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            if index < len(widths) - 1:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.layers.to(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(2 * widths[-1], num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, bands, frames) in [-1, 1] -> logits (batch, num_classes)."""
        hidden = self.layers(features.unsqueeze(1)).mean(2)  # (B, C, T)
        pooled = torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=-1)
        return self.head(self.dropout(pooled))


class ClassifierEnsemble(nn.Module):
    """Networks of several seeds that vote with equal weight; `class_names` are in the order of the outputs."""

    def __init__(self, class_names: list[str], num_members: int):
        super().__init__()
        self.class_names = list(class_names)
        self.members = nn.ModuleList(SoundClassifier(len(class_names)) for _ in range(num_members))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, bands, frames) -> probabilities (batch, num_classes)."""
        return torch.stack([member(features).softmax(-1) for member in self.members]).mean(0)


@torch.no_grad()
def classify(model: ClassifierEnsemble, features: torch.Tensor, batch_size: int = 32) -> torch.Tensor:
    """
    Class probabilities.

    Args:
        model (`ClassifierEnsemble`): trained classifier.
        features (`torch.FloatTensor` of shape `(num_clips, bands, frames)`): in [-1, 1].

    Returns:
        `torch.FloatTensor` of shape `(num_clips, num_classes)`.
    """
    model.eval()
    return torch.cat([model(chunk) for chunk in features.split(batch_size)])


def save_classifier(model: ClassifierEnsemble, path: str | Path) -> None:
    """Writes the weights and the class names to one safetensors file."""
    metadata = {"class_names": json.dumps(model.class_names), "num_members": str(len(model.members))}
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata=metadata)


def load_classifier(path: str | Path) -> ClassifierEnsemble:
    """Reads what [`save_classifier`] wrote."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}
    model = ClassifierEnsemble(json.loads(metadata["class_names"]), int(metadata["num_members"]))
    model.load_state_dict(weights)
    return model.eval()


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

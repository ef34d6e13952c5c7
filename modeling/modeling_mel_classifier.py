"""Which class does a sound belong to? A small CNN over log-mel features, whose inner features compare sounds too."""

import json
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
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

    def feature_maps(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Features (batch, bands, frames) in [-1, 1] -> what each convolution finds in them, (batch, C, H, W)."""
        maps, hidden = [], features.unsqueeze(1)
        for layer in self.layers:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):
                maps.append(hidden)
        return maps

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
    """
    Reads what [`save_classifier`] wrote.

    Raises:
        ValueError: if the file is missing, or is of something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        model = ClassifierEnsemble(json.loads(metadata["class_names"]), int(metadata["num_members"]))
        model.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} holds no classifier of sounds: {error!r}.") from error
    return model.eval()

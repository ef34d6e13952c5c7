"""Does a reconstruction sound like the original to a listener, whatever its single cells are?"""

import torch
import torch.nn.functional as F

from melspec_gpt.modeling.modeling_mel_classifier import ClassifierEnsemble, load_classifier


class PerceptualLoss:
    """
    Distance of two spectrograms in the eyes of a trained classifier: LPIPS (Zhang et al., 2018, arXiv:1801.03924)
    without its learned weights. At every position and after every convolution, the vectors of channels are scaled to
    length 1 and compared; the squared distances are averaged over positions and networks and added up over layers.

    Args:
        classifier ([`ClassifierEnsemble`]): trained on mels of the same kind; it is frozen.
    """

    def __init__(self, classifier: ClassifierEnsemble):
        self.classifier = classifier.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: str) -> "PerceptualLoss":
        """
        With the classifier that `benchmarks/classifier.py --save` wrote.

        Raises:
            ValueError: if there is none.
        """
        try:
            return cls(load_classifier(path))
        except ValueError as error:
            raise ValueError(
                f"`perceptual_model`: {error} `benchmarks/classifier.py --save FILE` trains and writes one."
            ) from error

    def __call__(self, reconstruction: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """
        Args:
            reconstruction, features (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`): in [-1, 1].

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        self.classifier.to(features.device)
        return torch.stack(
            [self._distance(member, reconstruction, features) for member in self.classifier.members]
        ).mean()

    @staticmethod
    def _distance(member: torch.nn.Module, reconstruction: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        pairs = zip(member.feature_maps(reconstruction), member.feature_maps(features), strict=True)
        return sum((F.normalize(one) - F.normalize(other)).square().sum(1).mean() for one, other in pairs)

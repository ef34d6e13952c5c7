"""How much does the latent tell about which clip it is of? `evaluate.load` this folder."""

import datasets
import evaluate
import torch

from melspec_gpt.modeling.modeling_gaussian_latent import reparameterize
from melspec_gpt.training.latent_metrics import mutual_information

DESCRIPTION = "Mutual information of clip and latent in nats, estimated with one draw from the posterior of each clip."
CITATION = (
    "He, Spokoyny, Neubig and Berg-Kirkpatrick. Lagging inference networks and posterior collapse in variational "
    "autoencoders. ICLR 2019. arXiv:1901.05534"
)
INPUTS = """
Args:
    predictions: means of the posteriors, one list of `latent_size` numbers for each clip.
    references: log-variances of the posteriors, in the same form.
    seed: seed of the draws.
    exact_entropy: whether to compute the entropy of the posteriors, or (False) to estimate it from the same draws,
        which varies less.
Returns:
    mutual_information: nats; at most the logarithm of the number of clips, and it can be negative.
"""


class MutualInformation(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions, references, seed: int = 0, exact_entropy: bool = True) -> dict[str, float]:
        means = torch.as_tensor(predictions, dtype=torch.float64)
        log_variances = torch.as_tensor(references, dtype=torch.float64)
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed), dtype=means.dtype)
        latents = reparameterize(means, log_variances, noise)
        return {"mutual_information": mutual_information(means, log_variances, latents, exact_entropy)}

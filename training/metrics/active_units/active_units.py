"""How many dimensions of the latent are in use? `evaluate.load` this folder."""

import datasets
import evaluate
import torch

from melspec_gpt.training.latent_metrics import ACTIVE_UNIT_VARIANCE, active_units

DESCRIPTION = "Number of latent dimensions whose posterior mean varies over the clips (variance of at least 0.01)."
CITATION = "Burda, Grosse and Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv:1509.00519"
INPUTS = """
Args:
    predictions: means of the posteriors, one list of `latent_size` numbers for each clip; at least two clips.
    threshold: smallest variance of an active unit.
Returns:
    active_units: their number.
"""


class ActiveUnits(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("float64"))}),
        )

    def _compute(self, predictions, threshold: float = ACTIVE_UNIT_VARIANCE) -> dict[str, int]:
        means = torch.as_tensor(predictions, dtype=torch.float64)
        return {"active_units": active_units(means, threshold)}

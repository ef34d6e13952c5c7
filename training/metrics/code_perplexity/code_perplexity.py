"""How many equally likely codes are as hard to predict? `evaluate.load` this folder."""

import datasets
import evaluate

from melspec_gpt.training.latent_metrics import perplexity

DESCRIPTION = "Perplexity per code of a set of clips, over all of their codes."
INPUTS = """
Args:
    predictions: negative log-likelihood (or a bound of it) of each clip, nats.
    references: number of codes of each clip.
Returns:
    perplexity: `exp` of the nats per code.
    nats_per_code: their mean.
"""


class CodePerplexity(evaluate.Metric):
    """See `DESCRIPTION`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        nats, num_codes = float(sum(predictions)), int(sum(references))
        return {"perplexity": perplexity(nats, num_codes), "nats_per_code": nats / num_codes}

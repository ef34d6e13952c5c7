"""A GPT-VAE small enough for tests in which every weight matters."""

import torch

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel

CODEBOOK_SIZE = 12
LATENT_SIZE = 6
NUM_CLIPS = 3
GREEDY = {"do_sample": False}


def make_model(
    num_codes: int, class_conditioning: bool = False, latent_size: int = LATENT_SIZE, **kwargs
) -> MelGPTVAEModel:
    """A model whose matrices are large enough for the latent, the class and every code to matter."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"codebook_size": CODEBOOK_SIZE, "num_codes": num_codes} | kwargs
    labels = {"num_labels": NUM_CLIPS if class_conditioning else 0}
    config = MelGPTVAEConfig(
        encoder=sizes, decoder=sizes | labels, latent_size=latent_size, class_conditioning=class_conditioning
    )
    torch.manual_seed(0)
    model = MelGPTVAEModel(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model


def labels_for(model: MelGPTVAEModel, num_clips: int = NUM_CLIPS) -> dict[str, torch.Tensor]:
    """Labels of as many clips, if the model reads any."""
    return {"class_labels": torch.arange(num_clips) % NUM_CLIPS} if model.config.class_conditioning else {}

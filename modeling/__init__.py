"""Models, and their registration with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForTextToWaveform
from transformers.models.auto.modeling_auto import AutoModelForAudioTokenization

from ..configuration.configuration_mel_gpt import MelGPTConfig
from ..configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from ..configuration.configuration_mel_vq import MelVQConfig
from ..configuration.configuration_melgan import MelGANConfig
from .generation_known_codes import KnownCodesLogitsProcessor
from .generation_mel_gpt import ClassConditioningLogitsProcessor
from .modeling_griffin_lim import GriffinLimVocoder
from .modeling_mel_gpt import MelGPTForCausalLM
from .modeling_mel_gpt_vae import MelGPTVAEModel
from .modeling_mel_transformer import MelGPTModel
from .modeling_mel_vq import MelVQModel
from .modeling_melgan import MelGANVocoder

for config_class in (MelGANConfig, MelGPTConfig, MelGPTVAEConfig, MelVQConfig):
    AutoConfig.register(config_class.model_type, config_class)
AutoModel.register(MelGANConfig, MelGANVocoder)
AutoModel.register(MelGPTConfig, MelGPTModel)
AutoModelForCausalLM.register(MelGPTConfig, MelGPTForCausalLM)
AutoModelForTextToWaveform.register(MelGPTConfig, MelGPTForCausalLM)  # what the pipeline looks for
AutoModel.register(MelGPTVAEConfig, MelGPTVAEModel)
AutoModel.register(MelVQConfig, MelVQModel)
AutoModelForAudioTokenization.register(MelVQConfig, MelVQModel)

__all__ = [
    "ClassConditioningLogitsProcessor",
    "GriffinLimVocoder",
    "KnownCodesLogitsProcessor",
    "MelGANVocoder",
    "MelGPTForCausalLM",
    "MelGPTModel",
    "MelGPTVAEModel",
    "MelVQModel",
]

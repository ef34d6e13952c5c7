"""Sound effects from class names: a VQ audio tokenizer and GPTs over its codes, as Transformers models."""

from melspec_gpt.configuration import MelGANConfig, MelGPTConfig, MelGPTVAEConfig, MelVQConfig
from melspec_gpt.modeling import (
    ClassConditioningLogitsProcessor,
    KnownCodesLogitsProcessor,
    MelGANVocoder,
    MelGPTForCausalLM,
    MelGPTModel,
    MelGPTVAEModel,
    MelVQModel,
)
from melspec_gpt.tokenization import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor

__version__ = "0.1.0"

__all__ = [
    "ClassConditioningLogitsProcessor",
    "KnownCodesLogitsProcessor",
    "MelCodeTokenizer",
    "MelFeatureExtractor",
    "MelGANConfig",
    "MelGANVocoder",
    "MelGPTConfig",
    "MelGPTForCausalLM",
    "MelGPTModel",
    "MelGPTProcessor",
    "MelGPTVAEConfig",
    "MelGPTVAEModel",
    "MelVQConfig",
    "MelVQModel",
]

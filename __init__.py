"""Sound effects from class names: a VQ audio tokenizer and GPTs over its codes, as Transformers models."""

from melspec_gpt.configuration import MelGPTConfig, MelVQConfig
from melspec_gpt.modeling import (
    ClassConditioningLogitsProcessor,
    MelGPTForCausalLM,
    MelGPTModel,
    MelVQModel,
)
from melspec_gpt.tokenization import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor

__version__ = "0.1.0"

__all__ = [
    "ClassConditioningLogitsProcessor",
    "MelCodeTokenizer",
    "MelFeatureExtractor",
    "MelGPTConfig",
    "MelGPTForCausalLM",
    "MelGPTModel",
    "MelGPTProcessor",
    "MelVQConfig",
    "MelVQModel",
]

"""What stands between audio or class names and the models; registration with the Auto classes."""

from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer

from ..configuration.configuration_mel_gpt import MelGPTConfig
from ..configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from ..configuration.configuration_mel_vq import MelVQConfig
from .feature_extraction_mel import MelFeatureExtractor
from .processing_mel_gpt import MelGPTProcessor
from .tokenization_mel_codes import MelCodeTokenizer

for config_class in (MelGPTConfig, MelGPTVAEConfig, MelVQConfig):
    AutoFeatureExtractor.register(config_class, MelFeatureExtractor)
for config_class in (MelGPTConfig, MelGPTVAEConfig):
    AutoTokenizer.register(config_class, tokenizer_class=MelCodeTokenizer)
    AutoProcessor.register(config_class, MelGPTProcessor)

__all__ = ["MelCodeTokenizer", "MelFeatureExtractor", "MelGPTProcessor"]

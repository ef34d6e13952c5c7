"""Configurations of every model."""

from .configuration_mel_gpt import MelGPTConfig
from .configuration_mel_gpt_vae import MelGPTVAEConfig
from .configuration_mel_vq import MelVQConfig
from .configuration_melgan import MelGANConfig

__all__ = ["MelGANConfig", "MelGPTConfig", "MelGPTVAEConfig", "MelVQConfig"]

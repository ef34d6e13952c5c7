"""Configurations of every model."""

from .configuration_mel_gpt import MelGPTConfig
from .configuration_mel_vq import MelVQConfig

__all__ = ["MelGPTConfig", "MelVQConfig"]

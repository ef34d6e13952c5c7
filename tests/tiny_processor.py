"""A tiny processor, with clips and sentences of codes for it."""

import numpy as np
import torch

from melspec_gpt import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor, MelVQConfig, MelVQModel

CLASS_NAMES = ["dog", "Dog bark", "gun"]
CODEBOOK_SIZE = 32
NULL_ID = CODEBOOK_SIZE + len(CLASS_NAMES)
RATE = 22050
CLIP_SECONDS = 1.0


def make_audio_tokenizer(**overrides) -> MelVQModel:
    torch.manual_seed(0)
    sizes = {"base_channels": 8, "norm_num_groups": 8, "latent_channels": 8, "codebook_dim": 8, "num_res_blocks": 1}
    frames = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS).num_frames
    return MelVQModel(
        MelVQConfig(**{**sizes, "num_frames": frames, "codebook_size": CODEBOOK_SIZE, **overrides})
    ).eval()


def make_processor() -> MelGPTProcessor:
    feature_extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    return MelGPTProcessor(feature_extractor, MelCodeTokenizer(CODEBOOK_SIZE, CLASS_NAMES), make_audio_tokenizer())


def make_clips() -> np.ndarray:
    """Three clips of coloured noise with rising loudness, float32, one clip long."""
    noise = torch.randn(3, int(RATE * CLIP_SECONDS), generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.01, 0.3, noise.shape[1])
    return (noise.cumsum(-1).diff(dim=-1, prepend=noise[:, :1]) * ramp).numpy()


def make_sentences(processor: MelGPTProcessor) -> torch.Tensor:
    """Three sentences: a class token and the codes of a whole clip."""
    shape = (3, processor.audio_tokenizer.config.num_codes)
    codes = torch.randint(CODEBOOK_SIZE, shape, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.tensor([[CODEBOOK_SIZE], [CODEBOOK_SIZE + 1], [NULL_ID]]), codes], dim=1)

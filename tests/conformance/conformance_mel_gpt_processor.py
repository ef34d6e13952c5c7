"""The processor against the common tests."""

import unittest

import numpy as np
from common_tests import library_module
from transformers import ProcessorMixin

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer

common = library_module("test_processing_common")

CODEBOOK_SIZE = 20
NUM_MEL_BINS = 16
NUM_FRAMES = 32


def tiny_audio_tokenizer() -> MelVQModel:
    config = MelVQConfig(
        num_mel_bins=NUM_MEL_BINS,
        num_frames=NUM_FRAMES,
        base_channels=8,
        channel_multipliers=[1, 1, 1],
        num_res_blocks=1,
        attention_levels=[],
        latent_channels=8,
        codebook_dim=8,
        codebook_size=CODEBOOK_SIZE,
        norm_num_groups=4,
    )
    return MelVQModel(config).eval()


class MelGPTProcessorTest(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = MelGPTProcessor
    # Sounds become ids of the sentence, so there are no other inputs of the model.
    audio_input_name = "input_ids"

    @classmethod
    def _setup_feature_extractor(cls) -> MelFeatureExtractor:
        return MelFeatureExtractor(
            feature_size=NUM_MEL_BINS, num_samples=256 * NUM_FRAMES, num_mel_frames=NUM_FRAMES, num_frames=NUM_FRAMES
        )

    @classmethod
    def _setup_tokenizer(cls) -> MelCodeTokenizer:
        # The common tests ask for these sentences, which are names of classes here.
        return MelCodeTokenizer(CODEBOOK_SIZE, ["lower newer", "upper older longer string"])

    @classmethod
    def _setup_from_components(cls) -> MelGPTProcessor:
        parts = super()._setup_from_components()
        return MelGPTProcessor(parts.feature_extractor, parts.tokenizer, tiny_audio_tokenizer())

    @staticmethod
    def does_processor_return_mm_offsets(processor_class: type, method_name: str) -> bool:
        # The test's own version looks at the first base class, which is the library's mixin in the library only.
        return getattr(processor_class, method_name) is not getattr(ProcessorMixin, method_name)

    def prepare_components(self, **kwargs) -> dict:
        return super().prepare_components(**kwargs) | {"audio_tokenizer": tiny_audio_tokenizer()}

    def prepare_audio_inputs(self, batch_size: int | None = None) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        return [random.uniform(-1, 1, 256 * NUM_FRAMES) for _ in range(batch_size or 1)]

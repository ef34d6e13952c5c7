"""The vocoder and its config against the common tests."""

import unittest

import torch
from common_tests import modeling_tests
from config_conformance import ConfigConformance

from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder

common = modeling_tests()


class MelGANTester:
    """Sizes, config and inputs of a tiny vocoder."""

    batch_size = 3
    is_training = False  # its loss is a discriminator's, outside the model

    def get_config(self) -> MelGANConfig:
        return MelGANConfig(num_mel_bins=6, base_channels=2, upsample_ratios=[4, 2], num_residual_layers=2)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        return config, {"input_features": 2 * torch.rand(self.batch_size, config.num_mel_bins, 8) - 1}


class MelGANVocoderTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MelGANVocoder,)
    has_attentions = False
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = MelGANTester()


class MelGANConfigTest(ConfigConformance, unittest.TestCase):
    config_class = MelGANConfig
    arguments = {"num_mel_bins": 16, "upsample_ratios": [4, 2], "weight_norm": False}
    common_properties = ["num_mel_bins", "hop_length", "sampling_rate"]
    has_text_modality = False

"""The audio tokenizer and its config against the common tests."""

import unittest

import torch
from common_tests import modeling_tests
from config_conformance import ConfigConformance

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel

common = modeling_tests()


class MelVQTester:
    """
    Sizes, config and inputs of a tiny audio tokenizer of two levels.

    The common tests speak of transformers. Here the layers with attention are the two middles, a sequence is the
    2 x 2 grid of codes, and the first hidden state is a 4 x 4 picture.
    """

    batch_size = 3
    is_training = True
    num_hidden_layers = 2
    num_attention_heads = 1
    seq_length = 4
    hidden_size = 4
    expected_num_hidden_layers = 5

    def get_config(self) -> MelVQConfig:
        return MelVQConfig(
            num_mel_bins=4,
            num_frames=4,
            base_channels=8,
            channel_multipliers=[1, 2],
            num_res_blocks=1,
            attention_levels=[],
            latent_channels=8,
            codebook_dim=8,
            codebook_size=16,
            norm_num_groups=4,
        )

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        features = 2 * torch.rand(self.batch_size, config.num_mel_bins, config.num_frames) - 1
        return config, {"input_features": features}


class MelVQModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MelVQModel,)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = MelVQTester()


class MelVQConfigTest(ConfigConformance, unittest.TestCase):
    config_class = MelVQConfig
    arguments = {"num_mel_bins": 16, "channel_multipliers": [1, 2], "attention_levels": [0], "codebook_size": 10}
    common_properties = ["num_mel_bins", "codebook_size", "grid_shape", "num_codes", "sampling_rate"]
    has_text_modality = False

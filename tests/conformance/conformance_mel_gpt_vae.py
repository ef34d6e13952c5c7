"""The GPT-VAE and its config against the common tests."""

import unittest
from unittest import mock

import pytest
import torch
from common_tests import modeling_tests
from config_conformance import ConfigConformance
from conformance_mel_gpt import DerivedTokenIds, RefusedResizing

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel

common = modeling_tests()


class MelGPTVAETester:
    """Sizes, config and inputs of a tiny GPT-VAE. The inputs hold the noise, without which every pass is another."""

    batch_size = 3
    seq_length = 10
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    is_training = True
    # The common tests make an input called `noise` of `(image_size / patch_size) ** 2` numbers.
    image_size = 4
    patch_size = 1

    def get_config(self) -> MelGPTVAEConfig:
        sizes = {
            "codebook_size": 60,
            "num_codes": self.seq_length,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "embedding_dropout": 0.0,
            "residual_dropout": 0.0,
            "attention_dropout": 0.0,
        }
        return MelGPTVAEConfig(encoder=dict(sizes), decoder=dict(sizes), latent_size=self.image_size**2)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        codes = torch.randint(config.codebook_size, (self.batch_size, self.seq_length))
        return config, {"input_ids": codes, "noise": torch.randn(self.batch_size, config.latent_size)}


class MelGPTVAEModelTest(
    RefusedResizing, DerivedTokenIds, common.ModelTesterMixin, common.GenerationTesterMixin, unittest.TestCase
):
    all_model_classes = (MelGPTVAEModel,)
    test_can_init_all_missing_weights_before_2023 = True
    _is_composite = True

    def setUp(self):
        self.model_tester = MelGPTVAETester()

    def recorded_outputs(self, **kwargs):
        """Output of a model that attends in the way that shows its weights."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = MelGPTVAEModel._from_config(config, attn_implementation="eager").eval()
        return model(**inputs, **kwargs)

    def test_attention_outputs(self):
        tester = self.model_tester
        outputs = self.recorded_outputs(output_attentions=True)
        for attentions in (outputs.encoder_attentions, outputs.decoder_attentions):
            assert len(attentions) == tester.num_hidden_layers
            shape = (tester.batch_size, tester.num_attention_heads, tester.seq_length, tester.seq_length)
            assert all(weights.shape == shape for weights in attentions)
        assert self.recorded_outputs().encoder_attentions is None

    def test_hidden_states_output(self):
        tester = self.model_tester
        outputs = self.recorded_outputs(output_hidden_states=True)
        for hidden_states in (outputs.encoder_hidden_states, outputs.decoder_hidden_states):
            assert len(hidden_states) == tester.num_hidden_layers + 1
            shape = (tester.batch_size, tester.seq_length, tester.hidden_size)
            assert all(states.shape == shape for states in hidden_states)
        assert self.recorded_outputs().decoder_hidden_states is None

    def test_retain_grad_hidden_states_attentions(self):
        outputs = self.recorded_outputs(output_hidden_states=True, output_attentions=True)
        recorded = [outputs.encoder_hidden_states, outputs.encoder_attentions]
        recorded += [outputs.decoder_hidden_states, outputs.decoder_attentions]
        for tensors in recorded:
            tensors[0].retain_grad()
        outputs.loss.backward()
        assert all(tensors[0].grad is not None for tensors in recorded)

    def test_batching_equivalence(self):
        # The logits are -inf outside the codebook; any other infinity is still an error.
        with mock.patch.object(torch, "isinf", torch.isposinf):
            super().test_batching_equivalence()


class MelGPTVAEConfigTest(ConfigConformance, unittest.TestCase):
    config_class = MelGPTVAEConfig
    arguments = {"latent_size": 16, "fixed_variance": 0.5}
    common_properties = ["num_codes", "codebook_size", "vocab_size", "bos_token_id", "sampling_rate"]

    def test_config_with_num_labels(self):
        config = MelGPTVAEConfig(class_conditioning=True, decoder={"num_labels": 5})
        assert len(config.id2label) == 5
        assert len(config.label2id) == 5
        with pytest.raises(ValueError, match="decoder"):
            MelGPTVAEConfig(num_labels=5)

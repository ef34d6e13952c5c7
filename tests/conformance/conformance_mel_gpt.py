"""The GPT, its trunk and its config against the common tests."""

import unittest
from unittest import mock

import pytest
import torch
from common_tests import modeling_tests
from config_conformance import ConfigConformance

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_transformer import MelGPTModel

common = modeling_tests()


class MelGPTTester:
    """Sizes, config and inputs of a tiny GPT."""

    batch_size = 3
    seq_length = 7
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    is_training = True

    def get_config(self) -> MelGPTConfig:
        return MelGPTConfig(
            codebook_size=60,
            num_codes=20,
            num_labels=3,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            embedding_dropout=0.0,
            residual_dropout=0.0,
            attention_dropout=0.0,
        )

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        classes = torch.randint(config.codebook_size, config.vocab_size, (self.batch_size, 1))
        codes = torch.randint(config.codebook_size, (self.batch_size, self.seq_length - 1))
        input_ids = torch.cat([classes, codes], dim=1)
        return config, {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


class RefusedResizing:
    """In place of the tests that resize: ours has to refuse, before anything has changed."""

    def assert_resizing_is_refused(self):
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            before = {name: value.clone() for name, value in model.state_dict().items()}
            for resize in (model.resize_token_embeddings, model.resize_position_embeddings):
                with pytest.raises(ValueError, match="codebook_size|num_codes"):
                    resize(10 * model.config.vocab_size)
            after = model.state_dict()
            assert all(torch.equal(after[name], value) for name, value in before.items())

    def test_resize_tokens_embeddings(self):
        self.assert_resizing_is_refused()

    def test_resize_embeddings_untied(self):
        self.assert_resizing_is_refused()

    def test_resize_embeddings_untied_no_reinit_on_post_init(self):
        self.assert_resizing_is_refused()

    def test_resize_position_vector_embeddings(self):
        self.assert_resizing_is_refused()


class DerivedTokenIds:
    """The common test sets `bos_token_id` to 0, which ours refuses: it follows from the codebook and the labels."""

    def test_model_forward_default_config_values(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        fields = config.to_diff_dict()
        for name in ("pad_token_id", "eos_token_id", "bos_token_id", "sep_token_id", "tie_word_embeddings"):
            fields.pop(name, None)
        config = type(config)(**fields)
        with pytest.raises((AttributeError, ValueError), match="bos_token_id"):
            config.bos_token_id = 0
        for model_class in self.all_model_classes:
            model_class(config).eval()(**inputs)


class MelGPTModelTest(RefusedResizing, DerivedTokenIds, common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MelGPTModel,)
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = MelGPTTester()


class MelGPTForCausalLMTest(
    RefusedResizing, DerivedTokenIds, common.ModelTesterMixin, common.GenerationTesterMixin, unittest.TestCase
):
    all_model_classes = (MelGPTForCausalLM,)
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = MelGPTTester()

    def _logits_scored_by_loss(self, model, logits):
        return logits[..., : model.config.codebook_size]

    def test_batching_equivalence(self):
        # The logits are -inf outside the codebook; any other infinity is still an error.
        with mock.patch.object(torch, "isinf", torch.isposinf):
            super().test_batching_equivalence()


class MelGPTConfigTest(ConfigConformance, unittest.TestCase):
    config_class = MelGPTConfig
    arguments = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "num_codes": 20}

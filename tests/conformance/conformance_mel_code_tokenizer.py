"""The tokenizer against the common tests."""

import shutil
import tempfile
import unittest
from unittest import mock

from common_tests import library_module

from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer

common = library_module("test_tokenization_common")

# Ours knows its classes and nothing else, so everything that the tests have it read is a class here.
SENTENCES = [
    "dog",
    "Encode this.",
    "He is very happy, UNwantéd,running",
    "Sequence",
    "Test this method.",
    "Testing batch encode plus",
    "Testing batch encode plus with different sequence lengths",
    "Testing batch encode plus with different sequence lengths correctly pads",
    "This",
    "This is a sample input",
    "This is a test sequence",
    "This is another sentence to be encoded.",
    "This one too please.",
    "UN Chief Says There Is No Military Solution in Syria",
    "With these inputs.",
    "systemsystem message 2useruser message 2assistantassistant message 2",
    "systemsystem messageuseruser messageassistantassistant message",
]


def words_as_codes():
    """Has the tokenizer read the words of any text as codes, for tests that need texts of several tokens."""

    def _tokenize(tokenizer, text, **kwargs):
        return [f"<{index % tokenizer.codebook_size}>" for index, _ in enumerate(text.split())]

    return mock.patch.object(MelCodeTokenizer, "_tokenize", _tokenize)


class MelCodeTokenizerTest(common.TokenizerTesterMixin, unittest.TestCase):
    tokenizer_class = MelCodeTokenizer
    from_pretrained_vocab_key = "labels_file"
    test_tokenizer_from_extractor = False

    integration_test_input_string = "Test this method. <3> <49> <0>"
    integration_expected_tokens = ["Test this method.", "<3>", "<49>", "<0>"]
    integration_expected_token_ids = [50 + SENTENCES.index("Test this method."), 3, 49, 0]
    integration_expected_decoded_text = integration_test_input_string

    @classmethod
    def setUpClass(cls):
        cls.from_pretrained_id = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.from_pretrained_id)
        MelCodeTokenizer(50, SENTENCES).save_pretrained(cls.from_pretrained_id)
        super().setUpClass()

    def get_clean_sequence(self, tokenizer, with_prefix_space=False, max_length=20, min_length=5):
        """A sentence of a class and `max_length - 1` codes, as text and as ids."""
        ids = [tokenizer.convert_tokens_to_ids("dog"), *range(max_length - 1)]
        return " " * with_prefix_space + tokenizer.decode(ids), ids

    def test_batch_encode_dynamic_overflowing(self):
        with words_as_codes():
            super().test_batch_encode_dynamic_overflowing()

    def test_maximum_encoding_length_pair_input(self):
        with words_as_codes():
            super().test_maximum_encoding_length_pair_input()

    def test_prepare_seq2seq_batch(self):
        with words_as_codes():
            super().test_prepare_seq2seq_batch()

    def test_right_and_left_truncation(self):
        with words_as_codes():
            super().test_right_and_left_truncation()

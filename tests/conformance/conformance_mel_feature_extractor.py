"""The feature extractor against the common tests."""

import unittest

import numpy as np
from common_tests import library_module

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

common = library_module("test_sequence_feature_extraction_common")


class MelFeatureExtractorTester:
    """Arguments of an extractor, and padded sequences of feature vectors, which the base class knows how to pad."""

    batch_size = 4
    min_seq_length = 40
    max_seq_length = 190
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)
    feature_size = 16

    def prepare_feat_extract_dict(self) -> dict:
        return {"feature_size": self.feature_size, "sampling_rate": 16000, "padding_value": 0.0}

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list:
        random = np.random.default_rng(0)
        shortest = self.max_seq_length if equal_length else self.min_seq_length
        lengths = np.linspace(shortest, self.max_seq_length, self.batch_size).astype(int)
        inputs = [random.random((length, self.feature_size)).astype(np.float32) for length in lengths]
        return inputs if numpify else [sequence.tolist() for sequence in inputs]


class MelFeatureExtractorTest(common.SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = MelFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = MelFeatureExtractorTester()

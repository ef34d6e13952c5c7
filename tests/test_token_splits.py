"""What the trainings on codes read off a token dataset: counts, the baseline, a processor that fits."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from tiny_tokens import CODEBOOK_SIZE, NAMES, save_audio_tokenizer, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.token_splits import build_processor, count_codes, unigram_baseline, unigram_nats_per_code


@pytest.fixture(scope="module")
def audio_tokenizer(tmp_path_factory):
    return save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tokens"))


def test_unigram_baseline_is_the_smoothed_cross_entropy():
    # (3 + 1) / 6 and (1 + 1) / 6
    expected = -(2 * math.log(4 / 6) + 1 * math.log(2 / 6)) / 3
    assert unigram_nats_per_code(np.array([3, 1]), np.array([2, 1])) == pytest.approx(expected)
    assert unigram_nats_per_code(np.zeros(8), np.arange(8)) == pytest.approx(math.log(8))


def test_codes_are_counted_over_all_rows(tokens):
    splits = load_built_dataset(tokens, ["codes", "label"])
    counts = count_codes(splits["train"], CODEBOOK_SIZE)
    codes = torch.stack([row["codes"] for row in splits["train"]])
    assert counts.tolist() == torch.bincount(codes.flatten(), minlength=CODEBOOK_SIZE).tolist()


def test_codes_of_a_larger_codebook_are_refused(tmp_path):
    splits = load_built_dataset(write_dataset(tmp_path, highest=40), ["codes"])
    with pytest.raises(ValueError, match="holds the code.*codebook of `audio_tokenizer` has 16"):
        count_codes(splits["train"], CODEBOOK_SIZE)


def test_codes_of_another_clip_length_are_refused(tmp_path, audio_tokenizer):
    splits = load_built_dataset(write_dataset(tmp_path, num_codes=12), ["codes", "label"])
    with pytest.raises(ValueError, match="sentences of 12 codes.*makes 10"):
        build_processor(audio_tokenizer, splits)


def test_baseline_compares_the_splits_and_is_absent_without_validation(tokens, tmp_path):
    splits = load_built_dataset(tokens, ["codes", "label"])
    counts = count_codes(splits["train"], CODEBOOK_SIZE)  # both splits hold the same sentences
    assert unigram_baseline(splits, CODEBOOK_SIZE) == unigram_nats_per_code(counts, counts)
    alone = load_built_dataset(write_dataset(tmp_path, splits=("train",)), ["codes", "label"])
    assert unigram_baseline(alone, CODEBOOK_SIZE) is None


@pytest.mark.parametrize("class_token", [True, False])
def test_processor_has_the_classes_of_the_dataset(tokens, audio_tokenizer, class_token):
    splits = load_built_dataset(tokens, ["codes", "label"])
    processor = build_processor(audio_tokenizer, splits, class_token=class_token)
    assert processor.tokenizer.class_names == NAMES
    assert processor.class_token is class_token


def test_what_is_no_audio_tokenizer_is_named(tokens, tmp_path):
    splits = load_built_dataset(tokens, ["codes", "label"])
    with pytest.raises(ValueError, match=f"`audio_tokenizer` '{tmp_path}' holds no audio tokenizer"):
        build_processor(str(tmp_path), splits)
    MelGPTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"`audio_tokenizer` '{tmp_path}' holds a model of type 'mel_gpt'"):
        build_processor(str(tmp_path), splits)


@pytest.mark.parametrize("name", ["model.safetensors", "preprocessor_config.json"])
def test_an_incomplete_audio_tokenizer_is_named(tokens, audio_tokenizer, tmp_path, name):
    splits = load_built_dataset(tokens, ["codes", "label"])
    shutil.copytree(audio_tokenizer, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"`audio_tokenizer` '{tmp_path}' .*{name}"):
        build_processor(str(tmp_path), splits)


def test_a_folder_that_is_not_there_is_no_audio_tokenizer(tokens, tmp_path):
    splits = load_built_dataset(tokens, ["codes", "label"])
    with pytest.raises(ValueError, match=f"`audio_tokenizer` '{tmp_path}/absent' .*there is no such folder"):
        build_processor(str(tmp_path / "absent"), splits)


def test_codes_of_a_smaller_codebook_are_refused_where_the_report_tells(tokens, audio_tokenizer, tmp_path):
    splits = load_built_dataset(tokens, ["codes", "label"])
    report = tmp_path / "build_report.json"
    report.write_text(json.dumps({"codebook_size": CODEBOOK_SIZE}))
    assert (
        build_processor(audio_tokenizer, splits, dataset_path=str(tmp_path)).tokenizer.codebook_size == CODEBOOK_SIZE
    )
    report.write_text(json.dumps({"codebook_size": CODEBOOK_SIZE // 2}))
    with pytest.raises(ValueError, match="codebook of 8 entries, but that of `audio_tokenizer` has 16"):
        build_processor(audio_tokenizer, splits, dataset_path=str(tmp_path))

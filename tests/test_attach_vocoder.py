"""Attaching a vocoder to an audio tokenizer: what is written, what it sounds like, what is refused."""

import pytest
import torch
from tiny_tokens import save_audio_tokenizer

from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.attach_vocoder import main
from melspec_gpt.training.model_presets import load_model_config


@pytest.fixture
def audio_tokenizer(tmp_path) -> str:
    return save_audio_tokenizer(tmp_path / "tokenizer")


def save_vocoder(folder, **fields) -> str:
    torch.manual_seed(1)
    MelGANVocoder(load_model_config(MelGANConfig, "tiny", fields)).save_pretrained(folder)
    return str(folder)


def refusal(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_waveforms_come_from_the_vocoder(audio_tokenizer, tmp_path):
    vocoder_folder = save_vocoder(tmp_path / "vocoder")
    main([audio_tokenizer, vocoder_folder, "--output_dir", str(tmp_path / "both")])
    both = MelVQModel.from_pretrained(tmp_path / "both")
    assert not both.config.vocoder.weight_norm
    decoded = both.decode(torch.zeros(1, both.config.num_codes, dtype=torch.long))
    expected = MelGANVocoder.from_pretrained(vocoder_folder)(decoded.input_features.clamp(-1, 1))
    torch.testing.assert_close(decoded.audio_values, expected)
    MelFeatureExtractor.from_pretrained(tmp_path / "both")
    assert MelVQModel.from_pretrained(audio_tokenizer).vocoder is None


def test_in_place_and_out_again(audio_tokenizer, tmp_path):
    main([audio_tokenizer, save_vocoder(tmp_path / "vocoder")])
    assert MelVQModel.from_pretrained(audio_tokenizer).vocoder is not None
    main([audio_tokenizer, "none"])
    assert MelVQModel.from_pretrained(audio_tokenizer).vocoder is None


def test_vocoder_of_other_features_is_refused(audio_tokenizer, tmp_path, capsys):
    other = save_vocoder(tmp_path / "vocoder", upsample_ratios=[4, 4])
    assert "16 samples per frame" in refusal(capsys, audio_tokenizer, other)
    assert MelVQModel.from_pretrained(audio_tokenizer).vocoder is None


def test_folders_in_the_wrong_order_are_refused(audio_tokenizer, tmp_path, capsys):
    vocoder = save_vocoder(tmp_path / "vocoder")
    assert "holds a model of type 'melgan'; expected 'mel_vq'" in refusal(capsys, vocoder, audio_tokenizer)


def test_missing_folder_is_refused(audio_tokenizer, capsys):
    assert "`vocoder` 'nowhere' is no folder" in refusal(capsys, audio_tokenizer, "nowhere")

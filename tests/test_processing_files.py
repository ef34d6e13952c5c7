"""Waveforms become files, and a processor a folder that stands alone."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch
from tiny_processor import CODEBOOK_SIZE, RATE, make_audio_tokenizer, make_clips, make_processor, make_sentences
from transformers import AutoFeatureExtractor, AutoProcessor

from melspec_gpt import MelFeatureExtractor, MelGPTProcessor
from melspec_gpt.tokenization import audio_writing, processing_mel_gpt


@pytest.fixture(scope="module")
def processor():
    return make_processor()


@pytest.fixture(scope="module")
def clips():
    return make_clips()


@pytest.fixture
def sentences(processor):
    return make_sentences(processor)


@pytest.fixture(scope="module")
def text_processor(processor):
    return MelGPTProcessor(processor.feature_extractor, processor.tokenizer)


# Files


def test_saved_audio_is_16_bit_pcm_within_one_step(processor, tmp_path):
    waveforms = torch.sin(torch.arange(2 * 2000).reshape(2, -1) / 20) * 0.9
    paths = processor.save_audio(waveforms, [tmp_path / "new" / "0.wav", str(tmp_path / "1.flac")])
    for waveform, path in zip(waveforms, paths, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == processor.sampling_rate == RATE
        assert soundfile.info(path).subtype == "PCM_16"
        np.testing.assert_allclose(samples, waveform, atol=1 / 32000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_wrap_at_full_scale(processor, tmp_path, dtype):
    tone = torch.sin(torch.arange(2000) / 20).to(dtype)
    processor.save_audio([tone / tone.abs().max(), np.float16([-1, 1])], [tmp_path / "0.wav", tmp_path / "1.wav"])
    samples, _ = soundfile.read(tmp_path / "0.wav", dtype="float32")
    np.testing.assert_allclose(samples, (tone / tone.abs().max()).float(), atol=1 / 32000)
    assert soundfile.read(tmp_path / "1.wav", dtype="int16")[0].tolist() == [-32768, 32767]


def test_only_flac_needs_soundfile(processor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    processor.save_audio(torch.zeros(100), tmp_path / "silence.wav")
    with pytest.raises(ValueError, match="flac needs the package soundfile.*pip install"):
        processor.save_audio(torch.zeros(100), tmp_path / "silence.flac")
    monkeypatch.undo()
    assert not soundfile.read(tmp_path / "silence.wav")[0].any()


def test_loud_clip_keeps_its_shape_and_is_reported(processor, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(audio_writing.logger, "warning", messages.append)
    tone = np.sin(np.arange(2000) / 20).astype(np.float32)
    processor.save_audio([2.5 * tone, tone], [tmp_path / "loud.wav", tmp_path / "quiet.wav"])
    samples, _ = soundfile.read(tmp_path / "loud.wav", dtype="float32")
    np.testing.assert_allclose(samples, tone / tone.max(), atol=1e-4)
    assert messages == ["1 of 2 clips peak above 1 (at most 2.50) and were scaled down to 1."]


def test_one_waveform_in_a_batch_needs_one_path_only(processor, tmp_path):
    assert processor.save_audio(torch.zeros(1, 100), tmp_path / "a.wav") == [tmp_path / "a.wav"]


@pytest.mark.parametrize(
    ("waveforms", "names", "message"),
    [
        (torch.zeros(2, 10), ["a.wav"], "2 waveforms but 1 `paths`"),
        (torch.zeros(10), ["a.mp3"], "has to end in .wav or .flac"),
        (torch.zeros(10), ["a"], "has to end in .wav or .flac"),
        (torch.full((10,), torch.nan), ["a.wav"], "NaN or infinite"),
        (torch.zeros(1, 2, 10), ["a.wav"], r"shape \(2, 10\)"),
        (torch.zeros(1, 0), ["a.wav"], r"shape \(0,\)"),
        ([0.1, 0.2], ["a.wav", "b.wav"], r"shape \(\)"),
    ],
)
def test_what_cannot_be_written_is_refused(processor, tmp_path, waveforms, names, message):
    with pytest.raises(ValueError, match=message):
        processor.save_audio(waveforms, [tmp_path / name for name in names])
    assert not list(tmp_path.iterdir())


# Saving and loading


@pytest.mark.parametrize("loader", [MelGPTProcessor, AutoProcessor])
def test_folder_stands_alone(processor, sentences, clips, tmp_path, loader):
    processor.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is MelGPTProcessor
    assert torch.equal(loaded.batch_decode(sentences), processor.batch_decode(sentences))
    call = {"text": "gun", "audio": clips[0], "sampling_rate": RATE}
    assert torch.equal(loaded(**call).input_ids, processor(**call).input_ids)


def test_subfolder_is_an_audio_tokenizer_folder(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    names = {path.name for path in (tmp_path / "audio_tokenizer").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= names
    for folder in (tmp_path, tmp_path / "audio_tokenizer"):
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        assert extractor.num_frames == processor.feature_extractor.num_frames


def test_weights_are_not_in_the_processor_file(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "processor_config.json").read_text())
    assert set(written) == {"auto_map", "class_token", "codec_reference", "feature_extractor", "processor_class"}
    assert "audio_tokenizer" not in json.dumps(written)


def test_loading_arguments_of_the_gpt_do_not_reach_the_audio_tokenizer(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = MelGPTProcessor.from_pretrained(
        tmp_path, dtype=torch.bfloat16, attn_implementation="flash_attention_2", device_map="cpu"
    )
    assert loaded.audio_tokenizer.dtype == torch.float32
    loaded.save_pretrained(tmp_path)
    assert "dtype" not in (tmp_path / "tokenizer_config.json").read_text()


def test_audio_tokenizer_of_lower_precision_still_works(processor, clips, sentences):
    half = MelGPTProcessor(processor.feature_extractor, processor.tokenizer, make_audio_tokenizer().to(torch.bfloat16))
    assert half(audio=clips, sampling_rate=RATE).input_ids.shape == sentences.shape
    decoded = half.decode_features(sentences)
    assert decoded.audio_values.dtype == decoded.input_features.dtype == torch.float32


def test_without_an_audio_tokenizer_there_are_prompts_only(text_processor, sentences, clips, tmp_path):
    text_processor.save_pretrained(tmp_path)
    for processor in (text_processor, MelGPTProcessor.from_pretrained(tmp_path)):
        assert processor(text="dog").input_ids.tolist() == [[CODEBOOK_SIZE]]
        with pytest.raises(ValueError, match="Decoding to audio needs an audio tokenizer"):
            processor.batch_decode(sentences)
        with pytest.raises(ValueError, match="Encoding `audio` needs an audio tokenizer"):
            processor(text="dog", audio=clips[0], sampling_rate=RATE)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"codebook_size": 64}, "`tokenizer.codebook_size` is 32.*made for 64"),
        ({"sampling_rate": 16000}, "`feature_extractor.sampling_rate` is 22050.*made for 16000"),
        ({"num_mel_bins": 64}, "`feature_extractor.num_mel_bins` is 80.*made for 64"),
        ({"max_frequency": 8000.0}, "`feature_extractor.max_frequency`"),
    ],
)
def test_parts_have_to_fit_each_other(processor, overrides, message):
    with pytest.raises(ValueError, match=message):
        MelGPTProcessor(processor.feature_extractor, processor.tokenizer, make_audio_tokenizer(**overrides))


def test_features_have_to_be_whole_time_steps(processor):
    extractor = MelFeatureExtractor.from_clip_seconds(0.5, downsampling_factor=8)
    with pytest.raises(ValueError, match="`feature_extractor.num_frames` is 40.*multiple of 16"):
        MelGPTProcessor(extractor, processor.tokenizer, processor.audio_tokenizer)


def test_audio_tokenizer_has_to_be_one(processor):
    with pytest.raises(ValueError, match="`audio_tokenizer` is a Linear"):
        MelGPTProcessor(processor.feature_extractor, processor.tokenizer, torch.nn.Linear(2, 2))


# Checkpoints that share an audio tokenizer


def make_sharing_folder(processor, folder, reference) -> None:
    sharing = MelGPTProcessor(
        processor.feature_extractor, processor.tokenizer, processor.audio_tokenizer, codec_reference=reference
    )
    sharing.save_pretrained(folder)
    assert not (folder / "audio_tokenizer").exists()


def test_audio_tokenizer_is_found_by_reference(processor, sentences, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    loaded = AutoProcessor.from_pretrained(tmp_path / "second")
    assert torch.equal(loaded.batch_decode(sentences), processor.batch_decode(sentences))


def test_reference_counts_from_the_subfolder(processor, sentences, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    loaded = AutoProcessor.from_pretrained(tmp_path, subfolder="second")
    assert torch.equal(loaded.batch_decode(sentences), processor.batch_decode(sentences))


def test_saved_again_a_sharing_folder_stands_alone(processor, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    AutoProcessor.from_pretrained(tmp_path / "second").save_pretrained(tmp_path / "far" / "away")
    assert AutoProcessor.from_pretrained(tmp_path / "far" / "away").audio_tokenizer is not None


def test_reference_that_leads_nowhere_is_an_error(processor, tmp_path):
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    with pytest.raises(ValueError, match="codec_reference"):
        AutoProcessor.from_pretrained(tmp_path / "second")


# Saved over a folder that is there already


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    messages = []
    monkeypatch.setattr(processing_mel_gpt.logger, "warning", messages.append)
    return messages


def test_audio_tokenizer_from_before_stays_with_a_warning(processor, text_processor, tmp_path, warnings):
    processor.save_pretrained(tmp_path)
    assert warnings == []
    text_processor.save_pretrained(tmp_path)
    assert len(warnings) == 1
    assert f"{tmp_path / 'audio_tokenizer'} is there from before" in warnings[0]
    assert "will load that old audio tokenizer" in warnings[0]
    assert MelGPTProcessor.from_pretrained(tmp_path).audio_tokenizer is not None


def test_reference_beside_an_audio_tokenizer_from_before_is_reported(processor, tmp_path, warnings):
    processor.save_pretrained(tmp_path / "first")
    processor.save_pretrained(tmp_path / "second")
    reference = "../first/audio_tokenizer"
    MelGPTProcessor(
        processor.feature_extractor, processor.tokenizer, processor.audio_tokenizer, codec_reference=reference
    ).save_pretrained(tmp_path / "second")
    assert len(warnings) == 1
    assert f"will load the one of '{reference}'" in warnings[0]

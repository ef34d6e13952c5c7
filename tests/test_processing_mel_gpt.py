"""Class names and sounds to ids, ids to waveforms, and a folder that stands alone."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoProcessor

from melspec_gpt import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor, MelVQConfig, MelVQModel
from melspec_gpt.tokenization import audio_writing

CLASS_NAMES = ["dog", "Dog bark", "gun"]
CODEBOOK_SIZE = 32
NULL_ID = CODEBOOK_SIZE + len(CLASS_NAMES)
RATE = 22050
CLIP_SECONDS = 1.0


def make_audio_tokenizer(**overrides) -> MelVQModel:
    torch.manual_seed(0)
    sizes = {"base_channels": 8, "norm_num_groups": 8, "latent_channels": 8, "codebook_dim": 8, "num_res_blocks": 1}
    frames = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS).num_frames
    return MelVQModel(
        MelVQConfig(**{**sizes, "num_frames": frames, "codebook_size": CODEBOOK_SIZE, **overrides})
    ).eval()


@pytest.fixture(scope="module")
def processor():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    return MelGPTProcessor(feature_extractor, MelCodeTokenizer(CODEBOOK_SIZE, CLASS_NAMES), make_audio_tokenizer())


@pytest.fixture(scope="module")
def text_processor(processor):
    return MelGPTProcessor(processor.feature_extractor, processor.tokenizer)


@pytest.fixture(scope="module")
def clips():
    """Three clips of coloured noise with rising loudness, float32, one clip long."""
    noise = torch.randn(3, int(RATE * CLIP_SECONDS), generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.01, 0.3, noise.shape[1])
    return (noise.cumsum(-1).diff(dim=-1, prepend=noise[:, :1]) * ramp).numpy()


@pytest.fixture
def sentences(processor):
    """Three sentences: a class token and the codes of a whole clip."""
    shape = (3, processor.audio_tokenizer.config.num_codes)
    codes = torch.randint(CODEBOOK_SIZE, shape, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.tensor([[CODEBOOK_SIZE], [CODEBOOK_SIZE + 1], [NULL_ID]]), codes], dim=1)


# Prompts


def test_class_names_become_prompts(processor):
    inputs = processor(text=["dog", "gun"])
    assert inputs.input_ids.tolist() == [[CODEBOOK_SIZE], [CODEBOOK_SIZE + 2]]
    assert inputs.attention_mask.tolist() == [[1], [1]]
    assert inputs.input_ids.dtype == torch.int64


def test_one_class_name_is_a_batch_of_one(processor):
    assert processor("Dog bark").input_ids.tolist() == [[CODEBOOK_SIZE + 1]]


def test_null_class_is_not_masked_as_padding(processor):
    inputs = processor(text="<null>")
    assert inputs.input_ids.tolist() == [[NULL_ID]]
    assert inputs.attention_mask.tolist() == [[1]]


def test_other_tensor_types(processor):
    assert isinstance(processor(text="dog", return_tensors="np")["input_ids"], np.ndarray)
    assert processor(text="dog", return_tensors=None)["input_ids"] == [[CODEBOOK_SIZE]]


@pytest.mark.parametrize("text", [3, [], ["dog", None], [["dog"]], {"dog": 1}])
def test_text_has_to_be_class_names(processor, text):
    with pytest.raises(ValueError, match="`text` is"):
        processor(text=text)


def test_unknown_class_and_codes_as_prompts_are_refused(processor):
    with pytest.raises(ValueError, match="Unknown class name 'cat'"):
        processor(text=["dog", "cat"])
    with pytest.raises(ValueError, match="'<3>', which is a code"):
        processor(text="<3>")


def test_nothing_is_not_a_prompt(processor):
    with pytest.raises(ValueError, match="Give `text`, `audio` or both"):
        processor()


# Sounds


def test_sound_becomes_class_token_and_the_codes_of_the_audio_tokenizer(processor, clips):
    inputs = processor(text=["dog", "gun", "dog"], audio=list(clips), sampling_rate=RATE)
    features = processor.feature_extractor(clips, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        codes = processor.audio_tokenizer.encode(features).audio_codes[:, 0]
    assert codes.unique().numel() > 1
    assert torch.equal(inputs.input_ids[:, 1:], codes)
    assert inputs.input_ids[:, 0].tolist() == [CODEBOOK_SIZE, CODEBOOK_SIZE + 2, CODEBOOK_SIZE]
    assert inputs.attention_mask.eq(1).all()
    assert "input_features" not in inputs


def test_sound_without_a_class_gets_the_null_class(processor, clips):
    assert processor(audio=clips[0], sampling_rate=RATE).input_ids[:, 0].tolist() == [NULL_ID]


def test_labels_are_the_ids_without_the_class(processor, clips):
    inputs = processor(text="dog", audio=clips[0], sampling_rate=RATE, return_labels=True)
    assert inputs.labels[0, 0] == -100
    assert torch.equal(inputs.labels[:, 1:], inputs.input_ids[:, 1:])
    assert inputs.input_ids[0, 0] == CODEBOOK_SIZE


def test_one_class_serves_many_sounds_and_one_sound_many_classes(processor, clips):
    many_sounds = processor(text="dog", audio=clips, sampling_rate=RATE).input_ids
    assert many_sounds[:, 0].tolist() == [CODEBOOK_SIZE] * 3
    many_classes = processor(text=["dog", "gun"], audio=clips[0], sampling_rate=RATE).input_ids
    assert many_classes[:, 0].tolist() == [CODEBOOK_SIZE, CODEBOOK_SIZE + 2]
    assert torch.equal(many_classes[:, 1:], many_sounds[:1, 1:].expand(2, -1))


def test_numbers_of_classes_and_sounds_have_to_agree(processor, clips):
    with pytest.raises(ValueError, match="2 class names in `text` but 3 clips"):
        processor(text=["dog", "gun"], audio=clips, sampling_rate=RATE)


def test_batch_gives_the_codes_of_its_clips_alone(processor, clips):
    many = np.concatenate([clips] * 4)  # more than are encoded at a time
    batched = processor(audio=many, sampling_rate=RATE).input_ids
    alone = torch.cat([processor(audio=clip, sampling_rate=RATE).input_ids for clip in many])
    assert torch.equal(batched, alone)


def test_wrong_rate_is_refused_and_resampled_on_request(processor, clips):
    with pytest.raises(ValueError, match="44100.*22050"):
        processor(text="dog", audio=clips[0], sampling_rate=44100)
    inputs = processor(text="dog", audio=np.repeat(clips[0], 2), sampling_rate=44100, resample=True)
    assert inputs.input_ids.shape == (1, 1 + processor.audio_tokenizer.config.num_codes)


# Continuing a sound


def test_prompt_ends_with_the_last_whole_time_step(processor, clips):
    rows = processor.audio_tokenizer.config.grid_shape[0]
    # 1 s: 86 mel frames, the first 3 cropped, 80 used; a time step of 16 frames ends at frame 3 + 16 * steps.
    for steps in (1, 2, 4):
        end = (3 + 16 * steps) * 256 / RATE
        for seconds, expected in ((end + 1e-6, steps), (end + 0.1, steps), (end - 1e-3, steps - 1)):
            if expected > 0:
                inputs = processor(text="dog", audio=clips[0], sampling_rate=RATE, prompt_seconds=seconds)
                assert inputs.input_ids.shape == (1, 1 + rows * expected)


def test_half_a_five_second_clip_is_half_of_its_time_steps():
    extractor = MelFeatureExtractor.from_clip_seconds(5.0)
    tokenizer = MelCodeTokenizer(CODEBOOK_SIZE, CLASS_NAMES)
    processor = MelGPTProcessor(extractor, tokenizer, make_audio_tokenizer(num_frames=extractor.num_frames))
    half_sound = np.random.default_rng(0).uniform(-0.1, 0.1, int(2.5 * RATE))
    inputs = processor(text="dog", audio=half_sound, sampling_rate=RATE, prompt_seconds=2.5)
    assert inputs.input_ids.shape == (1, 1 + 13 * 5)


def test_prompt_does_not_look_past_its_end(processor, clips):
    other_end = clips[0].copy()
    other_end[RATE // 2 :] = 0.5
    prompts = [
        processor(text="dog", audio=clip, sampling_rate=RATE, prompt_seconds=0.5).input_ids
        for clip in (clips[0], other_end, clips[0][: RATE // 2])
    ]
    assert torch.equal(prompts[0], prompts[1])
    assert torch.equal(prompts[0], prompts[2])
    whole = [processor(text="dog", audio=clip, sampling_rate=RATE).input_ids for clip in (clips[0], other_end)]
    assert not torch.equal(*whole)


@pytest.mark.parametrize("seconds", [0, -1, 0.1, 0.97, 5.0, float("nan"), float("inf")])
def test_prompt_has_to_leave_something_and_hold_something(processor, clips, seconds):
    with pytest.raises(ValueError, match=r"`prompt_seconds` is .*at least 0\.221 s.*below 0\.964 s"):
        processor(text="dog", audio=clips[0], sampling_rate=RATE, prompt_seconds=seconds)


def test_prompt_longer_than_the_sound_is_refused(processor, clips):
    with pytest.raises(ValueError, match=r"clip 1 of `audio` lasts only 0\.500 s"):
        processor(audio=[clips[0], clips[0][: RATE // 2]], sampling_rate=RATE, prompt_seconds=0.8)


def test_labels_and_prompts_need_a_sound(processor):
    with pytest.raises(ValueError, match="need `audio`"):
        processor(text="dog", return_labels=True)
    with pytest.raises(ValueError, match="need `audio`"):
        processor(text="dog", prompt_seconds=0.5)


# Decoding


def test_sentences_become_the_waveforms_of_the_audio_tokenizer(processor, sentences):
    waveforms = processor.batch_decode(sentences)
    with torch.no_grad():
        expected = processor.audio_tokenizer.decode(audio_codes=sentences[:, 1:]).audio_values
    assert waveforms.shape == (3, processor.feature_extractor.num_frames * 256)
    assert waveforms.dtype == torch.float32
    assert torch.equal(waveforms, expected)


def test_class_tokens_are_skipped(processor, sentences):
    assert torch.equal(processor.batch_decode(sentences), processor.batch_decode(sentences[:, 1:]))


def test_slices_give_what_the_whole_batch_gives(processor, sentences):
    features = processor.decode_features(sentences).input_features
    sliced = processor.decode_features(sentences, batch_size=2).input_features
    torch.testing.assert_close(sliced, features, atol=1e-4, rtol=0)


def test_features_come_with_the_waveforms(processor, sentences):
    decoded = processor.decode_features(sentences)
    assert decoded.input_features.shape == (3, 80, processor.feature_extractor.num_frames)
    assert torch.equal(decoded.audio_values, processor.batch_decode(sentences))


def test_one_sentence_gives_one_waveform_and_a_batch_a_batch(processor, sentences):
    waveform = processor.decode(sentences[0])
    assert waveform.ndim == 1
    torch.testing.assert_close(waveform, processor.batch_decode(sentences[:1])[0])
    assert torch.equal(processor.decode(sentences), processor.batch_decode(sentences))


@pytest.mark.parametrize("convert", [np.asarray, torch.Tensor.tolist, lambda ids: ids.to(torch.uint8)])
def test_ids_may_be_arrays_lists_and_small_integers(processor, sentences, convert):
    assert torch.equal(processor.batch_decode(convert(sentences)), processor.batch_decode(sentences))


def test_sentences_of_another_whole_length_are_decoded(processor, sentences):
    rows, steps = processor.audio_tokenizer.config.grid_shape
    assert processor.decode(sentences[0, : 1 + 2 * rows]).shape == (2 * 16 * 256,)
    assert steps > 2


def test_broken_time_step_is_refused(processor, sentences):
    with pytest.raises(ValueError, match="24 codes, but a time step has 5: cut 4"):
        processor.batch_decode(sentences[:, :-1])


def test_prompts_without_codes_are_refused(processor):
    with pytest.raises(ValueError, match="class tokens only"):
        processor.batch_decode(processor(text=["dog"]).input_ids)


def test_class_tokens_elsewhere_are_refused(processor, sentences):
    misplaced = sentences.clone()
    misplaced[1, 4] = NULL_ID
    with pytest.raises(ValueError, match=f"from 0 to {NULL_ID}"):
        processor.batch_decode(misplaced)
    with pytest.raises(ValueError, match="every row begins with a class token or none"):
        processor.batch_decode(torch.stack([sentences[0, :-1], sentences[0, 1:]]))
    with pytest.raises(ValueError, match="from -100"):
        processor.batch_decode(torch.full((1, 5), -100))


@pytest.mark.parametrize("ids", [[[1, 2], [3]], torch.rand(1, 6), ["dog"], {"sequences": [[1]]}, None])
def test_ids_have_to_be_integers_in_even_rows(processor, ids):
    with pytest.raises(ValueError, match="does not hold integers"):
        processor.batch_decode(ids)


@pytest.mark.parametrize("ids", [torch.zeros(1, 1, 5, dtype=torch.long), torch.zeros(0, 5, dtype=torch.long)])
def test_ids_of_another_shape_are_refused(processor, ids):
    with pytest.raises(ValueError, match="`ids` has shape"):
        processor.batch_decode(ids)


# Files


def test_saved_audio_is_16_bit_pcm_within_one_step(processor, tmp_path):
    waveforms = torch.sin(torch.arange(2 * 2000).reshape(2, -1) / 20) * 0.9
    paths = processor.save_audio(waveforms, [tmp_path / "new" / "0.wav", str(tmp_path / "1.flac")])
    for waveform, path in zip(waveforms, paths, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == processor.sampling_rate == RATE
        assert soundfile.info(path).subtype == "PCM_16"
        np.testing.assert_allclose(samples, waveform, atol=1 / 32000)


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


# Sentences without class tokens, as the GPT-VAE reads them


@pytest.fixture(scope="module")
def code_processor(processor):
    return MelGPTProcessor(
        processor.feature_extractor, processor.tokenizer, processor.audio_tokenizer, class_token=False
    )


def test_without_class_tokens_a_sound_is_its_codes(processor, code_processor, clips):
    inputs = code_processor(audio=clips, sampling_rate=RATE)
    assert set(inputs) == {"input_ids"}
    assert torch.equal(inputs.input_ids, processor(audio=clips, sampling_rate=RATE).input_ids[:, 1:])


def test_without_class_tokens_a_class_is_a_label(code_processor, clips):
    assert code_processor(text=["gun", "dog"])["class_labels"].tolist() == [2, 0]
    inputs = code_processor(text="gun", audio=clips, sampling_rate=RATE)
    assert inputs["class_labels"].tolist() == [2, 2, 2]
    assert inputs.input_ids.shape == (3, code_processor.audio_tokenizer.config.num_codes)


def test_class_token_setting_is_saved(code_processor, tmp_path):
    code_processor.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).class_token is False


# Spans to be filled in


def test_hidden_span_covers_the_time_steps_that_it_touches(code_processor, clips):
    """One second has 5 time steps of 16 x 256 samples; the features begin 3 frames after the clip does."""
    rows, steps = code_processor.audio_tokenizer.config.grid_shape
    step_seconds = 16 * 256 / RATE
    skipped = code_processor.feature_extractor.num_mel_frames - code_processor.feature_extractor.num_frames
    start = skipped // 2 * 256 / RATE
    span = (start + 1.5 * step_seconds, start + 2.5 * step_seconds)
    mask = code_processor(audio=clips, sampling_rate=RATE, hidden_seconds=span)["mask"]
    assert mask.dtype == torch.bool
    assert torch.equal(mask.reshape(3, steps, rows).all(2), mask.reshape(3, steps, rows).any(2))
    assert mask.reshape(3, steps, rows)[0, :, 0].tolist() == [False, True, True] + [False] * (steps - 3)


def test_span_over_everything_hides_everything(code_processor, clips):
    assert code_processor(audio=clips, sampling_rate=RATE, hidden_seconds=(0, 60))["mask"].all()


def test_class_token_is_never_hidden(processor, clips):
    inputs = processor(audio=clips, sampling_rate=RATE, hidden_seconds=(0, 60))
    assert inputs["mask"].shape == inputs.input_ids.shape
    assert not inputs["mask"][:, 0].any()
    assert inputs["mask"][:, 1:].all()


@pytest.mark.parametrize("span", [(0.5, 0.5), (0.6, 0.2), (-1, 0.5), (5.0, 6.0), (0.2,), "ab", 3, (0, float("nan"))])
def test_hidden_span_has_to_be_one(code_processor, clips, span):
    with pytest.raises(ValueError, match="hidden_seconds"):
        code_processor(audio=clips, sampling_rate=RATE, hidden_seconds=span)


def test_hidden_span_needs_a_whole_sound(code_processor, clips):
    with pytest.raises(ValueError, match="need `audio`"):
        code_processor(text="dog", hidden_seconds=(0.1, 0.2))
    with pytest.raises(ValueError, match="exclude each other"):
        code_processor(audio=clips, sampling_rate=RATE, hidden_seconds=(0.1, 0.2), prompt_seconds=0.5)


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


def test_saved_again_a_sharing_folder_stands_alone(processor, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    AutoProcessor.from_pretrained(tmp_path / "second").save_pretrained(tmp_path / "far" / "away")
    assert AutoProcessor.from_pretrained(tmp_path / "far" / "away").audio_tokenizer is not None


def test_reference_that_leads_nowhere_is_an_error(processor, tmp_path):
    make_sharing_folder(processor, tmp_path / "second", "../first/audio_tokenizer")
    with pytest.raises(ValueError, match="codec_reference"):
        AutoProcessor.from_pretrained(tmp_path / "second")

"""Class names and sounds to ids, and ids to waveforms."""

import numpy as np
import pytest
import torch
from tiny_processor import (
    CLASS_NAMES,
    CODEBOOK_SIZE,
    NULL_ID,
    RATE,
    make_audio_tokenizer,
    make_clips,
    make_processor,
    make_sentences,
)
from transformers import AutoProcessor

from melspec_gpt import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor


@pytest.fixture(scope="module")
def processor():
    return make_processor()


@pytest.fixture(scope="module")
def clips():
    return make_clips()


@pytest.fixture
def sentences(processor):
    return make_sentences(processor)


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

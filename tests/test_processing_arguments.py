"""Are the arguments of a processor's call understood in every form the library knows, and no others?"""

import numpy as np
import pytest
import torch

from melspec_gpt import MelCodeTokenizer, MelFeatureExtractor, MelGPTProcessor, MelVQConfig, MelVQModel

CODEBOOK_SIZE = 12
NULL_ID = CODEBOOK_SIZE + 2
RATE = 22050
NUM_FRAMES = 16
NUM_SAMPLES = 256 * NUM_FRAMES
SENTENCE_LENGTH = 1 + 4 * 8


@pytest.fixture(scope="module")
def processor() -> MelGPTProcessor:
    torch.manual_seed(0)
    config = MelVQConfig(
        num_mel_bins=8,
        num_frames=NUM_FRAMES,
        base_channels=8,
        channel_multipliers=[1, 1],
        num_res_blocks=1,
        attention_levels=[],
        latent_channels=8,
        codebook_dim=8,
        codebook_size=CODEBOOK_SIZE,
        norm_num_groups=4,
    )
    feature_extractor = MelFeatureExtractor(
        feature_size=8, num_samples=NUM_SAMPLES, num_mel_frames=NUM_FRAMES, num_frames=NUM_FRAMES
    )
    tokenizer = MelCodeTokenizer(CODEBOOK_SIZE, ["dog", "gun"])
    return MelGPTProcessor(feature_extractor, tokenizer, MelVQModel(config).eval())


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, NUM_SAMPLES).astype(np.float32)


@pytest.mark.parametrize(
    "nested",
    [
        {"audio_kwargs": {"sampling_rate": RATE // 2, "resample": True}},
        {"audio_kwargs": {"resample": True}, "sampling_rate": RATE // 2},
        {"common_kwargs": {"return_tensors": "pt"}, "sampling_rate": RATE // 2, "resample": True},
    ],
)
def test_arguments_may_come_in_dictionaries(processor, sound, nested):
    expected = processor(text="dog", audio=sound, sampling_rate=RATE // 2, resample=True)
    assert torch.equal(processor(text="dog", audio=sound, **nested).input_ids, expected.input_ids)


def test_an_argument_given_twice_is_an_error(processor, sound):
    with pytest.raises(ValueError, match="sampling_rate was passed two times"):
        processor(audio=sound, sampling_rate=RATE, audio_kwargs={"sampling_rate": RATE})


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"samplingrate": RATE}, "no argument 'samplingrate'; did you mean 'sampling_rate'"),
        ({"return_label": True}, "no argument 'return_label'; did you mean 'return_labels'"),
        ({"audio_kwargs": {"resampel": True}}, "`audio_kwargs` has no argument 'resampel'; did you mean 'resample'"),
        ({"text_kwargs": {"truncation": True}}, "`text_kwargs` has no argument 'truncation'; known are padding"),
        ({"images": None}, "no argument 'images'"),
    ],
)
def test_an_unknown_argument_is_an_error(processor, wrong, hint):
    with pytest.raises(ValueError, match=hint):
        processor(text="dog", **wrong)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_marks_what_it_adds(processor, sound, side):
    length = SENTENCE_LENGTH + 3
    arguments = {"sampling_rate": RATE, "return_labels": True, "hidden_seconds": (0.0, 1.0)}
    inputs = processor(text="gun", audio=sound, **arguments)
    padding = {"padding": "max_length", "max_length": length, "padding_side": side}
    padded = processor(text="gun", audio=sound, **arguments, **padding)
    added = slice(-3, None) if side == "right" else slice(None, 3)
    kept = slice(None, -3) if side == "right" else slice(3, None)
    fillers = {"input_ids": NULL_ID, "attention_mask": 0, "labels": -100, "mask": False}
    assert padded.keys() == inputs.keys() == fillers.keys()
    for name, filler in fillers.items():
        assert padded[name].shape == (1, length)
        assert (padded[name][:, added] == filler).all()
        assert torch.equal(padded[name][:, kept], inputs[name])


@pytest.mark.parametrize("padding", [True, "longest", False, None, "do_not_pad"])
def test_sentences_of_one_length_need_no_padding(processor, padding):
    inputs = processor(text=["dog", "gun"], padding=padding)
    assert inputs.input_ids.tolist() == [[CODEBOOK_SIZE], [CODEBOOK_SIZE + 1]]


def test_padding_to_a_multiple(processor, sound):
    inputs = processor(text="dog", audio=sound, sampling_rate=RATE, padding=True, pad_to_multiple_of=8)
    assert inputs.input_ids.shape == inputs.attention_mask.shape == (1, 40)


def test_clips_without_a_class_token_are_not_padded(processor, sound):
    codes_only = MelGPTProcessor(
        processor.feature_extractor, processor.tokenizer, processor.audio_tokenizer, class_token=False
    )
    with pytest.raises(ValueError, match="`padding` would lengthen 32 codes by 8"):
        codes_only(audio=sound, sampling_rate=RATE, padding="max_length", max_length=40)
    assert codes_only(audio=sound, sampling_rate=RATE, padding=True).input_ids.shape == (1, 32)


def test_the_tokenizers_own_settings_are_followed(processor, sound):
    tokenizer = MelCodeTokenizer(CODEBOOK_SIZE, ["dog", "gun"], padding="max_length", max_length=40)
    padding_processor = MelGPTProcessor(processor.feature_extractor, tokenizer, processor.audio_tokenizer)
    assert padding_processor(text="dog", audio=sound, sampling_rate=RATE).input_ids.shape == (1, 40)

"""The stock text-to-audio pipeline over a saved checkpoint."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from melspec_gpt import (
    MelCodeTokenizer,
    MelFeatureExtractor,
    MelGPTConfig,
    MelGPTForCausalLM,
    MelGPTProcessor,
    MelVQConfig,
    MelVQModel,
)

CLASS_NAMES = ["Dog bark", "gun"]
CODEBOOK_SIZE = 32
RATE = 22050


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A GPT checkpoint of random weights with its processor, for clips of half a second."""
    torch.manual_seed(0)
    extractor = MelFeatureExtractor.from_clip_seconds(0.5)
    audio_tokenizer = MelVQModel(
        MelVQConfig(
            num_frames=extractor.num_frames,
            base_channels=8,
            norm_num_groups=8,
            latent_channels=8,
            codebook_dim=8,
            num_res_blocks=1,
            codebook_size=CODEBOOK_SIZE,
        )
    )
    config = MelGPTConfig(
        codebook_size=CODEBOOK_SIZE,
        num_codes=audio_tokenizer.config.num_codes,
        id2label=dict(enumerate(CLASS_NAMES)),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    MelGPTForCausalLM(config).save_pretrained(folder)
    tokenizer = MelCodeTokenizer(CODEBOOK_SIZE, CLASS_NAMES)
    MelGPTProcessor(extractor, tokenizer, audio_tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return pipeline("text-to-audio", model=checkpoint, device="cpu")


@pytest.fixture(scope="module")
def num_samples() -> int:
    return MelFeatureExtractor.from_clip_seconds(0.5).num_frames * 256


def test_class_name_becomes_sound(pipe, num_samples):
    output = pipe("Dog bark")
    assert set(output) == {"audio", "sampling_rate"}
    assert output["sampling_rate"] == RATE
    assert output["audio"].shape == (num_samples,)
    assert output["audio"].dtype == np.float32
    assert output["audio"].std() > 0


def test_sound_is_what_model_and_processor_make(pipe):
    audio = pipe("gun", generate_kwargs={"do_sample": False})["audio"]
    ids = pipe.model.generate(**pipe.processor(text="gun"), do_sample=False)
    assert np.array_equal(audio, pipe.processor.decode(ids[0]).numpy())


def test_seed_decides_the_sound(pipe):
    sounds = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        sounds.append(pipe("gun")["audio"])
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_list_of_names_becomes_list_of_sounds(pipe, num_samples, batch_size):
    names = ["Dog bark", "gun", "dog BARK"]
    outputs = pipe(names, batch_size=batch_size, generate_kwargs={"do_sample": False})
    assert [output["audio"].shape for output in outputs] == [(num_samples,)] * 3
    alone = [pipe(name, generate_kwargs={"do_sample": False})["audio"] for name in names]
    for output, audio in zip(outputs, alone, strict=True):
        np.testing.assert_allclose(output["audio"], audio, atol=1e-4)
    assert not np.allclose(alone[0], alone[1], atol=1e-2)


def test_guidance_reaches_the_model(pipe):
    greedy = pipe("gun", generate_kwargs={"do_sample": False})["audio"]
    guided = pipe("gun", generate_kwargs={"do_sample": False, "guidance_scale": 5.0})["audio"]
    ids = pipe.model.generate(**pipe.processor(text="gun"), do_sample=False, guidance_scale=5.0)
    assert np.array_equal(guided, pipe.processor.decode(ids[0]).numpy())
    assert not np.array_equal(guided, greedy)


def test_several_sounds_of_one_name(pipe, num_samples):
    assert pipe("gun", generate_kwargs={"num_return_sequences": 3})["audio"].shape == (3, num_samples)


def test_null_class_makes_a_sound_of_any_class(pipe, num_samples):
    assert pipe("<null>")["audio"].shape == (num_samples,)


def test_given_sound_is_continued(pipe):
    sound = np.random.default_rng(0).normal(0, 0.1, RATE // 2).astype(np.float32)
    prompt = {"audio": sound, "sampling_rate": RATE, "prompt_seconds": 0.3}
    audio = pipe("gun", preprocess_params=prompt, generate_kwargs={"do_sample": False})["audio"]
    ids = pipe.model.generate(**pipe.processor(text="gun", **prompt), do_sample=False)
    assert torch.equal(
        ids[:, 1:6], pipe.processor(audio=sound, sampling_rate=RATE, prompt_seconds=0.3).input_ids[:, 1:]
    )
    assert np.array_equal(audio, pipe.processor.decode(ids[0]).numpy())


def test_unknown_name_is_answered_with_the_known_ones(pipe):
    with pytest.raises(ValueError, match="Unknown class name 'cat'.*'Dog bark', 'gun'"):
        pipe("cat")


@pytest.mark.parametrize(
    "arguments",
    [{"dtype": torch.bfloat16}, {"device_map": "cpu"}, {"model_kwargs": {"attn_implementation": "eager"}}],
)
def test_loading_arguments_leave_the_processor_in_place(checkpoint, num_samples, arguments):
    pipe = pipeline("text-to-speech", model=checkpoint, **arguments)
    assert isinstance(pipe.processor, MelGPTProcessor)
    assert pipe.processor.audio_tokenizer.dtype == torch.float32
    assert pipe("gun")["audio"].shape == (num_samples,)

"""Are clips written from latents the same with every cache, in every decoding mode, and with or without a prompt?"""

import itertools

import pytest
import torch
from tiny_vae import CODEBOOK_SIZE, GREEDY, LATENT_SIZE, NUM_CLIPS, labels_for, make_model
from transformers import GenerationConfig
from transformers.cache_utils import StaticCache
from transformers.generation import BaseStreamer

from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel

NUM_CODES = 16


@pytest.fixture(scope="module", params=[False, True], ids=["latent", "latent and class"])
def model(request):
    return make_model(NUM_CODES, class_conditioning=request.param)


@pytest.fixture(scope="module")
def latents():
    torch.manual_seed(1)
    return 2 * torch.randn(NUM_CLIPS, LATENT_SIZE)


@pytest.fixture(scope="module")
def written(model, latents):
    return model.generate(latents=latents, **labels_for(model), **GREEDY)


@torch.no_grad()
def reference_clips(model, latents, codes=None, **labels) -> torch.Tensor:
    """Greedy decoding through the training forward pass, which knows no cache and no generation loop."""
    codes = torch.zeros(len(latents), 0, dtype=torch.long) if codes is None else codes
    while codes.shape[1] < NUM_CODES:
        position = codes.shape[1]
        filled = torch.nn.functional.pad(codes, (0, NUM_CODES - position))
        next_code = model(filled, latents=latents, **labels).logits[:, position].argmax(dim=-1, keepdim=True)
        codes = torch.cat([codes, next_code], dim=1)
    return codes


# Caches and decoding modes


def test_greedy_clips_equal_full_recompute(model, latents, written):
    assert torch.equal(written, reference_clips(model, latents, **labels_for(model)))
    assert len(written.unique(dim=0)) == NUM_CLIPS


@pytest.mark.parametrize(
    "options", [{"use_cache": False}, {"cache_implementation": "static"}, {"cache_implementation": "dynamic"}]
)
@pytest.mark.parametrize("num_beams", [1, 3])
def test_every_cache_writes_the_same_codes(model, latents, options, num_beams):
    options = options | GREEDY | {"num_beams": num_beams} | labels_for(model)
    expected = model.generate(latents=latents, num_beams=num_beams, **labels_for(model), **GREEDY)
    assert torch.equal(model.generate(latents=latents, **options), expected)


@pytest.mark.parametrize("prompt_length", [1, 7, NUM_CODES - 1])
@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"cache_implementation": "static"}])
def test_first_codes_are_continued(model, latents, written, prompt_length, options):
    prompt = (written[:, :prompt_length] + 1) % CODEBOOK_SIZE
    codes = model.generate(prompt, latents=latents, **labels_for(model), **GREEDY, **options)
    assert torch.equal(codes, reference_clips(model, latents, prompt, **labels_for(model)))


def test_prompts_may_come_by_name_with_a_mask_of_ones(model, latents, written):
    prompt = {"input_ids": written[:, :5], "attention_mask": torch.ones(NUM_CLIPS, 5)}
    assert torch.equal(model.generate(**prompt, latents=latents, **labels_for(model), **GREEDY), written)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_several_sequences_of_one_latent(model, latents, num_beams):
    options = {"num_return_sequences": 3, "num_beams": num_beams, "do_sample": num_beams == 1}
    torch.manual_seed(2)
    codes = model.generate(latents=latents, **labels_for(model), **options)
    assert codes.shape == (3 * NUM_CLIPS, NUM_CODES)
    if num_beams == 1:
        torch.manual_seed(2)
        repeated = {name: values.repeat_interleave(3) for name, values in labels_for(model).items()}
        expected = model.generate(latents=latents.repeat_interleave(3, dim=0), **repeated)
    else:
        alone = [
            model.generate(latents=latents[[clip]], **{n: v[[clip]] for n, v in labels_for(model).items()}, **options)
            for clip in range(NUM_CLIPS)
        ]
        expected = torch.cat(alone)
    assert torch.equal(codes, expected)


@torch.no_grad()
def test_enough_beams_find_the_likeliest_clip():
    """All clips are enumerated."""
    model = make_model(3, codebook_size=3)
    codes = torch.tensor(list(itertools.product(range(3), repeat=3)))
    for latent in torch.randn(4, 1, LATENT_SIZE):
        nats = model(codes, latents=latent.expand(len(codes), -1)).reconstruction_nats
        found = model.generate(latents=latent, num_beams=9, length_penalty=0.0, **GREEDY)
        assert torch.equal(found[0], codes[nats.argmin()])


def test_the_latent_is_read_once_with_a_cache(model, latents):
    lengths = []
    hook = model.latent_projection.register_forward_hook(lambda module, args, output: lengths.append(len(output)))
    model.generate(latents=latents, **labels_for(model), **GREEDY)
    hook.remove()
    assert lengths == [NUM_CLIPS]


def test_a_returned_cache_can_be_continued(model, latents, written):
    options = labels_for(model) | GREEDY | {"latents": latents}
    half = model.generate(max_length=8, return_dict_in_generate=True, **options)
    codes = model.generate(half.sequences, past_key_values=half.past_key_values, **options)
    assert torch.equal(codes, written)


@pytest.mark.parametrize("own_cache", [False, True])
def test_a_prompt_in_chunks_and_a_cache_of_the_caller(model, latents, written, own_cache):
    options = {"prefill_chunk_size": 3}
    if own_cache:
        options = {"past_key_values": StaticCache(config=model.config.decoder, max_cache_len=2 * NUM_CODES)}
    codes = model.generate(written[:, :8], latents=latents, **labels_for(model), **GREEDY, **options)
    assert torch.equal(codes, written)


# The prior


def test_without_latents_the_prior_is_drawn_from(model, written):
    assert model.generate(num_samples=NUM_CLIPS, **labels_for(model)).shape == (NUM_CLIPS, NUM_CODES)
    assert model.generate(written[:, :4], **labels_for(model)).shape == (NUM_CLIPS, NUM_CODES)
    num_clips = NUM_CLIPS if model.config.class_conditioning else 1
    assert model.generate(**labels_for(model)).shape == (num_clips, NUM_CODES)


def test_a_generator_draws_the_latents(model):
    clips = []
    for seed in (3, 3, 4):
        generator = torch.Generator().manual_seed(seed)
        clips.append(model.generate(num_samples=NUM_CLIPS, generator=generator, **labels_for(model), **GREEDY))
    expected = torch.randn(NUM_CLIPS, LATENT_SIZE, generator=torch.Generator().manual_seed(3))
    assert torch.equal(clips[0], model.generate(latents=expected, **labels_for(model), **GREEDY))
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])


# What comes back, and how long it is


def test_lengths_count_codes(model, latents, written):
    options = {"latents": latents} | labels_for(model) | GREEDY
    assert torch.equal(model.generate(max_length=5, **options), written[:, :5])
    assert torch.equal(model.generate(written[:, :3], max_length=5, **options), written[:, :5])
    assert torch.equal(model.generate(written[:, :3], max_new_tokens=5, **options), written[:, :8])
    own_config = GenerationConfig(max_length=5, **GREEDY)
    codes = model.generate(latents=latents, generation_config=own_config, **labels_for(model))
    assert torch.equal(codes, written[:, :5])
    assert own_config.max_length == 5


def test_an_end_code_and_a_minimal_length(model, latents, written):
    end = int(written[0, 3])
    first = (written[0] == end).nonzero()[0, 0]
    one = {name: values[:1] for name, values in ({"latents": latents} | labels_for(model)).items()}
    codes = model.generate(**one, eos_token_id=end, pad_token_id=0, **GREEDY)
    assert torch.equal(codes[0], written[0, : first + 1])
    longer = model.generate(
        **one, eos_token_id=end, pad_token_id=0, min_length=10, sequence_bias=[[[end], 100.0]], **GREEDY
    )
    assert (longer[0] == end).nonzero().flatten().tolist() == [10]


def test_a_result_with_scores_holds_codes_only(model, latents, written):
    result = model.generate(
        latents=latents, return_dict_in_generate=True, output_scores=True, **labels_for(model), **GREEDY
    )
    assert torch.equal(result.sequences, written)
    assert len(result.scores) == NUM_CODES
    scores = model.compute_transition_scores(result.sequences, result.scores, normalize_logits=True)
    nats = model(written, latents=latents, **labels_for(model)).reconstruction_nats
    torch.testing.assert_close(-scores.sum(dim=1), nats)


class RecordingStreamer(BaseStreamer):
    def __init__(self):
        self.values, self.has_ended = [], False

    def put(self, value):
        self.values.append(value)

    def end(self):
        self.has_ended = True


@pytest.mark.parametrize("prompt_length", [0, 4])
def test_a_streamer_gets_the_prompt_and_every_code(model, latents, written, prompt_length):
    streamer = RecordingStreamer()
    model.generate(written[:, :prompt_length], latents=latents, streamer=streamer, **labels_for(model), **GREEDY)
    assert torch.equal(streamer.values[0], written[:, :prompt_length])
    assert torch.equal(torch.stack(streamer.values[1:], dim=1), written[:, prompt_length:])
    assert streamer.has_ended


@pytest.mark.parametrize("temperature", [0.05, 1.0, 100.0])
def test_only_codes_are_written(model, temperature):
    push = [[[model.config.bos_token_id], 100.0], [[CODEBOOK_SIZE], 100.0]]
    codes = model.generate(
        num_samples=40,
        temperature=temperature,
        sequence_bias=push,
        remove_invalid_values=True,
        **labels_for(model, 40),
    )
    assert (codes < CODEBOOK_SIZE).all()


def test_sampling_draws_from_the_whole_distribution():
    """The library's own default would keep 50 of the 80 codes."""
    model = make_model(NUM_CODES, codebook_size=80)
    options = {"max_new_tokens": 1, "output_scores": True, "return_dict_in_generate": True}
    assert model.generate(**options).scores[0][:, :80].isfinite().all()
    assert model.generate(top_k=50, **options).scores[0].isfinite().sum() == 50


@pytest.mark.parametrize("has_generation_config", [True, False])
def test_a_loaded_model_has_the_same_defaults(tmp_path, model, has_generation_config):
    model.save_pretrained(tmp_path)
    if not has_generation_config:
        (tmp_path / "generation_config.json").unlink()
    reloaded = MelGPTVAEModel.from_pretrained(tmp_path)
    torch.manual_seed(3)
    expected = model.generate(**labels_for(model))
    torch.manual_seed(3)
    assert torch.equal(reloaded.generate(**labels_for(model)), expected)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latents": torch.zeros(NUM_CLIPS, LATENT_SIZE + 1)}, "latents"),
        ({"latents": torch.zeros(LATENT_SIZE)}, "latents"),
        ({"latents": torch.zeros(2, LATENT_SIZE), "inputs": torch.zeros(3, 1, dtype=torch.long)}, "latents"),
        ({"latents": torch.zeros(NUM_CLIPS, LATENT_SIZE), "num_samples": NUM_CLIPS}, "num_samples"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": 2, "inputs": torch.zeros(3, 1, dtype=torch.long)}, "num_samples"),
        ({"inputs": torch.full((NUM_CLIPS, 1), CODEBOOK_SIZE)}, "input_ids"),
        ({"inputs": torch.full((NUM_CLIPS, 1), -1)}, "input_ids"),
        ({"inputs": torch.zeros(NUM_CLIPS, NUM_CODES, dtype=torch.long)}, "input_ids"),
        ({"inputs": torch.zeros(NUM_CLIPS, dtype=torch.long)}, "input_ids"),
        ({"inputs": torch.zeros(3, 2, dtype=torch.long), "attention_mask": torch.zeros(3, 2)}, "attention_mask"),
        ({"inputs": torch.zeros(3, 1, dtype=torch.long), "input_ids": torch.zeros(3, 1).long()}, "inputs"),
        ({"max_new_tokens": NUM_CODES + 1}, "max_length"),
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"stop_strings": ["<5>"]}, "stop_strings"),
        ({"noise": torch.zeros(NUM_CLIPS, LATENT_SIZE)}, "noise"),
        ({"kl_weight": 0.5}, "kl_weight"),
    ],
)
def test_arguments_that_do_not_suit_are_an_error(model, arguments, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        model.generate(**({"num_samples": None} | labels_for(model) | arguments))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, NUM_CLIPS], [0, 1, -1]])
def test_labels_that_do_not_suit_are_an_error(latents, labels):
    with pytest.raises(ValueError, match="`class_labels`"):
        make_model(NUM_CODES, class_conditioning=True).generate(latents=latents, class_labels=torch.tensor(labels))


@pytest.mark.parametrize("class_conditioning", [False, True])
def test_missing_and_needless_labels_are_an_error(latents, class_conditioning):
    labels = {} if class_conditioning else {"class_labels": torch.zeros(NUM_CLIPS, dtype=torch.long)}
    with pytest.raises(ValueError, match="`class_labels`"):
        make_model(NUM_CODES, class_conditioning).generate(latents=latents, **labels)


@pytest.mark.parametrize(
    "options",
    [{"prompt_lookup_num_tokens": 2}, {"cache_implementation": "paged"}, {"inputs_embeds": torch.zeros(3, 1)}],
)
def test_modes_that_would_lose_the_latent_are_an_error(model, latents, options):
    with pytest.raises(ValueError, match="only supports|no place for latents|inputs_embeds"):
        model.generate(latents=latents, **labels_for(model), **options)

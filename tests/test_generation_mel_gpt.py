"""Are sentences complete, guidance exact in every decoding mode, and bad prompts refused?"""

import itertools

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessor

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.generation_mel_gpt import ClassConditioningLogitsProcessor
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer

CODEBOOK_SIZE = 12
NUM_CODES = 16
NULL_CLASS = CODEBOOK_SIZE + 3
SCALE = 2.5


def make_model(**kwargs) -> MelGPTForCausalLM:
    """A model with weights large enough for the class and every code to matter."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    vocabulary = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES, "num_labels": 3}
    model = MelGPTForCausalLM(MelGPTConfig(**(sizes | vocabulary | kwargs))).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def prompts():
    return torch.arange(CODEBOOK_SIZE, NULL_CLASS)[:, None]


def with_null_class(sentences: torch.Tensor, null_class: int = NULL_CLASS) -> torch.Tensor:
    return torch.cat([torch.full_like(sentences[:, :1], null_class), sentences[:, 1:]], dim=1)


@torch.no_grad()
def reference_sentences(model, sentences, guidance_scale, do_sample=False) -> torch.Tensor:
    """Guided decoding with both answers recomputed from nothing at every step."""
    while sentences.shape[1] < 1 + NUM_CODES:
        conditional = model(sentences, use_cache=False).logits[:, -1]
        null = model(with_null_class(sentences), use_cache=False).logits[:, -1]
        guided = null + guidance_scale * (conditional - null)
        guided[:, CODEBOOK_SIZE:] = -torch.inf
        if do_sample:
            new_codes = torch.multinomial(guided.softmax(dim=-1), num_samples=1)
        else:
            new_codes = guided.argmax(dim=-1, keepdim=True)
        sentences = torch.cat([sentences, new_codes], dim=1)
    return sentences


class FullRecomputeGuidance(LogitsProcessor):
    """Guided log-probabilities without a cache."""

    def __init__(self, model, guidance_scale):
        self.model, self.guidance_scale = model, guidance_scale

    def __call__(self, input_ids, scores):
        conditional = self.model(input_ids, use_cache=False).logits[:, -1].log_softmax(dim=-1)
        null = self.model(with_null_class(input_ids), use_cache=False).logits[:, -1].log_softmax(dim=-1)
        guided = null + self.guidance_scale * (conditional - null)
        guided[:, CODEBOOK_SIZE:] = -torch.inf
        return guided


# Length and defaults


def test_a_class_token_becomes_a_whole_sentence(model, prompts):
    sentences = model.generate(prompts)
    assert sentences.shape == (3, 1 + NUM_CODES)
    assert torch.equal(sentences[:, :1], prompts)
    assert (sentences[:, 1:] < CODEBOOK_SIZE).all()


def test_half_a_sentence_is_continued_to_the_same_length(model, prompts):
    half = model.generate(prompts)[:, : 1 + NUM_CODES // 2]
    sentences = model.generate(half)
    assert sentences.shape == (3, 1 + NUM_CODES)
    assert torch.equal(sentences[:, : half.shape[1]], half)


def test_without_a_prompt_the_null_class_is_asked_for(model):
    sentences = model.generate(num_return_sequences=2, guidance_scale=SCALE)
    assert sentences.shape == (2, 1 + NUM_CODES)
    assert (sentences[:, 0] == NULL_CLASS).all()


def test_max_new_tokens_takes_the_place_of_the_default_length(model, prompts):
    assert model.generate(prompts, max_new_tokens=5).shape == (3, 6)


def test_assistance_by_early_exit_writes_the_same_codes_and_leaves_the_model_whole(model, prompts):
    plain = model.generate(prompts[:1], do_sample=False)
    assert torch.equal(model.generate(prompts[:1], do_sample=False, assistant_early_exit=1), plain)
    assert torch.equal(model.generate(prompts[:1], do_sample=False), plain)


@pytest.mark.parametrize("num_tokens", [2, 5, NUM_CODES])
def test_prompt_lookup_does_not_run_past_the_end_of_the_clip(prompts, num_tokens):
    monotonous = make_model()
    torch.nn.init.zeros_(monotonous.lm_head.weight)
    sentences = monotonous.generate(prompts[:1], do_sample=False, prompt_lookup_num_tokens=num_tokens)
    assert torch.equal(sentences, monotonous.generate(prompts[:1], do_sample=False))


@pytest.mark.parametrize("options", [{"stop_strings": ["<5>"]}, {"token_healing": True}])
def test_arguments_about_text_are_an_error(model, prompts, options):
    tokenizer = MelCodeTokenizer(CODEBOOK_SIZE, [f"class {label}" for label in range(model.config.num_labels)])
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`.*codes are no text"):
        model.generate(prompts, tokenizer=tokenizer, **options)


def first_scores(model, prompts, **options) -> torch.Tensor:
    """Scores of the codes at the first step, after all processors."""
    options |= {"output_scores": True, "return_dict_in_generate": True, "max_new_tokens": 1}
    return model.generate(prompts, **options).scores[0][:, : model.config.codebook_size]


def test_sampling_draws_from_the_whole_distribution():
    """The library's own default would keep 50 of the 80 codes."""
    model = make_model(codebook_size=80)
    prompts = torch.tensor([[80]])
    assert first_scores(model, prompts).isfinite().all()
    assert first_scores(model, prompts, top_k=50).isfinite().sum() == 50


@pytest.mark.parametrize("has_generation_config", [True, False])
def test_a_loaded_model_has_the_same_defaults(tmp_path, model, prompts, has_generation_config):
    model.save_pretrained(tmp_path)
    if not has_generation_config:
        (tmp_path / "generation_config.json").unlink()
    reloaded = MelGPTForCausalLM.from_pretrained(tmp_path)
    torch.manual_seed(3)
    expected = model.generate(prompts)
    torch.manual_seed(3)
    assert torch.equal(reloaded.generate(prompts), expected)


def test_guidance_in_the_generation_config_is_the_default(tmp_path, prompts):
    model = make_model()
    model.generation_config.guidance_scale = SCALE
    model.save_pretrained(tmp_path)
    reloaded = MelGPTForCausalLM.from_pretrained(tmp_path)
    expected = reference_sentences(model, prompts, SCALE)
    assert torch.equal(reloaded.generate(prompts, do_sample=False), expected)
    unguided = reference_sentences(model, prompts, 1.0)
    assert torch.equal(reloaded.generate(prompts, do_sample=False, guidance_scale=1.0), unguided)
    assert not torch.equal(expected, unguided)


# Caches


@pytest.mark.parametrize("guidance_scale", [1.0, SCALE])
def test_cached_uncached_and_static_cache_write_the_same_codes(model, prompts, guidance_scale):
    options = {"do_sample": False, "guidance_scale": guidance_scale}
    cached = model.generate(prompts, **options)
    assert torch.equal(model.generate(prompts, use_cache=False, **options), cached)
    assert torch.equal(model.generate(prompts, cache_implementation="static", **options), cached)


def test_the_rows_of_a_batch_do_not_touch_each_other(model, prompts):
    together = model.generate(prompts, do_sample=False, guidance_scale=SCALE)
    for row, prompt in enumerate(prompts):
        alone = model.generate(prompt[None], do_sample=False, guidance_scale=SCALE)
        assert torch.equal(alone[0], together[row])


# Guidance


@pytest.mark.parametrize("guidance_scale", [0.0, 0.5, 1.0, SCALE])
def test_greedy_guidance_equals_full_recompute(model, prompts, guidance_scale):
    sentences = model.generate(prompts, do_sample=False, guidance_scale=guidance_scale)
    assert torch.equal(sentences, reference_sentences(model, prompts, guidance_scale))


def test_guidance_changes_the_sentences(model, prompts):
    unguided = model.generate(prompts, do_sample=False)
    assert not torch.equal(model.generate(prompts, do_sample=False, guidance_scale=SCALE), unguided)


def test_greedy_guidance_after_a_prompt_with_codes_equals_full_recompute(model, prompts):
    half = torch.cat([prompts, torch.randint(CODEBOOK_SIZE, (3, 7))], dim=1)
    sentences = model.generate(half, do_sample=False, guidance_scale=SCALE)
    assert torch.equal(sentences, reference_sentences(model, half, SCALE))


@pytest.mark.parametrize("cache_implementation", [None, "static"])
def test_sampling_with_several_sequences_equals_full_recompute(model, prompts, cache_implementation):
    torch.manual_seed(5)
    sentences = model.generate(
        prompts, guidance_scale=SCALE, num_return_sequences=3, cache_implementation=cache_implementation
    )
    torch.manual_seed(5)
    expected = reference_sentences(model, prompts.repeat_interleave(3, dim=0), SCALE, do_sample=True)
    assert torch.equal(sentences, expected)


@pytest.mark.parametrize("do_sample", [False, True])
def test_beams_equal_full_recompute(model, prompts, do_sample):
    options = {"num_beams": 3, "num_return_sequences": 3, "do_sample": do_sample}
    torch.manual_seed(6)
    sentences = model.generate(prompts, guidance_scale=SCALE, **options)
    torch.manual_seed(6)
    expected = model.generate(prompts, logits_processor=[FullRecomputeGuidance(model, SCALE)], **options)
    assert torch.equal(sentences, expected)


@torch.no_grad()
def test_enough_beams_find_the_best_sentence_under_guidance():
    """All sentences are enumerated: the scores of the codes add up to the guided objective of the sentence."""
    codebook_size, num_codes = 3, 3
    model = make_model(codebook_size=codebook_size, num_codes=num_codes)
    codes = torch.tensor(list(itertools.product(range(codebook_size), repeat=num_codes)))
    beams = {"num_beams": 9, "length_penalty": 0.0, "do_sample": False}
    for class_token in range(codebook_size, codebook_size + 3):
        sentences = torch.cat([torch.full_like(codes[:, :1], class_token), codes], dim=1)
        likelihoods = [
            model(prompt).logits[:, :-1].log_softmax(dim=-1).gather(2, codes[..., None]).sum(dim=(1, 2))
            for prompt in (sentences, with_null_class(sentences, model.config.bos_token_id))
        ]
        expected = SCALE * likelihoods[0] + (1 - SCALE) * likelihoods[1]
        found = model.generate(
            sentences[:1, :1], guidance_scale=SCALE, output_scores=True, return_dict_in_generate=True, **beams
        )
        assert torch.equal(found.sequences[0], sentences[expected.argmax()])
        torch.testing.assert_close(found.sequences_scores[0], expected.max())


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_null_class_answer_is_not_recomputed(model, prompts, num_beams):
    lengths = []
    hook = model.model.embed_tokens.register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
    model.generate(prompts, guidance_scale=SCALE, num_beams=num_beams, do_sample=False)
    hook.remove()
    assert lengths == [1] * (2 * NUM_CODES)


def test_without_guidance_the_model_is_asked_once(model, prompts):
    calls = []
    hook = model.model.embed_tokens.register_forward_hook(lambda module, args, output: calls.append(output))
    model.generate(prompts)
    hook.remove()
    assert len(calls) == NUM_CODES


def test_rows_of_the_null_class_are_plain_sampling(model):
    prompts = torch.tensor([[CODEBOOK_SIZE], [NULL_CLASS]])
    scores = torch.randn(2, NULL_CLASS + 1)
    guided = ClassConditioningLogitsProcessor(model, SCALE)(prompts, scores)
    assert torch.equal(guided[1, :CODEBOOK_SIZE], scores[1, :CODEBOOK_SIZE])
    assert not torch.allclose(guided[0, :CODEBOOK_SIZE], scores[0, :CODEBOOK_SIZE])


def test_a_null_class_that_is_called_padding_is_still_read(model):
    prompts = torch.full((2, 1), NULL_CLASS)
    expected = model.generate(prompts, do_sample=False)
    assert torch.equal(model.generate(prompts, do_sample=False, pad_token_id=NULL_CLASS), expected)


def test_nothing_leaks_from_one_call_into_the_next(model, prompts):
    processor = ClassConditioningLogitsProcessor(model, SCALE)
    for prompt in (prompts, prompts.flip(0), prompts[:1]):
        sentences = model.generate(prompt, do_sample=False, logits_processor=[processor])
        assert torch.equal(sentences, reference_sentences(model, prompt, SCALE))


@pytest.mark.parametrize("guidance_scale", [-1.0, float("nan"), float("inf"), "2"])
def test_a_bad_guidance_scale_is_an_error(model, prompts, guidance_scale):
    with pytest.raises(ValueError, match="guidance_scale"):
        model.generate(prompts, guidance_scale=guidance_scale)


def test_negative_prompts_are_an_error_instead_of_being_ignored(model, prompts):
    with pytest.raises(ValueError, match="negative_prompt_ids"):
        model.generate(prompts, guidance_scale=SCALE, negative_prompt_ids=prompts)


def test_the_processor_needs_class_tokens(model):
    with pytest.raises(ValueError, match="class token"):
        ClassConditioningLogitsProcessor(model, SCALE)(torch.tensor([[1, 2]]), torch.zeros(1, NULL_CLASS + 1))


# Only codes, with every processor of the library


@pytest.mark.parametrize("guidance_scale", [1.0, SCALE])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 100.0])
def test_only_codes_are_written(model, prompts, guidance_scale, temperature):
    many = prompts.repeat(40, 1)
    push = [[[NULL_CLASS], 100.0], [[CODEBOOK_SIZE], 100.0]]
    sentences = model.generate(
        many,
        guidance_scale=guidance_scale,
        temperature=temperature,
        sequence_bias=push,
        remove_invalid_values=True,
    )
    assert (sentences[:, 1:] < CODEBOOK_SIZE).all()


def test_the_processor_bans_what_is_not_a_code(model, prompts):
    scores = ClassConditioningLogitsProcessor(model)(prompts, torch.zeros(3, NULL_CLASS + 1))
    assert scores[:, CODEBOOK_SIZE:].isneginf().all()
    assert (scores[:, :CODEBOOK_SIZE] == 0).all()


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, SCALE])
def test_no_pair_of_codes_repeats_when_that_is_banned(model, prompts, guidance_scale):
    sentences = model.generate(prompts, guidance_scale=guidance_scale, no_repeat_ngram_size=2, temperature=0.1)
    for sentence in sentences.tolist():
        pairs = list(itertools.pairwise(sentence))
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("guidance_scale", [1.0, SCALE])
def test_a_repetition_penalty_spreads_the_codes(model, prompts, guidance_scale):
    options = {"guidance_scale": guidance_scale, "do_sample": False}
    plain = model.generate(prompts, **options)
    penalised = model.generate(prompts, repetition_penalty=50.0, **options)
    assert len(penalised[:, 1:].unique()) > len(plain[:, 1:].unique())


def test_a_code_banned_before_guidance_stays_banned(model, prompts):
    scores = torch.zeros(3, NULL_CLASS + 1)
    scores[:, 4] = -torch.inf
    for guidance_scale in (0.0, 0.5, SCALE):
        guided = ClassConditioningLogitsProcessor(model, guidance_scale)(prompts, scores)
        assert guided[:, 4].isneginf().all()
        assert not guided.isnan().any()


def test_guidance_comes_before_the_processors_of_the_library(model, prompts):
    """Otherwise it would multiply what they add."""
    plain = first_scores(model, prompts, guidance_scale=SCALE)
    biased = first_scores(model, prompts, guidance_scale=SCALE, sequence_bias=[[[4], 1.5]])
    torch.testing.assert_close(biased[:, 4] - plain[:, 4], torch.full((3,), 1.5))


def test_a_generation_config_of_the_caller_is_completed_with_our_defaults(model, prompts):
    sentences = model.generate(prompts, generation_config=GenerationConfig(temperature=0.7, guidance_scale=SCALE))
    assert sentences.shape == (3, 1 + NUM_CODES)


# Prompts that cannot be continued


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([[3, 4]], "class token"),
        ([[NULL_CLASS + 1]], "class token"),
        ([[CODEBOOK_SIZE, NULL_CLASS]], "only codes"),
        ([[CODEBOOK_SIZE, -1]], "only codes"),
        ([[CODEBOOK_SIZE] + [0] * NUM_CODES], f"1 to {NUM_CODES} ids"),
        ([CODEBOOK_SIZE], "prompt_length"),
    ],
)
def test_a_prompt_that_is_no_sentence_is_an_error(model, prompt, message):
    with pytest.raises(ValueError, match=message):
        model.generate(torch.tensor(prompt))


def test_padded_prompts_are_an_error(model):
    prompts = torch.tensor([[CODEBOOK_SIZE, 1], [CODEBOOK_SIZE, 2]])
    with pytest.raises(ValueError, match="attention_mask"):
        model.generate(prompts, attention_mask=torch.tensor([[0, 1], [1, 1]]))


def test_a_length_beyond_the_positions_is_refused_at_once(model, prompts):
    with pytest.raises(ValueError, match="max_length"):
        model.generate(prompts, max_new_tokens=NUM_CODES + 1)

"""Are clips sampled, reconstructed, interpolated and filled in as promised, and is their likelihood the right one?"""

import math

import pytest
import torch
from tiny_vae import CODEBOOK_SIZE, GREEDY, LATENT_SIZE, NUM_CLIPS, labels_for, make_model
from transformers import GenerationConfig

from melspec_gpt.modeling.modeling_gaussian_latent import log_normal, log_standard_normal

NUM_ROWS = 3
NUM_CODES = 5 * NUM_ROWS
NUM_CANDIDATES = 4


@pytest.fixture(scope="module", params=[False, True], ids=["latent", "latent and class"])
def model(request):
    return make_model(NUM_CODES, class_conditioning=request.param)


@pytest.fixture(scope="module")
def codes():
    torch.manual_seed(1)
    return torch.randint(CODEBOOK_SIZE, (NUM_CLIPS, NUM_CODES))


def one_of(labels: dict[str, torch.Tensor], clip: int) -> dict[str, torch.Tensor]:
    return {name: values[[clip]] for name, values in labels.items()}


def make_mask(kind: str) -> torch.BoolTensor:
    mask = torch.zeros(NUM_CLIPS, NUM_CODES, dtype=torch.bool)
    if kind == "random":
        return torch.rand(mask.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    hidden = {
        "start": slice(0, 5),
        "middle": slice(5, 10),
        "end": slice(10, None),
        "band": slice(1, None, NUM_ROWS),
        "all": slice(None),
        "none": slice(0),
    }[kind]
    mask[:, hidden] = True
    return mask


MASK_KINDS = ("start", "middle", "end", "band", "random")


# Sampling and reconstruction


def test_samples_are_clips_from_draws_of_the_prior(model):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(NUM_CLIPS, LATENT_SIZE, generator=torch.Generator().manual_seed(3))
    codes = model.sample(NUM_CLIPS, generator=generator, **labels_for(model), **GREEDY)
    assert torch.equal(codes, model.generate(latents=latents, **labels_for(model), **GREEDY))


def test_a_reconstruction_is_the_greedy_clip_of_the_mean(model, codes):
    expected = model.generate(latents=model.encode(codes).mean, **labels_for(model), **GREEDY)
    assert torch.equal(model.reconstruct(codes, **labels_for(model)), expected)


def test_a_reconstruction_takes_the_arguments_of_generate(model, codes):
    assert model.reconstruct(codes, **labels_for(model), max_length=4).shape == (NUM_CLIPS, 4)
    torch.manual_seed(4)
    sampled = model.reconstruct(codes, **labels_for(model), do_sample=True)
    torch.manual_seed(4)
    expected = model.generate(latents=model._posterior(codes).mean, **labels_for(model))
    assert torch.equal(sampled, expected)


def test_a_generation_config_that_does_not_speak_of_sampling_leaves_a_reconstruction_greedy(model, codes):
    config = GenerationConfig(max_new_tokens=NUM_CODES)
    reconstruction = model.reconstruct(codes, **labels_for(model), generation_config=config)
    assert torch.equal(reconstruction, model.reconstruct(codes, **labels_for(model)))


@pytest.mark.parametrize("labels", [[0], [0] * (NUM_CLIPS + 1)])
def test_every_clip_needs_a_label(codes, labels):
    model, labels = make_model(NUM_CODES, class_conditioning=True), torch.tensor(labels)
    with pytest.raises(ValueError, match="`class_labels`"):
        model.impute(codes, make_mask("middle"), class_labels=labels)
    with pytest.raises(ValueError, match="`class_labels`"):
        model.importance_weighted_nll(codes, num_samples=1, class_labels=labels)
    with pytest.raises(ValueError, match="`class_labels`"):
        model.interpolate(codes, codes, class_labels=labels)


def test_codes_may_be_small_integers(model, codes):
    options = labels_for(model) | {"noise": torch.zeros(NUM_CLIPS, 1, LATENT_SIZE)}
    expected = model.importance_weighted_nll(codes, num_samples=1, **options)
    assert torch.equal(model.importance_weighted_nll(codes.int(), num_samples=1, **options), expected)
    assert torch.equal(
        model(codes.int(), **labels_for(model), noise=options["noise"][:, 0]).loss,
        model(codes, **labels_for(model), noise=options["noise"][:, 0]).loss,
    )


def test_what_is_deterministic_leaves_the_random_state_alone(model, codes):
    state = torch.get_rng_state()
    model.reconstruct(codes, **labels_for(model))
    model.interpolate(codes[0], codes[1], 3, **labels_for(model, 1))
    assert torch.equal(torch.get_rng_state(), state)


# Interpolation


@pytest.mark.parametrize("mode", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [2, 5])
def test_the_ends_of_an_interpolation_are_the_reconstructions(model, codes, mode, steps):
    start, end = codes, codes.roll(1, dims=0)
    path = model.interpolate(start, end, steps, mode, **labels_for(model))
    assert path.shape == (NUM_CLIPS, steps, NUM_CODES)
    assert torch.equal(path[:, 0], model.reconstruct(start, **labels_for(model)))
    assert torch.equal(path[:, -1], model.reconstruct(end, **labels_for(model)))


def test_the_middle_of_a_linear_interpolation_is_the_mean_of_the_means(model, codes):
    means = model.encode(codes[:2]).mean
    middle = model.generate(latents=means.mean(dim=0, keepdim=True), **labels_for(model, 1), **GREEDY)
    assert torch.equal(model.interpolate(codes[0], codes[1], 3, **labels_for(model, 1))[1], middle[0])


def test_one_pair_has_no_batch_axis(model, codes):
    path = model.interpolate(codes[0], codes[1], 4, **labels_for(model, 1))
    assert path.shape == (4, NUM_CODES)
    batch = model.interpolate(codes[:1], codes[1:2], 4, **labels_for(model, 1))
    assert torch.equal(path, batch[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "steps"),
        ({"mode": "cubic"}, "mode"),
        ({"end": torch.zeros(1, NUM_CODES, dtype=torch.long)}, "start"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
    ],
)
def test_an_impossible_interpolation_is_an_error(codes, arguments, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        make_model(NUM_CODES).interpolate(**({"start": codes[0], "end": codes[1]} | arguments))


# Imputation


@torch.no_grad()
def reference_candidate(model, codes, mask, latents, **labels) -> torch.Tensor:
    """Greedy decoding with known codes in place, through the training forward pass."""
    filled = codes.masked_fill(mask, 0)
    for position in range(NUM_CODES):
        best = model(filled, latents=latents, **labels).logits[:, position].argmax(dim=-1)
        filled[:, position] = torch.where(mask[:, position], best, filled[:, position])
    return filled


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("options", [{}, GREEDY, GREEDY | {"num_beams": 3}, {"top_k": 3, "temperature": 0.5}])
def test_known_codes_are_never_changed(model, codes, kind, options):
    mask = make_mask(kind)
    filled = model.impute(codes, mask, NUM_CANDIDATES, **labels_for(model), **options)
    assert torch.equal(filled[~mask], codes[~mask])
    assert ((filled >= 0) & (filled < CODEBOOK_SIZE)).all()
    assert not torch.equal(filled[mask], codes[mask])


@torch.no_grad()
@pytest.mark.parametrize("kind", MASK_KINDS)
def test_the_candidate_that_explains_the_known_codes_best_is_the_answer(model, codes, kind):
    """Candidates are recomputed without a generation loop, one latent at a time."""
    mask, labels = make_mask(kind), labels_for(model)
    noise = torch.randn(NUM_CLIPS, NUM_CANDIDATES, LATENT_SIZE, generator=torch.Generator().manual_seed(7))
    visible = codes.masked_fill(mask, model.config.hidden_code_id)
    candidates, nats = [], []
    for candidate in range(NUM_CANDIDATES):
        latents = model.encode(visible, noise=noise[:, candidate]).latents
        candidates.append(reference_candidate(model, codes, mask, latents, **labels))
        log_probabilities = model(candidates[-1], latents=latents, **labels).logits.log_softmax(-1)
        chosen = log_probabilities.gather(-1, candidates[-1].unsqueeze(-1)).squeeze(-1)
        nats.append(-torch.where(mask, 0, chosen).sum(1))
    best = torch.stack(nats).argmin(dim=0)
    filled = model.impute(codes, mask, NUM_CANDIDATES, noise=noise, **labels, **GREEDY)
    assert torch.equal(filled, torch.stack(candidates)[best, torch.arange(NUM_CLIPS)])
    assert best.any()


@pytest.mark.parametrize("value", [-1, CODEBOOK_SIZE, 10_000])
@pytest.mark.parametrize("kind", MASK_KINDS)
def test_values_at_hidden_positions_are_not_read(model, codes, kind, value):
    mask = make_mask(kind)
    filled = []
    for given in (codes, codes.masked_fill(mask, value)):
        torch.manual_seed(5)
        filled.append(model.impute(given, mask, 2, **labels_for(model)))
    assert torch.equal(*filled)


def test_a_length_in_the_generation_config_does_not_reach_an_imputation(codes):
    model, mask = make_model(NUM_CODES, class_conditioning=False), make_mask("middle")
    expected = model.impute(codes, mask, num_candidates=1, **GREEDY, noise=torch.zeros(NUM_CLIPS, 1, LATENT_SIZE))
    model.generation_config.max_new_tokens = NUM_CODES
    filled = model.impute(codes, mask, num_candidates=1, **GREEDY, noise=torch.zeros(NUM_CLIPS, 1, LATENT_SIZE))
    assert torch.equal(filled, expected)


def test_with_everything_hidden_a_clip_is_drawn_from_the_posterior_of_nothing(model, codes):
    noise = torch.randn(NUM_CLIPS, 1, LATENT_SIZE)
    nothing = torch.full_like(codes, model.config.hidden_code_id)
    latents = model.encode(nothing, noise=noise.squeeze(1)).latents
    filled = model.impute(codes, make_mask("all"), 1, noise=noise, **labels_for(model), **GREEDY)
    assert torch.equal(filled, model.generate(latents=latents, **labels_for(model), **GREEDY))


def test_with_nothing_hidden_the_codes_come_back(model, codes):
    filled = model.impute(codes, make_mask("none"), **labels_for(model))
    assert torch.equal(filled, codes)
    assert filled is not codes


@pytest.mark.parametrize("max_batch_size", [1, 5, 64])
def test_portions_do_not_change_the_result(model, codes, max_batch_size):
    noise = torch.randn(NUM_CLIPS, NUM_CANDIDATES, LATENT_SIZE, generator=torch.Generator().manual_seed(6))
    options = {"noise": noise} | labels_for(model)
    mask = make_mask("random")
    expected = model.impute(codes, mask, NUM_CANDIDATES, **options, **GREEDY)
    filled = model.impute(codes, mask, NUM_CANDIDATES, **options, **GREEDY, max_batch_size=max_batch_size)
    assert torch.equal(filled, expected)
    nll = model.importance_weighted_nll(codes, NUM_CANDIDATES, **options)
    portions = model.importance_weighted_nll(codes, NUM_CANDIDATES, **options, max_batch_size=max_batch_size)
    torch.testing.assert_close(portions, nll)


@torch.no_grad()
def test_beams_choose_what_explains_the_known_codes_that_follow(codes):
    """With the first code hidden and a beam for each code, the likeliest whole clip is found."""
    model = make_model(NUM_CODES)
    mask = torch.zeros(1, NUM_CODES, dtype=torch.bool)
    mask[:, 0] = True
    noise = torch.zeros(1, 1, LATENT_SIZE)
    greedy_answers = []
    for clip in codes.split(1):
        latents = model.encode(clip.masked_fill(mask, model.config.hidden_code_id)).mean
        clips = clip.repeat(CODEBOOK_SIZE, 1)
        clips[:, 0] = torch.arange(CODEBOOK_SIZE)
        best = model(clips, latents=latents.expand(CODEBOOK_SIZE, -1)).reconstruction_nats.argmin()
        filled = model.impute(clip, mask, 1, noise=noise, num_beams=CODEBOOK_SIZE, **GREEDY)
        assert torch.equal(filled[0], clips[best])
        greedy_answers.append(torch.equal(model.impute(clip, mask, 1, noise=noise, **GREEDY)[0], clips[best]))
    assert not all(greedy_answers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": make_mask("end").long()}, "mask"),
        ({"mask": make_mask("end")[:, 1:]}, "mask"),
        ({"codes": torch.full((NUM_CLIPS, NUM_CODES), CODEBOOK_SIZE)}, "codes"),
        ({"noise": torch.zeros(NUM_CLIPS, NUM_CANDIDATES, 1)}, "noise"),
        ({"num_candidates": 0}, "num_candidates"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_length": 3}, "max_length"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"eos_token_id": 2}, "eos_token_id"),
    ],
)
def test_an_impossible_imputation_is_an_error(codes, arguments, message):
    given = {"codes": codes, "mask": make_mask("end"), "num_candidates": NUM_CANDIDATES}
    with pytest.raises(ValueError, match=f"`{message}`"):
        make_model(NUM_CODES).impute(**(given | arguments))


# Likelihood


@torch.no_grad()
def test_one_sample_is_the_sampled_evidence_bound(model, codes):
    noise = torch.randn(NUM_CLIPS, 1, LATENT_SIZE)
    outputs = model(codes, noise=noise.squeeze(1), **labels_for(model))
    log_ratio = log_normal(outputs.latents, outputs.mean, outputs.log_variance) - log_standard_normal(outputs.latents)
    nll = model.importance_weighted_nll(codes, 1, noise=noise, **labels_for(model))
    torch.testing.assert_close(nll, outputs.reconstruction_nats + log_ratio)


@torch.no_grad()
def test_many_samples_reach_the_likelihood_of_a_numerical_integral(codes):
    model = make_model(NUM_CODES, latent_size=1)
    grid = torch.linspace(-6, 6, 2001)[:, None]
    log_joint = [
        log_standard_normal(grid) - model(clip.expand(len(grid), -1), latents=grid).reconstruction_nats
        for clip in codes
    ]
    expected = -torch.stack(log_joint).logsumexp(dim=1) - math.log(12 / 2000)
    # Evenly spread draws from a posterior as wide as the prior make the estimate exact soon.
    model.encoder_head.weight.mul_(0.1)
    noise = torch.distributions.Normal(0, 1).icdf((torch.arange(1000) + 0.5) / 1000)
    nll = model.importance_weighted_nll(codes, 1000, noise=noise[:, None].expand(NUM_CLIPS, -1, -1))
    torch.testing.assert_close(nll, expected, atol=1e-3, rtol=0)


@torch.no_grad()
def test_more_samples_give_a_tighter_bound(model, codes):
    torch.manual_seed(8)
    few = torch.stack([model.importance_weighted_nll(codes, 1, **labels_for(model)) for _ in range(60)]).mean(dim=0)
    many = model.importance_weighted_nll(codes, 300, **labels_for(model))
    assert (many < few).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": torch.full((NUM_CLIPS, NUM_CODES), CODEBOOK_SIZE)}, "codes"),
        ({"noise": torch.zeros(NUM_CLIPS, 3, LATENT_SIZE)}, "noise"),
        ({"num_samples": 0}, "num_samples"),
    ],
)
def test_an_impossible_likelihood_is_an_error(codes, arguments, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        make_model(NUM_CODES).importance_weighted_nll(**({"codes": codes, "num_samples": 2} | arguments))

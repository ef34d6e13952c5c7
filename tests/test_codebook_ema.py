import torch
from clean_processes import run_on_two_processes

from melspec_gpt.modeling.modeling_vector_quantizer import VectorQuantizer
from melspec_gpt.training.codebook_ema import CodebookEMA


def clustered_latents(num_clusters: int, seed: int) -> torch.Tensor:
    """(B, 4, 1, steps) latents around `num_clusters` far-apart centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.randn(num_clusters, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(64) % num_clusters
    vectors = centres[rows] + 0.01 * torch.randn(64, 4, generator=generator)
    return vectors.reshape(4, 1, 16, 4).permute(0, 3, 1, 2)


def quantization_error(quantizer: VectorQuantizer, latents: torch.Tensor) -> float:
    return (quantizer.lookup(quantizer.nearest_codes(latents)) - latents).square().mean().item()


def test_codebook_finds_the_clusters():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4, 0.25)
    codebook = CodebookEMA(quantizer, decay=0.8, dead_share=0.5)
    for step in range(80):
        codebook.update(clustered_latents(8, seed=step))
    latents = clustered_latents(8, seed=99)
    assert quantization_error(quantizer, latents) < 0.01
    assert len(quantizer.nearest_codes(latents).unique()) == 8


def test_dead_vectors_are_revived():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4, 0.25)
    codebook = CodebookEMA(quantizer, decay=0.5)
    codebook.update(clustered_latents(8, seed=0))
    quantizer.codebook.weight[3] = 1e6
    for step in range(10):
        codebook.update(clustered_latents(8, seed=step))
    assert quantizer.codebook.weight.abs().max() < 1e3


def test_codebook_gets_no_gradient():
    quantizer = VectorQuantizer(8, 4, 0.25)
    CodebookEMA(quantizer)
    assert not quantizer.codebook.weight.requires_grad


def test_state_restores_the_same_continuation():
    torch.manual_seed(0)
    first, second = VectorQuantizer(8, 4, 0.25), VectorQuantizer(8, 4, 0.25)
    original, restored = CodebookEMA(first), CodebookEMA(second)
    original.update(clustered_latents(4, seed=0))
    second.load_state_dict(first.state_dict())
    restored.load_state_dict(original.state_dict())
    for quantizer_update in (original, restored):
        torch.manual_seed(5)
        quantizer_update.update(clustered_latents(4, seed=1))
    assert torch.equal(first.codebook.weight, second.codebook.weight)


def test_collected_latents_count_in_the_next_update():
    quantizers = VectorQuantizer(8, 4, 0.25), VectorQuantizer(8, 4, 0.25)
    first, second = (CodebookEMA(quantizer) for quantizer in quantizers)
    latents = clustered_latents(8, seed=0)
    torch.manual_seed(1)
    first.update(latents)
    torch.manual_seed(1)
    second.collect(latents[:3])
    second.update(latents[3:])
    assert torch.equal(*(quantizer.codebook.weight for quantizer in quantizers))
    assert second.collected == []


def test_a_trained_codebook_is_not_started_anew():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4, 0.25)
    CodebookEMA(quantizer).update(clustered_latents(8, seed=0))
    before = quantizer.codebook.weight.clone()
    CodebookEMA(quantizer, decay=0.99, is_trained=True).update(clustered_latents(8, seed=1))
    torch.testing.assert_close(quantizer.codebook.weight, before, atol=0.01, rtol=0)


def update_on_two_processes() -> None:
    import torch.distributed as dist

    torch.manual_seed(dist.get_rank())
    quantizer = VectorQuantizer(8, 4, 0.25)
    codebook = CodebookEMA(quantizer)
    for step in range(3):
        # The last batch of a stream may be of other sizes on the two.
        codebook.update(clustered_latents(8 - (step == 2) * dist.get_rank(), seed=10 * step + dist.get_rank()))
    copies = [torch.empty_like(quantizer.codebook.weight) for _ in range(2)]
    dist.all_gather(copies, quantizer.codebook.weight)
    assert torch.equal(*copies)


def test_two_processes_keep_one_codebook():
    run_on_two_processes(update_on_two_processes)

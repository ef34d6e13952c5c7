"""
Are hidden codes likelier under the GPT-VAE, which reads what comes after the gap, than under a GPT that continues?

Codes of validation clips are hidden in five ways. Each is scored in nats per hidden code, the true earlier codes being
given: by a GPT from left to right with the null class, and by the decoder of the GPT-VAE with a latent from the
posterior of the visible codes, at its mean and as a mixture of draws. The errors are those of the mean over clips.

    python benchmarks/imputation.py --vae checkpoints/esc10-vae-small --gpt runs/gpt --dataset_path data/tokens
"""

import argparse
import math

import torch
from datasets import load_from_disk
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor
from transformers.utils import logging

import melspec_gpt  # noqa: F401  registers the Auto classes
from melspec_gpt.modeling.modeling_gaussian_latent import reparameterize
from melspec_gpt.tokenization.code_times import CodeTimes
from melspec_gpt.training.code_masks import random_code_mask

KINDS = ("start second", "middle second", "end second", "frequency band", "random codes")


def make_masks(kind: str, times: CodeTimes, clip_seconds: float, num_clips: int, seed: int) -> torch.BoolTensor:
    """Masks (num_clips, num_codes), True where a code is hidden."""
    starts = {"start second": 0.0, "middle second": clip_seconds / 2 - 0.5, "end second": clip_seconds - 1}
    if kind in starts:
        return times.hidden_codes((starts[kind], starts[kind] + 1)).expand(num_clips, -1)
    generator = torch.Generator().manual_seed(seed)
    short_name = "band" if kind == "frequency band" else "random"
    grid_shape = times.num_rows, times.num_steps
    return torch.stack([random_code_mask(grid_shape, generator, short_name) for _ in range(num_clips)])


def code_log_probabilities(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1).gather(-1, codes.unsqueeze(-1)).squeeze(-1)  # (batch, num_codes)


def gpt_nats(gpt, codes: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Nats of the hidden codes of each clip, after the null class and the codes before them."""
    null_class = torch.full((len(codes), 1), gpt.config.bos_token_id)
    logits = gpt(torch.cat([null_class, codes[:, :-1]], dim=1)).logits
    return -(code_log_probabilities(logits, codes) * masks).sum(1)


def vae_nats(vae, codes: torch.Tensor, masks: torch.Tensor, num_draws: int, seed: int) -> dict[str, torch.Tensor]:
    """Nats of the hidden codes of each clip, with the latent that the visible codes suggest."""

    def hidden_log_probability(latents: torch.Tensor) -> torch.Tensor:
        return (code_log_probabilities(vae(codes, latents=latents).logits, codes) * masks).sum(1)

    posterior = vae.encode(codes.masked_fill(masks, vae.config.hidden_code_id))
    generator = torch.Generator().manual_seed(seed)
    draws = [
        reparameterize(posterior.mean, posterior.log_variance, torch.randn(posterior.mean.shape, generator=generator))
        for _ in range(num_draws)
    ]
    mixture = torch.stack([hidden_log_probability(latents) for latents in draws]).logsumexp(0) - math.log(num_draws)
    return {
        "GPT-VAE, mean latent": -hidden_log_probability(posterior.mean),
        f"GPT-VAE, {num_draws} draws": -mixture,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", required=True, help="GPT-VAE checkpoint")
    parser.add_argument("--gpt", required=True, help="GPT checkpoint, trained without classes for a fair comparison")
    parser.add_argument("--dataset_path", required=True, help="token dataset of both")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--num_draws", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@torch.no_grad()
def main():
    arguments = parse_arguments()
    logging.set_verbosity_error()
    vae = AutoModel.from_pretrained(arguments.vae).eval()
    gpt = AutoModelForCausalLM.from_pretrained(arguments.gpt).eval()
    processor = AutoProcessor.from_pretrained(arguments.vae)
    codes = load_from_disk(arguments.dataset_path)[arguments.split].with_format("torch")["codes"][:].long()
    extractor = processor.feature_extractor
    times = CodeTimes(extractor, processor.audio_tokenizer.config)
    print(
        f"{len(codes)} clips; parameters: GPT {gpt.num_parameters():,}, decoder of the GPT-VAE "
        f"{vae.decoder.num_parameters() + vae.lm_head.weight.numel():,}, whole GPT-VAE {vae.num_parameters():,}\n"
    )
    for index, kind in enumerate(KINDS):
        masks = make_masks(kind, times, extractor.num_samples / extractor.sampling_rate, len(codes), arguments.seed)
        nats = {"GPT": gpt_nats(gpt, codes, masks)} | vae_nats(vae, codes, masks, arguments.num_draws, arguments.seed)
        if index == 0:
            print("| hidden | codes per clip | " + " | ".join(nats) + " | GPT-VAE with draws better in |")
            print("|---" * (len(nats) + 3) + "|")
        per_code = [values / masks.sum(1) for values in nats.values()]
        cells = [f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}" for values in per_code]
        better = (per_code[-1] < per_code[0]).float().mean()
        print(f"| {kind} | {masks.sum(1).float().mean():.1f} | " + " | ".join(cells) + f" | {better:.0%} of clips |")


if __name__ == "__main__":
    main()

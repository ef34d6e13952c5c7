"""
Is the path between two sounds gradual? Neighbours on it should be nearer to each other than its two ends are.

Pairs of validation clips are interpolated in the latent of a GPT-VAE and decoded greedily. Nearness is the share of
equal codes and the L1 distance of the decoded log-mel features on their [-1, 1] scale.

    python benchmarks/interpolation.py --vae checkpoints/esc10-vae-small --dataset_path data/tokens
"""

import argparse

import torch
from datasets import load_from_disk
from transformers import AutoModel, AutoProcessor
from transformers.utils import logging

import melspec_gpt  # noqa: F401  registers the Auto classes


def agreement(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first == second).float().mean(-1)


def mel_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).abs().mean((-2, -1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", required=True, help="GPT-VAE checkpoint")
    parser.add_argument("--dataset_path", required=True, help="token dataset")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--num_pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--modes", nargs="+", default=["linear", "spherical"])
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of pairs")
    return parser.parse_args()


@torch.no_grad()
def main():
    arguments = parse_arguments()
    logging.set_verbosity_error()
    vae = AutoModel.from_pretrained(arguments.vae).eval()
    processor = AutoProcessor.from_pretrained(arguments.vae)
    codes = load_from_disk(arguments.dataset_path)[arguments.split].with_format("torch")["codes"][:].long()
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(arguments.seed))
    num_pairs = min(arguments.num_pairs, len(codes) // 2)
    starts, ends = codes[order[:num_pairs]], codes[order[num_pairs : 2 * num_pairs]]
    print("| path | measure | neighbours | ends | neighbours nearer in | ends are the reconstructions |")
    print("|---|---|---|---|---|---|")
    for mode in arguments.modes:
        path = vae.interpolate(starts, ends, steps=arguments.steps, mode=mode)  # (pairs, steps, num_codes)
        ends_match = all(torch.equal(path[:, i], vae.reconstruct(clips)) for i, clips in ((0, starts), (-1, ends)))
        features = processor.decode_features(path.flatten(0, 1)).input_features.unflatten(0, path.shape[:2])
        for name, measure, values, sign in (
            ("equal codes", agreement, path, -1),
            ("mel distance", mel_distance, features, 1),
        ):
            neighbours = torch.stack(
                [measure(values[:, step], values[:, step + 1]) for step in range(arguments.steps - 1)], dim=1
            ).mean(1)
            far = measure(values[:, 0], values[:, -1])
            nearer = (sign * neighbours < sign * far).float().mean()
            print(
                f"| {mode} | {name} | {neighbours.mean():.3f} | {far.mean():.3f} | {nearer:.0%} of {num_pairs} pairs "
                f"| {'yes' if ends_match else 'no'} |"
            )


if __name__ == "__main__":
    main()

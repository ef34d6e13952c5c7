"""
How much faster is sampling with a key/value cache than recomputing the whole prefix for every code?

Both run in one pass over the same model and the same ids: `generate()` writes the clips with its cache, and at a few
prefix lengths its clock is stopped to time one forward pass over the whole prefix, which is what the original sampler
does for every code. The time of a whole recomputed clip is the sum over all prefix lengths, with linear interpolation
between the timed ones; `--num_probes` equal to `--num_codes` times every length instead.

    python benchmarks/sampling.py                                     # 24 layers x 1024, batch 1 and 16
    python benchmarks/sampling.py --num_hidden_layers 2 --num_codes 40  # a quick try
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LogitsProcessor
from transformers.utils import logging

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM

GIGA = 1e9


class PrefixProbe(LogitsProcessor):
    """
    Times a forward pass over the whole prefix whenever `generate()` arrives at one of the given lengths.

    Args:
        model ([`MelGPTForCausalLM`]): the model that generates.
        lengths (`list[int]`): prefix lengths to time.
    """

    def __init__(self, model: MelGPTForCausalLM, lengths: list[int]):
        self.model = model
        self.lengths = set(lengths)
        self.seconds: dict[int, float] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if input_ids.shape[1] in self.lengths:
            start = time.perf_counter()
            self.model(input_ids, use_cache=False)
            self.seconds[input_ids.shape[1]] = time.perf_counter() - start
        return scores

    def seconds_of_all_lengths(self, num_codes: int) -> float:
        """Seconds of one forward pass at every prefix length from 1 to `num_codes`."""
        timed = sorted(self.seconds)
        return float(np.interp(range(1, num_codes + 1), timed, [self.seconds[length] for length in timed]).sum())


@dataclass
class Measurement:
    """Times of one batch of clips, in seconds."""

    batch_size: int
    cached: float
    recomputed: float
    weights_per_second: float

    def as_row(self) -> str:
        return (
            f"| {self.batch_size} | {self.cached / self.batch_size:.2f} | {self.recomputed / self.batch_size:.2f} "
            f"| {self.recomputed / self.cached:.1f} | {self.weights_per_second / GIGA:.1f} |"
        )


def weight_bytes(model: MelGPTForCausalLM) -> int:
    """Bytes of weights that every step reads: all but the embedding tables, of which it needs a few rows."""
    tables = {id(table.weight) for table in (model.model.embed_tokens, model.model.embed_positions)}
    return sum(weight.nbytes for weight in model.parameters() if id(weight) not in tables)


def memory_bytes_per_second(num_bytes: int, num_repeats: int = 5) -> float:
    """Speed of reading memory and doing nothing else with it: the best of a few sums over a large tensor."""
    values = torch.zeros(num_bytes // torch.float32.itemsize)
    seconds = []
    for _ in range(num_repeats):
        start = time.perf_counter()
        values.sum()
        seconds.append(time.perf_counter() - start)
    return values.nbytes / min(seconds)


def measure(model: MelGPTForCausalLM, batch_size: int, num_probes: int) -> Measurement:
    """Samples one batch of clips with the cache, timing recomputed prefixes on the way."""
    config = model.config
    num_codes = config.num_codes
    lengths = np.linspace(1, num_codes, num_probes).round().astype(int).tolist()
    prompts = torch.full((batch_size, 1), config.bos_token_id)
    model.generate(prompts, max_new_tokens=2)  # warm-up
    probe = PrefixProbe(model, lengths)
    start = time.perf_counter()
    model.generate(prompts, logits_processor=[probe])
    cached = time.perf_counter() - start - sum(probe.seconds.values())
    return Measurement(
        batch_size=batch_size,
        cached=cached,
        recomputed=probe.seconds_of_all_lengths(num_codes),
        weights_per_second=weight_bytes(model) * num_codes / cached,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_hidden_layers", type=int, default=24)
    parser.add_argument("--hidden_size", type=int, default=1024)
    parser.add_argument("--num_attention_heads", type=int, default=16)
    parser.add_argument("--num_codes", type=int, default=265, help="codes of one clip")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--num_probes", type=int, default=6, help="prefix lengths at which recomputing is timed")
    parser.add_argument("--threads", type=int, help="CPU threads, by default as many as PyTorch chooses")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not 2 <= arguments.num_probes <= arguments.num_codes:
        parser.error(f"--num_probes is {arguments.num_probes}; it has to be 2 to --num_codes {arguments.num_codes}")
    return arguments


def main():
    arguments = parse_arguments()
    logging.set_verbosity_error()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    config = MelGPTConfig(
        num_hidden_layers=arguments.num_hidden_layers,
        hidden_size=arguments.hidden_size,
        num_attention_heads=arguments.num_attention_heads,
        num_codes=arguments.num_codes,
    )
    model = MelGPTForCausalLM(config).eval()
    num_bytes = weight_bytes(model)
    print(
        f"{config.num_codes} codes, {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{model.num_parameters() / 1e6:.0f} M parameters, float32, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, seed {arguments.seed}\n"
    )
    print("| batch | cached, s per clip | recomputed, s per clip | ratio | weights read, GB/s |")
    print("|---|---|---|---|---|")
    for batch_size in arguments.batch_sizes:
        print(measure(model, batch_size, arguments.num_probes).as_row(), flush=True)
    print(
        f"\nRecomputed: timed at {arguments.num_probes} of {config.num_codes} prefix lengths in the course of the "
        "cached run, the lengths between by linear interpolation.\n"
        f"Every cached step reads {num_bytes / GIGA:.2f} GB of weights; reading alone runs at "
        f"{memory_bytes_per_second(num_bytes) / GIGA:.1f} GB/s here."
    )


if __name__ == "__main__":
    main()

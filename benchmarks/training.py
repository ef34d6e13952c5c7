"""
How much faster is a training step of MelGPT than the same step as the original makes it?

The original's formulation: attention as two matrix products around a softmax over scores that are written out in
full, masked, and thinned out by dropout; dropout 0.5 in three places; AdamW one parameter at a time. Ours: the fused
attention of PyTorch and the fused AdamW, with that dropout and without, in float32 and in bfloat16. Each runs in a
process of its own, which gives the peak memory; the processes take turns, one step each, so that all of them meet the
same machine. The seconds of the processor leave out what else the machine was doing.

    python benchmarks/training.py                                          # 8 layers x 512, batch 8
    python benchmarks/training.py --num_hidden_layers 24 --hidden_size 1024 --num_attention_heads 16 --batch_size 1 \\
        --variants original ours                                           # 12 GB of memory for two of them

On a CPU, three quarters and more of our step in float32 are the matrix products of the linear layers, which both have
in common: processors that multiply bfloat16 faster (AVX512-BF16, AMX) shorten just these. The fewer the clips of a
batch, the more the optimizer weighs.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.optimization import build_adamw, decay_groups

DROPOUT = 0.5
LEARNING_RATE, WEIGHT_DECAY, BETAS = 1e-4, 0.01, (0.9, 0.95)
KIBIBYTE, MEBIBYTE = 1024, 1024**2


class ExplicitBlock(nn.Module):
    """A pre-LayerNorm transformer block whose attention writes out all scores."""

    def __init__(self, config: MelGPTConfig):
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(size)
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.feed_forward_norm = nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.dropout = nn.Dropout(DROPOUT)
        length = config.max_position_embeddings
        self.register_buffer("mask", torch.ones(length, length).tril().bool(), persistent=False)

    def forward(self, hidden_states: torch.FloatTensor) -> torch.FloatTensor:
        hidden_states = hidden_states + self.dropout(self.out(self.attend(self.attention_norm(hidden_states))))
        return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))

    def attend(self, hidden_states: torch.FloatTensor) -> torch.FloatTensor:
        batch, length, size = hidden_states.shape
        heads = [
            layer(hidden_states).view(batch, length, self.num_heads, -1).transpose(1, 2)  # (B, heads, T, head size)
            for layer in (self.query, self.key, self.value)
        ]
        scores = heads[0] @ heads[1].transpose(2, 3) / math.sqrt(size // self.num_heads)  # (B, heads, T, T)
        scores = scores.masked_fill(~self.mask[:length, :length], -math.inf)
        attended = self.dropout(scores.softmax(-1)) @ heads[2]
        return attended.transpose(1, 2).reshape(batch, length, size)


class ExplicitGPT(nn.Module):
    """The network of [`MelGPTForCausalLM`] from [`ExplicitBlock`]s."""

    def __init__(self, config: MelGPTConfig):
        super().__init__()
        self.codebook_size = config.codebook_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(ExplicitBlock(config) for _ in range(config.num_hidden_layers)))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.codebook_size, bias=False)

    def forward(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        """The loss of sentences `(batch_size, 1 + num_codes)`."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        embeddings = self.embed_tokens(input_ids) + self.embed_positions(positions)
        logits = self.lm_head(self.norm(self.blocks(self.dropout(embeddings))))[:, :-1]
        return F.cross_entropy(logits.reshape(-1, self.codebook_size), input_ids[:, 1:].flatten())


class Original:
    """A training step as the original makes it."""

    name = "original's formulation, dropout 0.5"

    def __init__(self, config: MelGPTConfig):
        self.model = ExplicitGPT(config)
        groups = decay_groups(self.model, WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, foreach=False, fused=False)

    def loss(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        return self.model(input_ids)

    def step(self, input_ids: torch.LongTensor) -> float:
        loss = self.loss(input_ids)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Ours(Original):
    """A training step of ours."""

    name = "ours, without dropout"
    dropout = 0.0

    def __init__(self, config: MelGPTConfig):
        dropouts = ("embedding_dropout", "residual_dropout", "attention_dropout")
        self.model = MelGPTForCausalLM(MelGPTConfig(**config.to_diff_dict() | dict.fromkeys(dropouts, self.dropout)))
        self.optimizer = build_adamw(self.model, LEARNING_RATE, WEIGHT_DECAY, BETAS)

    def loss(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        return self.model(input_ids=input_ids, labels=input_ids, use_cache=False).loss


class OursWithDropout(Ours):
    """The same with the original's dropout."""

    name = "ours, dropout 0.5"
    dropout = DROPOUT


class OursInBFloat16(Ours):
    """The same as `accelerate launch --mixed_precision bf16` runs it: products in bfloat16, weights in float32."""

    name = "ours, without dropout, bf16"

    def loss(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().loss(input_ids)


class OursWithDropoutInBFloat16(OursInBFloat16):
    """The same with the original's dropout."""

    name = "ours, dropout 0.5, bf16"
    dropout = DROPOUT


VARIANTS = {
    "original": Original,
    "ours_with_dropout": OursWithDropout,
    "ours": Ours,
    "ours_with_dropout_bf16": OursWithDropoutInBFloat16,
    "ours_bf16": OursInBFloat16,
}


@dataclass
class Measurement:
    """Times of the steps of one variant, in seconds by the clock and of the processor, and its memory."""

    name: str
    parameters: int
    seconds: list[float]
    processor_seconds: list[float]
    peak_bytes: int

    def as_row(self, tokens: int, reference: "Measurement") -> str:
        median, processor = statistics.median(self.seconds), statistics.median(self.processor_seconds)
        speed = statistics.median(reference.seconds) / median
        processor_speed = statistics.median(reference.processor_seconds) / processor
        return (
            f"| {self.name} | {median:.3g} | {tokens / median:.0f} | {speed:.2f} | {processor:.3g} "
            f"| {processor_speed:.2f} | {self.peak_bytes / MEBIBYTE:.0f} |"
        )


def run_variant(connection, variant: type[Original], config: MelGPTConfig, arguments: argparse.Namespace) -> None:
    """In a process of its own: makes a step whenever it is told to, and at last says what it took."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    subject = variant(config)
    shape = (arguments.batch_size, config.num_codes)
    codes = torch.randint(config.codebook_size, shape)
    input_ids = F.pad(codes, (1, 0), value=config.bos_token_id)
    connection.send(sum(parameter.numel() for parameter in subject.model.parameters()))
    while connection.recv():
        start, processor_start = time.perf_counter(), time.process_time()
        subject.step(input_ids)
        connection.send((time.perf_counter() - start, time.process_time() - processor_start))
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE)


def measure(config: MelGPTConfig, arguments: argparse.Namespace) -> list[Measurement]:
    """The variants asked for, one step of each in turn; the first step of each does not count."""
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    variants = [VARIANTS[name] for name in arguments.variants]
    for variant in variants:
        ours, theirs = context.Pipe()
        process = context.Process(target=run_variant, args=(theirs, variant, config, arguments), daemon=True)
        process.start()
        connections.append(ours)
        processes.append(process)
    results = [
        Measurement(name=variant.name, parameters=connection.recv(), seconds=[], processor_seconds=[], peak_bytes=0)
        for variant, connection in zip(variants, connections, strict=True)
    ]
    for _ in range(1 + arguments.num_steps):
        for result, connection in zip(results, connections, strict=True):
            connection.send(True)
            seconds, processor_seconds = connection.recv()
            result.seconds.append(seconds)
            result.processor_seconds.append(processor_seconds)
    for result, connection, process in zip(results, connections, processes, strict=True):
        connection.send(False)
        result.seconds, result.processor_seconds = result.seconds[1:], result.processor_seconds[1:]
        result.peak_bytes = connection.recv()
        process.join()
    return results


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_hidden_layers", type=int, default=8)
    parser.add_argument("--hidden_size", type=int, default=512)
    parser.add_argument("--num_attention_heads", type=int, default=8)
    parser.add_argument("--num_codes", type=int, default=265, help="codes of one clip")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--num_steps", type=int, default=5, help="timed steps of each variant, after one to warm up")
    parser.add_argument("--threads", type=int, help="CPU threads, by default as many as PyTorch chooses")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="all are in memory at the same time"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    config = MelGPTConfig(
        num_hidden_layers=arguments.num_hidden_layers,
        hidden_size=arguments.hidden_size,
        num_attention_heads=arguments.num_attention_heads,
        num_codes=arguments.num_codes,
    )
    results = measure(config, arguments)
    tokens = arguments.batch_size * config.num_codes
    print(
        f"{config.num_hidden_layers} layers x {config.hidden_size}, {results[0].parameters / 1e6:.1f} M parameters, "
        f"batch {arguments.batch_size} x {config.num_codes} codes, float32 unless a row says otherwise, "
        f"{arguments.threads or torch.get_num_threads()} thread(s), torch {torch.__version__}, median of "
        f"{arguments.num_steps} steps in turn\n"
    )
    print("| step | s | codes/s | speed | processor, s | speed | peak memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        print(result.as_row(tokens, results[0]))


if __name__ == "__main__":
    main()

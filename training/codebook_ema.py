"""How does the codebook follow the encoder during training, so that all of its vectors are used?"""

import torch
import torch.distributed as dist

from melspec_gpt.modeling.modeling_vector_quantizer import VectorQuantizer


class CodebookEMA:
    """
    Moving-average codebook (van den Oord et al., 2017, appendix A.1) with a k-means start and revival of dead vectors.

    Each vector becomes the moving average of the latents assigned to it, instead of being moved by a gradient. A
    vector whose share of the latents falls below `dead_share` of an even share is put on a random latent of the
    batch. Call [`update`] after each optimizer step; the same numbers come out on every process.

    Args:
        quantizer (`VectorQuantizer`): its codebook is written, and no longer gets gradients.
        decay (`float`): of the moving averages, per update.
        dead_share (`float`): share of an even use (1 / codebook_size) below which a vector is revived.
        kmeans_iterations (`int`): rounds of the k-means start.
        is_trained (`bool`): whether the codebook is one to go on from, so that there is no k-means start.
    """

    def __init__(
        self,
        quantizer: VectorQuantizer,
        decay: float = 0.95,
        dead_share: float = 0.1,
        kmeans_iterations: int = 10,
        is_trained: bool = False,
    ):
        self.quantizer = quantizer
        quantizer.codebook.weight.requires_grad_(False)
        self.decay = decay
        self.dead_share = dead_share
        self.kmeans_iterations = kmeans_iterations
        self.usage = torch.full((quantizer.codebook.num_embeddings,), float(is_trained))
        self.started = is_trained
        self.collected: list[torch.Tensor] = []

    @property
    def codebook(self) -> torch.Tensor:
        """The vectors (codebook_size, codebook_dim), on whichever device the model is by now."""
        return self.quantizer.codebook.weight

    def state_dict(self) -> dict:
        return {"usage": self.usage, "started": self.started}

    def load_state_dict(self, state: dict) -> None:
        self.usage = state["usage"]
        self.started = state["started"]

    def collect(self, latents: torch.Tensor) -> None:
        """Keeps the latents of a batch whose gradients are accumulated for the next [`update`]."""
        self.collected.append(latents.detach())

    @torch.no_grad()
    def update(self, latents: torch.Tensor) -> None:
        """
        Moves the codebook towards `latents` (batch_size, codebook_dim, rows, steps) of one training step, and those
        that were collected before.
        """
        latents = torch.cat([*self.collected, latents.detach()])
        self.collected.clear()
        vectors = gather_across_processes(latents.float().permute(0, 2, 3, 1).flatten(0, 2))  # (N, C)
        self.usage = self.usage.to(vectors.device)
        if not self.started:
            self._start(vectors)
        counts, sums = self._assign(vectors)
        # One batch has its own count of vectors: usage is kept as a share, 1 for an even use of the codebook.
        shares = counts * len(self.codebook) / len(vectors)
        self.usage = self.decay * self.usage + (1 - self.decay) * shares
        means = sums / counts.clamp(min=1).unsqueeze(1)
        pull = ((1 - self.decay) * shares / self.usage.clamp(min=1e-8)).unsqueeze(1)
        self.codebook.lerp_(means, pull)
        self._revive(vectors)

    def _start(self, vectors: torch.Tensor) -> None:
        self.codebook.copy_(_random_rows(vectors, len(self.codebook)))
        for _ in range(self.kmeans_iterations):
            counts, sums = self._assign(vectors)
            means = sums / counts.clamp(min=1).unsqueeze(1)
            spare = _random_rows(vectors, len(self.codebook))
            self.codebook.copy_(torch.where(counts.unsqueeze(1) > 0, means, spare))
        self.usage.fill_(1.0)
        self.started = True

    def _assign(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Counts (codebook_size,) and sums (codebook_size, C) of the vectors nearest to each codebook vector."""
        codes = torch.cdist(vectors, self.codebook).argmin(1)
        counts = torch.bincount(codes, minlength=len(self.codebook)).float()
        sums = torch.zeros_like(self.codebook).index_add_(0, codes, vectors)
        return counts, sums

    def _revive(self, vectors: torch.Tensor) -> None:
        dead = self.usage < self.dead_share
        spare = _random_rows(vectors, len(self.codebook))
        self.codebook.copy_(torch.where(dead.unsqueeze(1), spare, self.codebook))
        # A revived vector has a few updates to find its latents; an idle one must not block the place for long.
        self.usage = self.usage.masked_fill(dead, 2 * self.dead_share)


def _random_rows(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """`count` rows of `vectors`, the same ones on every process, repeated when there are too few."""
    # Drawn from the CPU generator, whose seed the processes may not share: rank 0 decides.
    rows = torch.randint(len(vectors), (count,)) if count > len(vectors) else torch.randperm(len(vectors))[:count]
    rows = rows.to(vectors.device)
    if dist.is_initialized():
        dist.broadcast(rows, src=0)
    return vectors[rows]


def gather_across_processes(rows: torch.Tensor) -> torch.Tensor:
    """The rows (N, C) of all processes, in the order of their ranks; N may differ between them."""
    if not dist.is_initialized():
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    counts = [other.item() for other in counts]
    padded = torch.nn.functional.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded.contiguous())
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

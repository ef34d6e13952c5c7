"""What can be done with the latents of a GPT-VAE? Sample, reconstruct, interpolate, fill in, and score clips."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import nn
from transformers import LogitsProcessorList
from transformers.generation.utils import GenerateOutput
from transformers.utils import ModelOutput

from .generation_known_codes import KnownCodesLogitsProcessor, check_mask
from .modeling_gaussian_latent import interpolate_latents, log_normal, log_standard_normal, reparameterize

# Sentences that go through the decoder at once where every clip stands for many of them.
MAX_BATCH_SIZE = 64
# Arguments of `generate` that change the shape of its result.
RESULT_ARGUMENTS = ("generation_config", "num_return_sequences", "return_dict_in_generate")
LENGTH_ARGUMENTS = ("max_length", "max_new_tokens", "max_time", "eos_token_id", "stop_strings", "stopping_criteria")


class LatentOperationsMixin:
    """The uses of a model that has `config`, `encode`, `forward` and `generate` of [`MelGPTVAEModel`]."""

    def sample(self, num_samples: int = 1, **kwargs) -> GenerateOutput | torch.LongTensor:
        r"""
        Writes new clips, one from each of `num_samples` latents drawn from the prior.

        Args:
            num_samples (`int`): number of latents.
            kwargs: arguments of `generate`, `generator` and `class_labels` among them.

        Returns:
            `torch.LongTensor` of shape `(num_samples, num_codes)`: codes, in the form that `generate` returns them.
        """
        return self.generate(num_samples=num_samples, **kwargs)

    @torch.no_grad()
    def reconstruct(
        self, codes: torch.LongTensor, class_labels: torch.LongTensor | None = None, **kwargs
    ) -> GenerateOutput | torch.LongTensor:
        r"""
        Writes clips again from the means of their posteriors, greedily unless `kwargs` or a generation config among
        them say otherwise.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): clips; `config.hidden_code_id` marks
                hidden codes.
            class_labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): classes, with class conditioning.
            kwargs: arguments of `generate`.

        Returns:
            `torch.LongTensor` of shape `(batch_size, num_codes)`: codes, in the form that `generate` returns them.
        """
        generation_config = kwargs.get("generation_config")
        if generation_config is None:
            kwargs.setdefault("do_sample", False)
        elif generation_config.do_sample is None:
            # Left open, the model's own setting would fill it.
            kwargs["generation_config"] = copy.copy(generation_config)
            kwargs["generation_config"].do_sample = kwargs.pop("do_sample", False)
        return self.generate(latents=self._posterior(codes).mean, class_labels=class_labels, **kwargs)

    @torch.no_grad()
    def interpolate(
        self,
        start: torch.LongTensor,
        end: torch.LongTensor,
        steps: int = 5,
        mode: str = "linear",
        class_labels: torch.LongTensor | None = None,
        **kwargs,
    ) -> torch.LongTensor:
        r"""
        Writes the clips between two others, from latents on the way from one posterior mean to the other; greedily
        unless `do_sample=True`. The first and the last are the reconstructions of `start` and `end`.

        Args:
            start, end (`torch.LongTensor` of shape `(num_codes,)` or `(batch_size, num_codes)`): the two clips.
            steps (`int`): number of clips to write, both ends included, at least 2.
            mode (`str`): "linear" or "spherical", see [`interpolate_latents`].
            class_labels (`torch.LongTensor` of shape `(1,)` or `(batch_size,)`, *optional*): the class of the whole
                way, with class conditioning.
            kwargs: arguments of `generate`.

        Returns:
            `torch.LongTensor` of shape `(steps, num_codes)` or `(batch_size, steps, num_codes)`: codes.

        Raises:
            ValueError: if the two clips differ in shape, if `class_labels` do not suit them, if `steps` or `mode` are
                impossible.
        """
        refuse_arguments("interpolate", kwargs, RESULT_ARGUMENTS)
        if start.shape != end.shape or start.ndim not in (1, 2):
            raise ValueError(
                f"`start` and `end` have the shapes {tuple(start.shape)} and {tuple(end.shape)}; give both as "
                "(num_codes,) or both as (batch_size, num_codes)."
            )
        num_pairs = start[..., 0].numel()
        self._check_class_labels(class_labels, num_pairs)
        means = self._posterior(torch.cat([torch.atleast_2d(start), torch.atleast_2d(end)])).mean
        latents = interpolate_latents(means[:num_pairs], means[num_pairs:], steps, mode)
        if class_labels is not None:
            class_labels = class_labels.repeat_interleave(steps)
        options = {"do_sample": False, "num_return_sequences": 1, "return_dict_in_generate": False} | kwargs
        codes = self.generate(latents=latents.flatten(0, 1), class_labels=class_labels, **options)
        return codes.unflatten(0, (*start.shape[:-1], steps))

    @torch.no_grad()
    def impute(
        self,
        codes: torch.LongTensor,
        mask: torch.BoolTensor,
        num_candidates: int = 8,
        class_labels: torch.LongTensor | None = None,
        noise: torch.FloatTensor | None = None,
        max_batch_size: int = MAX_BATCH_SIZE,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs,
    ) -> torch.LongTensor:
        r"""
        Fills in hidden codes. The encoder reads what is visible; from each latent drawn from that posterior the
        decoder writes one candidate, in which the known codes stay what they are. The answer is the candidate under
        which the known codes are likeliest, in the decoder's order: log p(known codes | latent, codes before them).
        The filled-in codes do not count themselves: they were drawn by their likelihood, and a second time would
        favour what is dull.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): clips. Values at hidden positions are not
                read and may be anything.
            mask (`torch.BoolTensor` of shape `(batch_size, num_codes)`): True where a code is hidden.
            num_candidates (`int`): candidates for each clip.
            class_labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): classes, with class conditioning.
            noise (`torch.FloatTensor` of shape `(batch_size, num_candidates, latent_size)`, *optional*): the
                standard normal draws of the candidates' latents; zeros stand for the mean of the posterior. Drawn
                anew by default.
            max_batch_size (`int`): candidates that are written at once.
            logits_processor ([`~transformers.LogitsProcessorList`], *optional*): further processors.
            kwargs: arguments of `generate`, such as `temperature` or `do_sample`; the length is given by the clips.

        Returns:
            `torch.LongTensor` of shape `(batch_size, num_codes)`: the clips with every code; known ones as they were.

        Raises:
            ValueError: if `mask` or `class_labels` do not suit `codes`, if known values are not codes, if `noise` and
                `num_candidates` do not suit each other.
        """
        refuse_arguments("impute", kwargs, (*RESULT_ARGUMENTS, *LENGTH_ARGUMENTS))
        check_mask(codes, mask)
        self._check_codes("codes", codes.masked_fill(mask, 0))
        self._check_class_labels(class_labels, len(codes))
        check_positive(num_candidates=num_candidates, max_batch_size=max_batch_size)
        hidden_positions = mask.any(dim=0).nonzero().flatten()
        if len(hidden_positions) == 0:
            return codes.clone()
        # What every clip knows before the hidden codes need not be written, nor what it knows after them, except that
        # beams are compared by how well they explain it.
        has_beams = (kwargs.get("num_beams") or self.generation_config.num_beams or 1) > 1
        start, end = hidden_positions[0], codes.shape[1] if has_beams else hidden_positions[-1] + 1
        posterior = self._posterior(codes.masked_fill(mask, self.config.hidden_code_id))
        candidates, candidate_nats = [], []
        for clips, latents in self._draws(posterior, num_candidates, noise, max_batch_size):
            labels = None if class_labels is None else class_labels[clips]
            known_codes = KnownCodesLogitsProcessor(codes[clips], mask[clips], self.config.num_prefix_positions)
            written = self.generate(
                codes[clips, :start],
                latents=latents,
                class_labels=labels,
                max_new_tokens=int(end - start),
                logits_processor=LogitsProcessorList([*(logits_processor or []), known_codes]),
                num_return_sequences=1,
                return_dict_in_generate=False,
                **kwargs,
            )
            candidates.append(torch.cat([written, codes[clips, end:]], dim=1))
            candidate_nats.append(self._sentence_nats(candidates[-1], latents, labels, ~mask[clips]))
        best = torch.cat(candidate_nats).view(-1, num_candidates).argmin(dim=1)
        candidates = torch.cat(candidates).view(-1, num_candidates, codes.shape[1])
        return candidates[torch.arange(len(codes), device=best.device), best]

    @torch.no_grad()
    def importance_weighted_nll(
        self,
        codes: torch.LongTensor,
        num_samples: int = 500,
        class_labels: torch.LongTensor | None = None,
        noise: torch.FloatTensor | None = None,
        max_batch_size: int = MAX_BATCH_SIZE,
    ) -> torch.FloatTensor:
        r"""
        Estimate of -log p(codes) by importance sampling from the posterior: `-(logsumexp_k(w_k) - log(num_samples))`
        with `w_k = log p(codes | z_k) + log p(z_k) - log q(z_k | codes)` (Burda et al., 2016, arXiv:1509.00519, eq.
        8). On average it is too high, the less the more samples there are.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_codes)`): clips.
            num_samples (`int`): latents drawn for each clip.
            class_labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): classes, with class conditioning.
            noise (`torch.FloatTensor` of shape `(batch_size, num_samples, latent_size)`, *optional*): the standard
                normal draws; drawn anew by default.
            max_batch_size (`int`): sentences that go through the decoder at once.

        Returns:
            `torch.FloatTensor` of shape `(batch_size,)`: nats per clip.

        Raises:
            ValueError: if `codes` are not whole clips of codes, if `class_labels` do not suit them, or `noise` and
                `num_samples` do not suit each other.
        """
        self._check_codes("codes", codes)
        self._check_class_labels(class_labels, len(codes))
        check_positive(num_samples=num_samples, max_batch_size=max_batch_size)
        posterior = self._posterior(codes)
        log_weights = []
        for clips, latents in self._draws(posterior, num_samples, noise, max_batch_size):
            labels = None if class_labels is None else class_labels[clips]
            nats = self._sentence_nats(codes[clips], latents, labels, torch.ones_like(codes[clips], dtype=torch.bool))
            log_posterior = log_normal(latents, posterior.mean[clips], posterior.log_variance[clips])
            log_weights.append(log_standard_normal(latents) - nats - log_posterior)
        return math.log(num_samples) - torch.cat(log_weights).view(-1, num_samples).logsumexp(dim=1)

    def _posterior(self, codes: torch.LongTensor) -> ModelOutput:
        """The posterior, without a draw that would move the random state."""
        no_noise = torch.zeros(len(codes), self.config.latent_size, device=codes.device)
        return self.encode(codes, noise=no_noise, return_dict=True)

    def _sentence_nats(
        self,
        codes: torch.LongTensor,
        latents: torch.FloatTensor,
        class_labels: torch.LongTensor | None,
        counted: torch.BoolTensor,
    ) -> torch.FloatTensor:
        """-log p(codes | latents) of each clip, summed over the positions that are `counted`."""
        logits = self(codes, latents=latents, class_labels=class_labels, return_dict=True).logits
        code_nats = nn.functional.cross_entropy(logits.float().transpose(1, 2), codes.long(), reduction="none")
        return code_nats.masked_fill(~counted, 0).sum(dim=1)

    def _draws(
        self,
        posterior: ModelOutput,
        num_draws: int,
        noise: torch.FloatTensor | None,
        max_batch_size: int,
    ) -> Iterator[tuple[torch.LongTensor, torch.FloatTensor]]:
        """
        Draws `num_draws` latents for each clip, those of one clip after the other, at most `max_batch_size` at a
        time; with each portion come the rows of the clips that its latents belong to.
        """
        num_clips, latent_size = posterior.mean.shape
        if noise is not None:
            self._check_shape("noise", noise, (num_clips, num_draws, latent_size))
            noise = noise.to(posterior.mean).flatten(0, 1)
        for rows in torch.arange(num_clips * num_draws, device=posterior.mean.device).split(max_batch_size):
            clips = rows.div(num_draws, rounding_mode="floor")
            mean, log_variance = posterior.mean[clips], posterior.log_variance[clips]
            portion = torch.randn_like(mean) if noise is None else noise[rows]
            yield clips, reparameterize(mean, log_variance, portion)


def check_positive(**counts: int):
    """
    Refuses a count below 1.

    Raises:
        ValueError: if one of `counts` is below 1.
    """
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` is {value}; it has to be 1 or more.")


def refuse_arguments(caller: str, kwargs: dict, names: tuple[str, ...]):
    """
    Refuses arguments of `generate` that its caller decides about.

    Raises:
        ValueError: if `kwargs` hold one of `names`.
    """
    given = [name for name in names if kwargs.get(name) is not None]
    if given:
        raise ValueError(f"`{given[0]}` is {kwargs[given[0]]}, but `{caller}` decides about it itself: leave it out.")

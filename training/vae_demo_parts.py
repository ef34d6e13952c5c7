"""Which sounds show what the latents of a GPT-VAE can do? A morph, repairs and new sounds, with what they measure."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import LogitsProcessorList

from melspec_gpt.modeling.modeling_gaussian_latent import INTERPOLATION_MODES
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.clip_files import PlannedClip
from melspec_gpt.training.loudness import LEVELS, bring_to_level, is_level
from melspec_gpt.training.run_sampling import check_setting
from melspec_gpt.training.seeded_sampling import SeededSamplingLogitsProcessor, sentence_seed

MORPH, REPAIR, NEW_SOUNDS = "Morph", "Repair", "New sounds"
# What silence is in the features.
SILENT_FEATURE = -1.0


@dataclass(frozen=True, kw_only=True)
class VAEDemoSettings:
    """
    What the demo makes.

    Args:
        steps (`int`): clips on the way from one sound to the other, both ends included.
        mode (`str`): the way between two latents, "linear" or "spherical".
        hidden_seconds (`tuple[float, float]`): start and end of the gap to fill in, s.
        num_candidates (`int`): fillings of each gap, one of which is chosen by likelihood.
        num_samples (`int`): new sounds.
        temperature (`float`): below 1 the likely codes become likelier still; near 0, noises turn into hums.
        loudness (`float`, *optional*): level that each clip is brought to, as in [`SamplingSettings`].
        seed (`int`): seed of everything.

    Raises:
        ValueError: if a value is impossible.
    """

    steps: int = 5
    mode: str = "linear"
    hidden_seconds: tuple[float, float] = (2.0, 3.0)
    num_candidates: int = 8
    num_samples: int = 4
    temperature: float = 0.8
    loudness: float | None = -24.0
    seed: int = 0

    def __post_init__(self):
        check_setting(self, "steps", self.steps >= 2, "2 or more, because both ends are among them")
        check_setting(self, "mode", self.mode in INTERPOLATION_MODES, f"one of {', '.join(INTERPOLATION_MODES)}")
        check_setting(self, "num_candidates", self.num_candidates >= 1, "1 or more")
        check_setting(self, "num_samples", self.num_samples >= 1, "1 or more")
        check_setting(self, "temperature", 0 < self.temperature < math.inf, "above 0")
        check_setting(self, "loudness", is_level(self.loudness), LEVELS)


@dataclass(frozen=True)
class DemoPart:
    """
    A part of the page.

    Args:
        heading (`str`): its heading.
        introduction (`str`): what there is to hear.
        clips (`list[PlannedClip]`): its clips.
        input_features, waveforms (tensors of shape `(mel bands, frames)` and `(samples,)`): what they hold.
        numbers (`dict`): what was measured, if anything.
    """

    heading: str
    introduction: str
    clips: list[PlannedClip]
    input_features: Sequence[torch.Tensor]
    waveforms: Sequence[torch.Tensor]
    numbers: dict = field(default_factory=dict)


class VAEDemo:
    """
    Makes the parts. Every code is drawn, not the likeliest one taken: these would make a hum of every noise.

    Args:
        vae ([`MelGPTVAEModel`]), processor ([`MelGPTProcessor`]): the checkpoint.
        settings ([`VAEDemoSettings`]): what to make.
        names (`Sequence[str]`), codes (`torch.LongTensor` of shape `(2, num_codes)`): the two sounds.
    """

    def __init__(
        self,
        vae: MelGPTVAEModel,
        processor: MelGPTProcessor,
        settings: VAEDemoSettings,
        names: Sequence[str],
        codes: torch.LongTensor,
    ):
        self.vae, self.processor, self.settings = vae, processor, settings
        self.names, self.codes = names, codes.to(vae.device)

    def morph(self) -> DemoPart:
        """The way from one sound to the other, between the two originals."""
        settings, (start, end) = self.settings, self.names
        choice = self._choice([sentence_seed(settings.seed, MORPH, 0)] * settings.steps)
        way = self.vae.interpolate(*self.codes, settings.steps, settings.mode, logits_processor=choice)
        decoded = self.processor.decode_features(torch.cat([self.codes[:1], way, self.codes[1:]]))
        between = [f"{step / (settings.steps - 1):.0%} of the way to {end}" for step in range(1, settings.steps - 1)]
        captions = [f"{start}, from its latent", *between, f"{end}, from its latent"]
        sounds = list(zip(way, decoded.input_features[1:-1], strict=True))
        return DemoPart(
            MORPH,
            f"Each of the two sounds was read into a latent of {self.vae.config.latent_size} numbers. The "
            f"{settings.steps} clips between the originals were written from latents on the {settings.mode} way from "
            "one to the other, all with the same random numbers: they differ by their latents alone.",
            _plan(MORPH, [f"{start}, the original", *captions, f"{end}, the original"]),
            decoded.input_features,
            [bring_to_level(waveform, settings.loudness) for waveform in decoded.audio_values],
            {
                "neighbours": [compare_sounds(*pair) for pair in itertools.pairwise(sounds)],
                "ends": compare_sounds(sounds[0], sounds[-1]),
            },
        )

    def repair(self, mask: torch.BoolTensor) -> DemoPart:
        """
        Each sound as it was, with a gap, and with the gap filled in.

        Args:
            mask (`torch.BoolTensor` of shape `(num_codes,)`): True for the codes in the gap, whole time steps.
        """
        filled = self._fill_in(mask)
        decoded = self.processor.decode_features(torch.cat([self.codes, filled]))
        hidden = mask.nonzero()
        gap = hidden.min().item() / len(mask), (hidden.max().item() + 1) / len(mask)
        captions, features, waveforms, gaps = [], [], [], []
        for index, name in enumerate(self.names):
            versions = slice(index, None, len(self.names))
            captions += [f"{name}, the original", f"{name}, with a gap", f"{name}, the gap filled in"]
            features += _with_gap(decoded.input_features[versions], gap, SILENT_FEATURE)
            # One gain for both versions, so that what was known is as loud as before.
            waveforms += _with_gap(bring_to_level(decoded.audio_values[versions], self.settings.loudness), gap, 0.0)
            span = _span(decoded.input_features, gap)
            sounds = zip(
                (self.codes[index][mask], filled[index][mask]), decoded.input_features[versions, :, span], strict=True
            )
            gaps.append({"sound": name, **compare_sounds(*sounds)})
        seconds = decoded.audio_values.shape[1] / self.processor.sampling_rate
        return DemoPart(
            REPAIR,
            f"What stands in dashes, from {gap[0] * seconds:.2f} s to {gap[1] * seconds:.2f} s, was hidden. The model "
            f"read the rest, wrote {self.settings.num_candidates} candidates for the gap and chose one by likelihood. "
            "The codes outside stayed as they were.",
            _plan(REPAIR, captions, gap),
            features,
            waveforms,
            {"hidden_codes": int(mask.sum()), "gaps": gaps},
        )

    def new_sounds(self) -> DemoPart:
        """Sounds from draws of the prior."""
        seeds = [sentence_seed(self.settings.seed, NEW_SOUNDS, index) for index in range(self.settings.num_samples)]
        codes = self.vae.generate(latents=self._draw(seeds), logits_processor=self._choice(seeds), do_sample=False)
        decoded = self.processor.decode_features(codes)
        return DemoPart(
            NEW_SOUNDS,
            "Each was written from a latent of random numbers, with neither a class nor a sound to go by.",
            _plan(NEW_SOUNDS, [f"Sound {number}" for number in range(1, len(codes) + 1)]),
            decoded.input_features,
            [bring_to_level(waveform, self.settings.loudness) for waveform in decoded.audio_values],
        )

    def _fill_in(self, mask: torch.BoolTensor) -> torch.LongTensor:
        """The two sounds with other codes in the gap."""
        num_candidates = self.settings.num_candidates
        seeds = [
            sentence_seed(self.settings.seed, f"{REPAIR} {index}", candidate)
            for index in range(len(self.codes))
            for candidate in range(num_candidates)
        ]
        return self.vae.impute(
            self.codes,
            mask.to(self.codes.device).expand_as(self.codes),
            num_candidates,
            noise=self._draw(seeds).unflatten(0, (-1, num_candidates)),
            max_batch_size=len(seeds),
            logits_processor=self._choice(seeds),
            do_sample=False,
        )

    def _draw(self, seeds: Sequence[int]) -> torch.FloatTensor:
        """Standard normal latents or noise, `(len(seeds), latent_size)`, the same on all devices."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return torch.stack([torch.randn(self.vae.config.latent_size, generator=generator) for generator in generators])

    def _choice(self, seeds: Sequence[int]) -> LogitsProcessorList:
        return LogitsProcessorList([SeededSamplingLogitsProcessor(seeds, self.settings.temperature)])


def compare_sounds(
    first: tuple[torch.LongTensor, torch.Tensor], second: tuple[torch.LongTensor, torch.Tensor]
) -> dict[str, float]:
    """
    How alike two sounds are, each given by its codes and its features.

    Returns:
        `code_agreement`, the share of codes that are the same, and `mel_distance`, the mean absolute difference of the
        features, where 2 is their whole range.
    """
    return {
        "code_agreement": (first[0] == second[0]).double().mean().item(),
        "mel_distance": (first[1] - second[1]).abs().double().mean().item(),
    }


def _plan(heading: str, captions: Sequence[str], marked: tuple[float, float] | None = None) -> list[PlannedClip]:
    folder = heading.lower().replace(" ", "_")
    return [
        PlannedClip(heading, index, Path(folder, f"{index:02d}.wav"), caption, marked)
        for index, caption in enumerate(captions)
    ]


def _with_gap(versions: torch.Tensor, gap: tuple[float, float], value: float) -> list[torch.Tensor]:
    """Features or waveforms before and after, `(2, ..., time)`: before, before with `value` in the gap, after."""
    before, after = versions
    hidden = before.clone()
    hidden[..., _span(before, gap)] = value
    return [before, hidden, after]


def _span(values: torch.Tensor, gap: tuple[float, float]) -> slice:
    """The part of the last dimension of `values` that the gap, in shares of it, covers."""
    return slice(*(round(share * values.shape[-1]) for share in gap))

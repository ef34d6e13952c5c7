"""How does a GPT-VAE write codes from a latent, with every argument of `generate`?"""

import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.cache_utils import Cache
from transformers.generation import BaseStreamer, GenerationMode
from transformers.generation.utils import GenerateOutput

from .generation_code_sentences import CodeSentenceGenerationMixin, drop_default_length

# The library would hand them on to every step.
FORWARD_ARGUMENTS = ("decoder_input_ids", "encoder_input_ids", "kl_weight", "noise", "position_ids")


class PrefixRemovingStreamer(BaseStreamer):
    """Hands everything on to another streamer, except the internal ids at the start of the prompt."""

    def __init__(self, streamer: BaseStreamer, num_internal_positions: int):
        self.streamer = streamer
        self.num_internal_positions = num_internal_positions

    def put(self, value: torch.Tensor):
        # What comes first is the prompt; that of the user may be empty.
        self.streamer.put(value[..., self.num_internal_positions :])
        self.num_internal_positions = 0

    def end(self):
        self.streamer.end()


class MelGPTVAEGenerationMixin(CodeSentenceGenerationMixin):
    """
    Generation from latents. Inside, a sentence is the null class as a placeholder for the latent, the class token
    (with class conditioning), and codes; users give and get codes only. Logits processors and stopping criteria
    passed to `generate` see the inner sentence, `config.num_prefix_positions` ids longer.
    """

    # Candidates of assisted generation would be written without the latent.
    _supported_generation_modes = [
        GenerationMode.GREEDY_SEARCH,
        GenerationMode.SAMPLE,
        GenerationMode.BEAM_SEARCH,
        GenerationMode.BEAM_SAMPLE,
    ]

    @property
    def num_internal_positions(self) -> int:
        return self.config.num_prefix_positions

    def init_continuous_batching(self, *args, **kwargs):
        """Continuous batching hands ids to the model, and nothing else: refused."""
        raise ValueError("Continuous batching has no place for latents; call `generate` without a paged cache.")

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        past_key_values: Cache | None = None,
        latents: torch.FloatTensor | None = None,
        **kwargs,
    ) -> dict:
        """Names the ids of the generation loop `decoder_input_ids`, and adds the latents while position 0 is read."""
        inputs = super().prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, **kwargs)
        inputs["decoder_input_ids"] = inputs.pop("input_ids")
        is_start = past_key_values is None or (
            kwargs.get("is_first_iteration", False) and past_key_values.get_seq_length() == 0
        )
        return inputs | {"latents": latents if is_start else None}

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        latents: torch.FloatTensor | None = None,
        num_samples: int | None = None,
        class_labels: torch.LongTensor | None = None,
        generator: torch.Generator | None = None,
        streamer: BaseStreamer | None = None,
        **kwargs,
    ) -> GenerateOutput | torch.LongTensor:
        r"""
        Writes clips of codes. Every argument of [`~transformers.GenerationMixin.generate`] works, except assisted
        and continuous-batching generation, guidance, and what is about text (`stop_strings`, `token_healing`);
        lengths count codes, prompt included. The defaults in the generation config sample from the whole
        distribution until the clip is complete.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, prompt_length)`, *optional*): first codes of the clips
                (or pass them as `input_ids`).
            generation_config ([`~transformers.GenerationConfig`], *optional*): what it sets takes the place
                of the model's own settings.
            latents (`torch.FloatTensor` of shape `(batch_size, latent_size)`, *optional*): the latents to decode; by
                default draws from the prior.
            num_samples (`int`, *optional*): number of latents to draw from the prior, one for each prompt or label,
                or else 1, by default.
            class_labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): the classes to write, for a model
                with class conditioning.
            generator (`torch.Generator`, *optional*): draws the latents (the codes come from torch's own).
            streamer ([`~transformers.generation.BaseStreamer`], *optional*): gets the prompt, then each new code.
            kwargs: arguments of [`~transformers.GenerationMixin.generate`].

        Returns:
            `torch.LongTensor` of shape `(batch_size * num_return_sequences, num_codes)`: codes, or a
            [`~transformers.utils.ModelOutput`] with `return_dict_in_generate=True`, whose `sequences` are these.

        Raises:
            ValueError: if the arguments do not say consistently what to decode, if prompts are not codes or leave
                none to write, if the requested length does not fit the model.
        """
        for name in FORWARD_ARGUMENTS:
            if kwargs.get(name) is not None:
                raise ValueError(f"`{name}` is for `forward`; `generate` takes codes and `latents`.")
        prompt = self._prompt_of(inputs, kwargs)
        latents = self._latents_of(prompt, latents, num_samples, class_labels, generator)
        if prompt is None:
            prompt = torch.zeros(len(latents), 0, dtype=torch.long, device=self.device)
        drop_default_length(kwargs)
        if streamer is not None:
            streamer = PrefixRemovingStreamer(streamer, self.num_internal_positions)
        outputs = super().generate(
            self._add_prefix(prompt, class_labels), generation_config, latents=latents, streamer=streamer, **kwargs
        )
        if isinstance(outputs, torch.Tensor):
            return outputs[:, self.num_internal_positions :]
        outputs.sequences = outputs.sequences[:, self.num_internal_positions :]
        return outputs

    def _get_logits_processor(self, generation_config: GenerationConfig, *args, **kwargs) -> LogitsProcessorList:
        """Refuses guidance, for which the library would call the model without its latent."""
        if generation_config.guidance_scale not in (None, 1):
            raise ValueError(
                f"`guidance_scale` is {generation_config.guidance_scale}, but this model was not trained to write "
                "without its latent, against which it could be guided: leave it out."
            )
        return super()._get_logits_processor(generation_config, *args, **kwargs)

    def _prompt_of(self, inputs: torch.LongTensor | None, kwargs: dict) -> torch.LongTensor | None:
        """The first codes of the clips, after checks; takes what says the same out of `kwargs`."""
        input_ids, attention_mask = kwargs.pop("input_ids", None), kwargs.pop("attention_mask", None)
        if inputs is not None and input_ids is not None:
            raise ValueError("Prompts are given twice; pass them either as `inputs` or as `input_ids`.")
        if attention_mask is not None and not (attention_mask == 1).all():
            raise ValueError(
                "`attention_mask` holds zeros, but prompts cannot be padded: call `generate` once for each length."
            )
        prompt = inputs if inputs is not None else input_ids
        if prompt is not None:
            if prompt.ndim != 2 or prompt.shape[1] >= self.config.num_codes:
                raise ValueError(
                    f"`input_ids` has the shape {tuple(prompt.shape)}; it has to be (batch_size, prompt_length) with "
                    f"fewer than {self.config.num_codes} codes, so that at least one is left to write."
                )
            self._check_code_range("input_ids", prompt, self.config.codebook_size - 1)
            prompt = prompt.to(self.device)
        return prompt

    def _latents_of(
        self,
        prompt: torch.LongTensor | None,
        latents: torch.FloatTensor | None,
        num_samples: int | None,
        class_labels: torch.LongTensor | None,
        generator: torch.Generator | None,
    ) -> torch.FloatTensor:
        latent_size = self.config.latent_size
        if latents is not None:
            if num_samples is not None or generator is not None:
                raise ValueError(
                    "There are `latents` and `num_samples` or a `generator`, which are for draws from the prior: give "
                    "one or the other."
                )
            num_clips = len(torch.atleast_2d(latents) if prompt is None else prompt)
            self._check_shape("latents", latents, (num_clips, latent_size))
            return latents.to(self.device)
        if num_samples is None:
            given = next((values for values in (prompt, class_labels) if values is not None), [None])
            num_samples = len(given)
        if num_samples < 1 or (prompt is not None and num_samples != len(prompt)):
            prompts = "no prompts" if prompt is None else f"{len(prompt)} prompts in `input_ids`"
            raise ValueError(f"`num_samples` is {num_samples} with {prompts}; it has to be 1 or more, one per prompt.")
        # The generator's device draws, so that one seed gives the same latents on every device.
        device = self.device if generator is None else generator.device
        return torch.randn(num_samples, latent_size, generator=generator, device=device).to(self.device)

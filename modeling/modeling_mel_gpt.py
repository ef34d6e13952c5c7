"""How likely is a sentence of codes for a class, and how are new sentences written? The causal GPT."""

import copy

import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessorList
from transformers.cache_utils import Cache
from transformers.generation.candidate_generator import CandidateGenerator, PromptLookupCandidateGenerator
from transformers.generation.utils import GenerateOutput
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from ..configuration.configuration_mel_gpt import MelGPTConfig
from .generation_code_sentences import CodeSentenceGenerationMixin, drop_default_length
from .generation_mel_gpt import ClassConditioningLogitsProcessor
from .generation_prompt_lookup import BoundedPromptLookup
from .modeling_mel_transformer import MelGPTModel, MelGPTPreTrainedModel

IGNORED_LABEL = -100


class MelGPTForCausalLM(MelGPTPreTrainedModel, CodeSentenceGenerationMixin):
    """
    Causal GPT over sentences of a class token and `config.num_codes` codes.

    The head is as wide as the codebook, so that neither a class nor the null class can be predicted; its logits are
    padded with -inf up to `config.vocab_size`, which is what the logits processors of the library index.

    Example:

    ```python
    >>> class_tokens = torch.tensor([[model.config.codebook_size + model.config.label2id["dog"]]] * 4)
    >>> sentences = model.generate(class_tokens, guidance_scale=2.0)  # (4, 1 + num_codes)
    ```
    """

    def __init__(self, config: MelGPTConfig):
        super().__init__(config)
        if not config.is_causal:
            raise ValueError(
                "`config.is_causal` is False, but a model that generates has to be causal: set it to True. "
                "The encoder of a GPT-VAE has such a config: AutoModel or MelGPTVAEModel loads its folder as a whole."
            )
        self.model = MelGPTModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.codebook_size, bias=False)
        self.post_init()
        self._fill_generation_config()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): a class token, then codes.
            attention_mask (`torch.Tensor` of shape `(batch_size, past_length + sequence_length)`, *optional*): 1 for
                positions to attend to, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): by default they
                continue after the cache.
            past_key_values ([`~transformers.Cache`], *optional*): keys and values of earlier positions.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                token embeddings in place of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): the same ids as
                `input_ids`; the model shifts them, so that the first one, the class, is never a target. -100 marks
                positions that do not count.
            use_cache (`bool`, *optional*): whether to return a cache; by default only without `labels`.
            logits_to_keep (`int` or `torch.Tensor`): number of last positions to compute logits of (0: all), or which.

        Returns:
            [`~transformers.modeling_outputs.CausalLMOutputWithPast`]: with `labels`, `loss`, the mean cross entropy in
            nats; `logits` of shape `(batch_size, sequence_length, vocab_size)`, -inf outside the codebook.

        Raises:
            ValueError: if `labels` after the first position are neither codes nor -100.
        """
        if use_cache is None and labels is not None:
            use_cache = False
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        code_logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            self._check_labels(labels)
            loss = self.loss_function(code_logits, labels.long(), vocab_size=self.config.codebook_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=self._pad_logits(code_logits),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _check_labels(self, labels: torch.LongTensor):
        targets = labels[..., 1:]
        is_code = (targets >= 0) & (targets < self.config.codebook_size)
        if not torch.compiler.is_compiling() and not (is_code | (targets == IGNORED_LABEL)).all():
            raise ValueError(
                f"`labels` hold values from {targets.min()} to {targets.max()} after the first position; only codes, "
                f"0 to {self.config.codebook_size - 1}, and {IGNORED_LABEL} (not counted) can be targets."
            )

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        guidance_scale: float | None = None,
        **kwargs,
    ) -> GenerateOutput | torch.LongTensor:
        r"""
        Writes sentences of codes. Every argument of [`~transformers.GenerationMixin.generate`] works, except those
        about text (`stop_strings`, `token_healing`); the defaults in the generation config sample from the whole
        distribution until the clip is complete.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, prompt_length)`, *optional*): the prompts (or pass them
                as `input_ids`): a class token each, and possibly first codes of the clip to continue. Without them
                the prompt is the null class.
            generation_config ([`~transformers.GenerationConfig`], *optional*): what it sets takes the place
                of the model's own settings.
            logits_processor ([`~transformers.LogitsProcessorList`], *optional*): further processors.
            guidance_scale (`float`, *optional*): strength of classifier-free guidance, 1.0 (none) unless the
                generation config says otherwise. See [`ClassConditioningLogitsProcessor`].
            kwargs: arguments of [`~transformers.GenerationMixin.generate`].

        Returns:
            `torch.LongTensor` of shape `(batch_size * num_return_sequences, 1 + num_codes)`: class tokens and codes,
            or a [`~transformers.utils.ModelOutput`] with `return_dict_in_generate=True`.

        Raises:
            ValueError: if a prompt is not a class token followed by codes, leaves no room for a code, or is padded;
                if the requested length does not fit the model; if `guidance_scale` is not a number of at least 0.
        """
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if prompt is not None:
            self._check_prompt(prompt, kwargs.get("attention_mask"))
            if kwargs.get("attention_mask") is None:
                # Nothing is padding, even if a tokenizer calls the null class its pad token.
                kwargs["attention_mask"] = torch.ones_like(prompt)
        if kwargs.get("negative_prompt_ids") is not None:
            raise ValueError(
                "`negative_prompt_ids` are given, but guidance is against the null class: leave them out."
            )
        if guidance_scale is not None:
            kwargs["guidance_scale"] = guidance_scale
        drop_default_length(kwargs)
        return super().generate(inputs, generation_config, logits_processor, **kwargs)

    def _check_prompt(self, prompt: torch.LongTensor, attention_mask: torch.Tensor | None):
        config = self.config
        if prompt.ndim != 2 or not 1 <= prompt.shape[1] <= config.num_codes:
            raise ValueError(
                f"`input_ids` has the shape {tuple(prompt.shape)}; it has to be (batch_size, prompt_length), "
                f"1 to {config.num_codes} ids long: a sentence is a class token and {config.num_codes} codes, and at "
                "least one of these has to be left to write."
            )
        classes, codes = prompt[:, :1], prompt[:, 1:]
        if (classes < config.codebook_size).any() or (classes >= config.vocab_size).any():
            raise ValueError(
                f"`input_ids` start with {classes.flatten().tolist()}; a prompt has to start with a class token, "
                f"{config.codebook_size} to {config.bos_token_id} (the last one is the null class)."
            )
        if (codes < 0).any() or (codes >= config.codebook_size).any():
            raise ValueError(
                f"`input_ids` hold {codes.min()} to {codes.max()} after the class token; only codes, 0 to "
                f"{config.codebook_size - 1}, can follow it."
            )
        if attention_mask is not None and not (attention_mask == 1).all():
            raise ValueError(
                "`attention_mask` holds zeros, but prompts cannot be padded: call `generate` once for each length."
            )

    def _get_logits_processor(self, generation_config, *args, **kwargs) -> LogitsProcessorList:
        """
        Puts our processor in front of the library's, so that penalties and warpers act on the guided scores, and
        keeps the library's own guidance out, which needs a prompt that spells out the absence of a class.
        """
        guidance_scale = 1.0 if generation_config.guidance_scale is None else generation_config.guidance_scale
        generation_config = copy.copy(generation_config)
        generation_config.guidance_scale = None
        processors = super()._get_logits_processor(generation_config, *args, **kwargs)
        if not any(isinstance(processor, ClassConditioningLogitsProcessor) for processor in processors):
            processors.insert(0, ClassConditioningLogitsProcessor(self, guidance_scale))
        return processors

    def _get_candidate_generator(self, *args, **kwargs) -> CandidateGenerator:
        generator = super()._get_candidate_generator(*args, **kwargs)
        return BoundedPromptLookup(generator) if isinstance(generator, PromptLookupCandidateGenerator) else generator

"""What does `generate` need to know about clips of codes? Defaults and length limits that every decoder shares."""

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, StoppingCriteriaList


class CodeSentenceGenerationMixin(GenerationMixin):
    """
    Generation of sentences of `config.num_prefix_positions` ids followed by `config.num_codes` codes.

    A model whose prefix is its own affair, neither given by the user nor returned, says how many ids that are in
    `num_internal_positions`; lengths in arguments and generation configs do not count them.
    """

    output_modalities = ("audio",)

    @property
    def num_internal_positions(self) -> int:
        """Ids in front of a sentence that users neither give nor get."""
        return 0

    def _fill_generation_config(self):
        """
        Writes our defaults wherever the generation config says nothing: sampling from the whole distribution (the
        library would keep the 50 best codes), up to the length of one clip, prompt included.
        """
        defaults = {"do_sample": True, "top_k": 0, "bos_token_id": self.config.bos_token_id}
        if self.generation_config.max_new_tokens is None:
            # Not `max_new_tokens`: a prompt that already holds codes has to be continued to the same total length.
            num_positions = self.config.num_prefix_positions + self.config.num_codes
            defaults["max_length"] = num_positions - self.num_internal_positions
        self.generation_config.update(defaults_only=True, **defaults)

    def adjust_generation_fn(self, *args, **kwargs):
        """Reads the checkpoint's generation config, which may be partial or absent."""
        super().adjust_generation_fn(*args, **kwargs)
        self._fill_generation_config()

    def _prepare_generated_length(self, generation_config, has_default_max_length, *args, **kwargs):
        """Adds the internal ids to lengths that count a whole sentence; `max_new_tokens` counts new ids anyway."""
        if generation_config.max_new_tokens is None and not has_default_max_length:
            generation_config.max_length += self.num_internal_positions
        if generation_config.min_length:
            generation_config.min_length += self.num_internal_positions
        return super()._prepare_generated_length(generation_config, has_default_max_length, *args, **kwargs)

    def _validate_generated_length(self, generation_config, input_ids_length, has_default_max_length):
        """Refuses a length that the position embeddings cannot hold before the first step instead of midway."""
        super()._validate_generated_length(generation_config, input_ids_length, has_default_max_length)
        num_positions = self.get_decoder().config.max_position_embeddings
        # The last id of a clip is written but never read, so that it needs no position.
        limit = max(num_positions, self.config.num_prefix_positions + self.config.num_codes)
        if generation_config.max_length > limit:
            raise ValueError(
                f"`max_length` (prompt included) is {generation_config.max_length - self.num_internal_positions}, but "
                f"a sentence has at most {limit - self.num_internal_positions} ids with `max_position_embeddings` "
                f"{num_positions}. Ask for fewer."
            )

    def _get_stopping_criteria(self, generation_config: GenerationConfig, *args, **kwargs) -> StoppingCriteriaList:
        if generation_config.stop_strings is not None:
            raise ValueError(
                f"`stop_strings` are {generation_config.stop_strings}, but codes are no text: give the codes to stop "
                "at as `eos_token_id`, or a stopping criterion."
            )
        return super()._get_stopping_criteria(generation_config, *args, **kwargs)

    def heal_tokens(self, *args, **kwargs):
        """Token healing writes the end of a text again: refused."""
        raise ValueError("`token_healing` is set, but codes are no text: leave it out.")

    def _pad_logits(self, code_logits: torch.FloatTensor) -> torch.FloatTensor:
        """Fills the logits up to `config.vocab_size` with -inf, so that every logits processor can index them."""
        padding = (0, self.config.vocab_size - self.config.codebook_size)
        return nn.functional.pad(code_logits, padding, value=float("-inf"))


def drop_default_length(kwargs: dict):
    """Lets `max_new_tokens` take the place of our default `max_length`; with both set, the library warns."""
    if kwargs.get("max_new_tokens") is not None:
        kwargs.setdefault("max_length", None)

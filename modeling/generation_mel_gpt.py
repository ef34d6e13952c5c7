"""Which codes may be written next, and how strongly does the class decide? Logits processors of our own."""

import math
from numbers import Real

import torch
from transformers import LogitsProcessor, PreTrainedModel
from transformers.cache_utils import DynamicCache


class ClassConditioningLogitsProcessor(LogitsProcessor):
    r"""
    Classifier-free guidance by the null class, and a ban on every id that is not a code.

    The model is asked a second time with the null class in the place of the class token, and the two answers are
    extrapolated (Ho and Salimans, 2022, arXiv:2207.12598; on the logits of discrete tokens as in MusicGen, Copet et
    al., 2023, arXiv:2306.05284): `guided = null + guidance_scale * (conditional - null)`, over the codes. 0 ignores
    the class, 1 is the model itself, above 1 the class counts more. Both answers enter with the same logsumexp, that
    of the scores which came in. So where beam search adds up log-probabilities, it adds up the guided objective of
    the whole sentence: `guidance_scale * log p(codes | class) + (1 - guidance_scale) * log p(codes)`. A row that asks
    for the null class keeps its scores.

    [`MelGPTForCausalLM.generate`] installs a new one for every call. The second answer has a key/value cache of its
    own. The cache belongs to the ids it was made from: rows that a beam search reorders are found again by their
    ids, and ids that continue none of the known rows start it anew.

    Args:
        model ([`MelGPTForCausalLM`]): the model that generates.
        guidance_scale (`float`): the factor above, at least 0.

    Raises:
        ValueError: if `guidance_scale` is negative or not a finite number.
    """

    def __init__(self, model: PreTrainedModel, guidance_scale: float = 1.0):
        if not isinstance(guidance_scale, Real) or not math.isfinite(guidance_scale) or guidance_scale < 0:
            raise ValueError(f"`guidance_scale` is {guidance_scale}; it has to be a finite number of at least 0.")
        self.model = model
        self.guidance_scale = guidance_scale
        self.codebook_size = model.config.codebook_size
        self.null_class_id = model.config.bos_token_id
        self._known_ids: torch.LongTensor | None = None
        self._cache: DynamicCache | None = None

    @property
    def supports_continuous_batching(self) -> bool:
        """
        Asked for by `generate_batch`, which has sentences of different lengths in one batch.

        Raises:
            ValueError: if there is guidance to do, which the library would leave out with a warning.
        """
        if self.guidance_scale != 1:
            raise ValueError(
                f"`guidance_scale` is {self.guidance_scale}, but `generate_batch` cannot guide: use `generate`, or 1."
            )
        return True

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): class tokens and codes so far.
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): scores of the next id.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, vocab_size)`: guided scores, -inf outside the codebook.

        Raises:
            ValueError: if `input_ids` do not start with class tokens while `guidance_scale` is not 1.
        """
        code_scores = scores[:, : self.codebook_size]
        if self.guidance_scale != 1:
            code_scores = self._guide(input_ids, code_scores)
        # Guided on the codes only and padded again: in the padding, -inf minus -inf would be NaN.
        return torch.nn.functional.pad(code_scores, (0, scores.shape[1] - self.codebook_size), value=float("-inf"))

    def _guide(self, input_ids: torch.LongTensor, conditional: torch.FloatTensor) -> torch.FloatTensor:
        asks_for_class = input_ids[:, :1] != self.null_class_id
        if not asks_for_class.any():
            return conditional
        null = self._null_class_logits(input_ids).to(conditional).log_softmax(dim=-1)
        null = null + conditional.logsumexp(dim=-1, keepdim=True)
        # A code that another processor has banned stays banned; it would be NaN with a scale of 0.
        guided = torch.where(conditional.isneginf(), conditional, null + self.guidance_scale * (conditional - null))
        return torch.where(asks_for_class, guided, conditional)

    def _null_class_logits(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        """Logits of the next code, of shape `(batch_size, codebook_size)`, as if no class had been asked for."""
        if self._follow(input_ids[:, :-1]):
            new_ids = input_ids[:, -1:]
        else:
            self._check_class_tokens(input_ids)
            self._cache = DynamicCache(config=self.model.config)
            new_ids = input_ids.clone()
            new_ids[:, 0] = self.null_class_id
        self._known_ids = input_ids.clone()
        outputs = self.model(input_ids=new_ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return outputs.logits[:, -1, : self.codebook_size]

    def _follow(self, history: torch.LongTensor) -> bool:
        """Arranges the rows of the cache as the rows of `history`; False if the cache does not hold them all."""
        if self._known_ids is None or self._known_ids.shape[1] != history.shape[1]:
            return False
        if torch.equal(self._known_ids, history):
            return True
        is_same_row = (history[:, None] == self._known_ids[None]).all(dim=-1)
        if not is_same_row.any(dim=1).all():
            return False
        self._cache.reorder_cache(is_same_row.int().argmax(dim=1))
        return True

    def _check_class_tokens(self, input_ids: torch.LongTensor):
        if input_ids.shape[1] == 0 or (input_ids[:, 0] < self.codebook_size).any():
            raise ValueError(
                f"`input_ids` has the shape {tuple(input_ids.shape)} and not every row starts with a class token, "
                f"which `guidance_scale` {self.guidance_scale} needs; begin the prompts with one or guide by 1.0."
            )

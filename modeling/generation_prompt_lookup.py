"""How far may prompt lookup look ahead? The library lets it run past the end of a clip, where no positions are."""

import torch
from transformers.generation.candidate_generator import CandidateGenerator, PromptLookupCandidateGenerator


class BoundedPromptLookup(CandidateGenerator):
    """Prompt lookup whose candidates leave room for the one id that the model itself adds within `max_length`."""

    def __init__(self, lookup: PromptLookupCandidateGenerator):
        self.lookup = lookup

    def get_candidates(self, input_ids: torch.LongTensor, **kwargs) -> tuple[torch.LongTensor, None]:
        """Candidate sentences of shape `(1, candidate_length)`, at most `max_length - 1` ids long; no logits."""
        candidates, logits = self.lookup.get_candidates(input_ids, **kwargs)
        return candidates[:, : self.lookup.max_length - 1], logits

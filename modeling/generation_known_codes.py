"""How are codes that are known kept in place while the others are written?"""

import torch
from transformers import LogitsProcessor


class KnownCodesLogitsProcessor(LogitsProcessor):
    r"""
    Leaves one choice wherever a code is known: that code. It keeps its score, so that beams are still compared by how
    well what they wrote explains the known codes that follow.

    Rows that `generate` repeats (beams, `num_return_sequences`) are recognised: each clip has the same number of
    rows, one after the other.

    Args:
        codes (`torch.LongTensor` of shape `(num_clips, num_codes)`): the clips; values at hidden positions are not
            read.
        mask (`torch.BoolTensor` of shape `(num_clips, num_codes)`): True where a code is hidden and has to be written.
        num_prefix_positions (`int`): ids in front of the codes in the sentences that are written.

    Raises:
        ValueError: if `mask` is not boolean or has another shape than `codes`, or the prefix is negative.
    """

    def __init__(self, codes: torch.LongTensor, mask: torch.BoolTensor, num_prefix_positions: int = 0):
        check_mask(codes, mask)
        if num_prefix_positions < 0:
            raise ValueError(f"`num_prefix_positions` is {num_prefix_positions}; it has to be 0 or more.")
        self.codes = codes
        self.mask = mask
        self.num_prefix_positions = num_prefix_positions

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): prefixes and codes so far.
            scores (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): scores of the next id.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, vocab_size)`: -inf everywhere but at the known code, in the rows
            where the next code is known.

        Raises:
            ValueError: if the rows are no multiple of the clips, or the next id is not one of the clip's codes.
        """
        num_clips, num_codes = self.codes.shape
        position = input_ids.shape[1] - self.num_prefix_positions
        if not 0 <= position < num_codes:
            raise ValueError(
                f"The next id is number {position} after {self.num_prefix_positions} of the prefix, but `codes` has "
                f"{num_codes} for each clip; check `num_prefix_positions` and the length asked for."
            )
        if len(scores) % num_clips:
            raise ValueError(f"There are {len(scores)} sentences for {num_clips} clips in `codes`; give one each.")
        repeats = len(scores) // num_clips
        known_code = self.codes[:, position].to(scores.device).repeat_interleave(repeats).unsqueeze(1)
        is_hidden = self.mask[:, position].to(scores.device).repeat_interleave(repeats).unsqueeze(1)
        # What stands at a hidden position need not be an id.
        known_code = known_code.masked_fill(is_hidden, 0)
        known_score = scores.gather(1, known_code)
        # Another processor may have banned the code: what is known counts more.
        known_score = known_score.masked_fill(known_score.isneginf(), 0.0)
        forced = torch.full_like(scores, -torch.inf).scatter(1, known_code, known_score)
        return torch.where(is_hidden, scores, forced)


def check_mask(codes: torch.LongTensor, mask: torch.BoolTensor):
    """
    Refuses anything but one boolean for each code.

    Raises:
        ValueError: if `mask` is not boolean, or has another shape than `codes`.
    """
    if mask.dtype != torch.bool or codes.ndim != 2 or mask.shape != codes.shape:
        raise ValueError(
            f"`mask` is {mask.dtype} of shape {tuple(mask.shape)} and `codes` of shape {tuple(codes.shape)}; give "
            "torch.bool, True where a code is hidden, and both of the shape (num_clips, num_codes)."
        )

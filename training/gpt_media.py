"""What does the training of a GPT show beside numbers? Its own clips: as pictures, sounds and codes, and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from melspec_gpt.training.media_logging import (
    attention_picture,
    eager_attention,
    log_code_histogram,
    log_codes,
    log_mel_pictures,
    log_picture,
    log_sounds,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
    from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
    from melspec_gpt.training.loop import TrainingLoop


@torch.no_grad()
def log_gpt_media(loop: TrainingLoop, clips: Dataset, processor: MelGPTProcessor, num_clips: int = 2) -> None:
    """
    Logs some clips and what the model writes in their place, see [`written_versions`], as one picture with a row for
    each version, as sounds, codes and histograms of the codes; and where the first clip's positions look.
    """
    if loop.tensorboard is None:
        return
    model = loop.unwrapped()
    batch = clips[: min(num_clips, len(clips))]
    codes, labels = batch["codes"].to(model.device), batch["label"].to(model.device)
    prompts = torch.cat([model.config.codebook_size + labels.unsqueeze(1), codes], dim=1)
    pictures = []
    for name, version in written_versions(model, prompts).items():
        decoded = processor.decode_features(version)
        pictures.append(decoded.input_features)
        log_sounds(loop, name, decoded.audio_values, processor.sampling_rate)
        log_codes(loop, name, version)
        log_code_histogram(loop, name, version)
    log_mel_pictures(loop, "input_half_free_greedy", *pictures)
    with eager_attention(model):
        attentions = model(prompts[:1], use_cache=False, output_attentions=True).attentions
    log_picture(loop, "attention", attention_picture(attentions[-1]))


def written_versions(model: MelGPTForCausalLM, sentences: torch.LongTensor) -> dict[str, torch.LongTensor]:
    """
    What the model writes in place of clips.

    Args:
        model ([`MelGPTForCausalLM`]): in evaluation mode.
        sentences (`torch.LongTensor` of shape `(clips, 1 + num_codes)`): class tokens and codes.

    Returns:
        Codes, `(clips, num_codes)`: `input`, those of the clips; `half`, whose second half is sampled; `free`, sampled
        from the class alone; `greedy`, the likeliest code at each place, from the class alone.
    """
    half = sentences[:, : 1 + model.config.num_codes // 2]
    class_tokens = sentences[:, :1]
    versions = {
        "input": sentences,
        "half": model.generate(half),
        "free": model.generate(class_tokens),
        "greedy": model.generate(class_tokens, do_sample=False),
    }
    return {name: version[:, 1:] for name, version in versions.items()}

"""What does a checkpoint sound like? A few clips and their mel picture, made with the checkpoint, for its card."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQDecoderOutput
from melspec_gpt.tokenization.audio_writing import write_audio
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.loudness import bring_to_level
from melspec_gpt.training.mel_picture import write_mel_picture
from melspec_gpt.training.sample_folders import folder_names

SAMPLES_FOLDER = "samples"
PICTURE_NAME = "mel_spectrograms.png"
SEED = 0
GUIDANCE_SCALE = 3.0
LEVEL = -24.0
MAX_CLASSES = 10
CLIPS_WITHOUT_CLASS = 4
# The test sound of an audio tokenizer glides from the lowest to the highest frequency and fades in and out.
SWEEP_FREQUENCIES = (200.0, 6000.0)
SWEEP_AMPLITUDE = 0.3


@dataclass(frozen=True)
class CardSample:
    """A clip of the card: what it is, and its file, as a path with slashes from the folder of the card."""

    caption: str
    file: str


def write_samples(
    model: PreTrainedModel, preprocessor: MelGPTProcessor | MelFeatureExtractor, folder: Path
) -> list[CardSample]:
    """
    Writes sample clips and one picture of all of them, the first one at the top, into `folder/samples`. The same
    checkpoint gives the same clips.

    Args:
        model ([`MelGPTForCausalLM`], [`MelGPTVAEModel`] or [`MelVQModel`]): the checkpoint. The first writes a clip of
            each class (of the first ten), the second a few without a class or the same, the third turns a test sound
            into codes and back.
        preprocessor ([`MelGPTProcessor`] or [`MelFeatureExtractor`]): what belongs to it.
        folder (`Path`): folder of the card.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        captions, decoded = _SAMPLERS.get(model.config.model_type, _decode_test_sound)(model, preprocessor)
    # Blanks in addresses are not understood everywhere.
    names = folder_names([caption.replace(" ", "_") for caption in captions]).values()
    samples = [
        CardSample(caption, f"{SAMPLES_FOLDER}/{name}.wav") for caption, name in zip(captions, names, strict=True)
    ]
    waveforms = [bring_to_level(waveform, LEVEL) for waveform in decoded.audio_values]
    write_audio(waveforms, [folder / sample.file for sample in samples], preprocessor.sampling_rate)
    # Row 0 of the picture is at the bottom.
    write_mel_picture(torch.cat(list(decoded.input_features.flip(0))), folder / SAMPLES_FOLDER / PICTURE_NAME)
    return samples


def _write_sentences(model, processor: MelGPTProcessor) -> tuple[list[str], MelVQDecoderOutput]:
    """A clip of each class by a GPT."""
    captions = processor.tokenizer.class_names[:MAX_CLASSES]
    prompts = captions or [processor.tokenizer.bos_token] * CLIPS_WITHOUT_CLASS
    guidance_scale = GUIDANCE_SCALE if captions else None
    ids = model.generate(**processor(text=prompts).to(model.device), guidance_scale=guidance_scale)
    return captions or _numbered("clip"), processor.decode_features(ids)


def _draw_latents(model, processor: MelGPTProcessor) -> tuple[list[str], MelVQDecoderOutput]:
    """Clips by a GPT-VAE, from latents of the prior."""
    captions = processor.tokenizer.class_names[:MAX_CLASSES] if model.config.class_conditioning else []
    inputs = processor(text=captions).to(model.device) if captions else {"num_samples": CLIPS_WITHOUT_CLASS}
    return captions or _numbered("clip"), processor.decode_features(model.generate(**inputs))


def _decode_test_sound(model, feature_extractor: MelFeatureExtractor) -> tuple[list[str], MelVQDecoderOutput]:
    """A test sound, first as Griffin-Lim renders its features, then through codes as well."""
    seconds = torch.arange(feature_extractor.num_samples) / feature_extractor.sampling_rate
    position = seconds / seconds[-1]
    low, high = SWEEP_FREQUENCIES
    phase = 2 * torch.pi * torch.cumsum(low * (high / low) ** position, 0) / feature_extractor.sampling_rate
    sound = SWEEP_AMPLITUDE * torch.sin(torch.pi * position) * torch.sin(phase)
    features = feature_extractor(sound, sampling_rate=feature_extractor.sampling_rate, return_tensors="pt")
    original = features["input_features"]
    decoded = model.decode(model.encode(original.to(model.device, model.dtype)).audio_codes)
    return ["test sound", "test sound from its codes"], MelVQDecoderOutput(
        input_features=torch.cat([original, decoded.input_features.float().cpu()]),
        audio_values=torch.cat([feature_extractor.inverse(original), decoded.audio_values.float().cpu()]),
    )


def _numbered(name: str) -> list[str]:
    return [f"{name} {number}" for number in range(1, CLIPS_WITHOUT_CLASS + 1)]


_SAMPLERS = {MelGPTConfig.model_type: _write_sentences, MelGPTVAEConfig.model_type: _draw_latents}

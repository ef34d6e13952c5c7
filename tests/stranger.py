"""What somebody does who has PyTorch and Transformers and nothing else; test_push_to_hub runs it as a program."""

import os
import sys
from pathlib import Path

HIDDEN = ["accelerate", "datasets", "evaluate", "matplotlib", "melspec_gpt", "soundfile", "tensorboard", "torchaudio"]
SEED = 0


def gpt_sounds(place: str, class_name: str, **options):
    """Two clips (2, samples) by the GPT in a folder or repository."""
    import torch
    from transformers import AutoModelForCausalLM, AutoProcessor

    model = AutoModelForCausalLM.from_pretrained(place, **options)
    processor = AutoProcessor.from_pretrained(place, **options)
    torch.manual_seed(SEED)
    return processor.batch_decode(model.generate(**processor(text=[class_name] * 2), guidance_scale=2.0))


def vae_sounds(place: str, **options):
    """Two clips (2, samples) by the GPT-VAE in a folder or repository."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(place, **options)
    processor = AutoProcessor.from_pretrained(place, **options)
    torch.manual_seed(SEED)
    return processor.batch_decode(model.generate(num_samples=2))


def tokenizer_sound(place: str, **options):
    """Codes and waveform of a noise by the audio tokenizer in a folder or repository."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    audio_tokenizer = AutoModel.from_pretrained(place, **options)
    feature_extractor = AutoFeatureExtractor.from_pretrained(place, **options)
    noise = 0.1 * torch.randn(feature_extractor.num_samples, generator=torch.Generator().manual_seed(SEED))
    features = feature_extractor(noise, sampling_rate=feature_extractor.sampling_rate, return_tensors="pt")
    with torch.no_grad():
        codes = audio_tokenizer.encode(**features).audio_codes
        return codes, audio_tokenizer.decode(codes).audio_values


def main() -> None:
    """Loads everything that job.json in the current folder names, and writes results.pt there."""
    import json

    import torch

    job, results = json.loads(Path("job.json").read_text()), {}
    trusting = {"trust_remote_code": True}
    for name, (place, class_name) in job["gpt"].items():
        results[name] = gpt_sounds(place, class_name, **trusting)
    for name, place in job["vae"].items():
        results[name] = vae_sounds(place, **trusting)
    for name, place in job["tokenizer"].items():
        results[name] = tokenizer_sound(place, **trusting)
    for place, blocks in job["cards"].items():
        Path(place).mkdir()
        os.chdir(place)
        for number, block in enumerate(blocks):
            names = {}
            exec(compile(block, f"block {number} of the card {place}", "exec"), names)
            if place == "shipped" and number == 0:
                results["ids"] = names["ids"]
        os.chdir("..")
    torch.save(results, "results.pt")


if __name__ == "__main__":
    for module in HIDDEN:
        sys.modules[module] = None
    main()

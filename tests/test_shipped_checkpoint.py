"""Does the checkpoint in the repository do what the README says of it?"""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, pipeline

import melspec_gpt  # noqa: F401  registers the Auto classes

CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoints" / "esc10-small"
CLASS_NAMES = [
    "Dog bark",
    "Rain",
    "Sea waves",
    "Baby cry",
    "Clock tick",
    "Person sneeze",
    "Helicopter",
    "Chainsaw",
    "Rooster",
    "Fire crackling",
]


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT).eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(CHECKPOINT)


def test_it_knows_the_ten_classes(model, processor):
    assert processor.tokenizer.class_names == CLASS_NAMES
    assert list(model.config.id2label.values()) == CLASS_NAMES


def test_every_class_sounds(model, processor):
    torch.manual_seed(0)
    waveforms = processor.batch_decode(model.generate(**processor(text=CLASS_NAMES), guidance_scale=2.0))
    levels = 20 * torch.log10(waveforms.std(dim=1))
    assert (levels > -60).all(), levels
    assert waveforms.abs().max() < 1


def test_classes_differ(model, processor):
    """Codes of one class are more probable under that class than under another one."""
    torch.manual_seed(0)
    ids = model.generate(**processor(text=["Rain"] * 4))
    others = ids.clone()
    others[:, 0] = processor(text=["Clock tick"]).input_ids[0, 0]
    with torch.no_grad():
        own, other = (model(sentence, labels=ids).loss for sentence in (ids, others))
    assert own + 0.1 < other


def test_pipeline_makes_a_sound():
    sound = pipeline("text-to-audio", model=str(CHECKPOINT))("Dog bark")
    assert sound["sampling_rate"] == 22050
    assert sound["audio"].std() > 1e-3


def test_real_clips_survive_the_audio_tokenizer(processor, shared_data):
    """One clip of each class, none of which was trained on: the error is far below that of the mean mel spectrum."""
    errors = []
    for folder in sorted(path for path in (shared_data / "esc10").iterdir() if path.is_dir()):
        audio, rate = soundfile.read(min(folder.glob("4-*.ogg")), dtype="float32")
        features = processor.feature_extractor(audio, sampling_rate=rate, resample=True, return_tensors="pt")
        with torch.no_grad():
            errors.append(processor.audio_tokenizer(features["input_features"]).reconstruction_loss)
    assert len(errors) == len(CLASS_NAMES)
    assert torch.stack(errors).mean() < 0.1


def test_card_gives_the_measured_numbers():
    """The card was written from the summaries of the trainings."""
    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    gpt = json.loads((CHECKPOINT / "training_summary.json").read_text())
    audio_tokenizer = json.loads((CHECKPOINT / "audio_tokenizer" / "training_summary.json").read_text())
    assert f"{gpt['validation_nats_per_code']:.2f}" in card
    assert f"{gpt['unigram_nats_per_code']:.2f}" in card
    assert f"{audio_tokenizer['validation']['reconstruction_loss']:.3f}" in card
    assert f"{audio_tokenizer['mean_mel_error']:.3f}" in card

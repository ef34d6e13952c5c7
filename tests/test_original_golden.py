"""Do checkpoints of the original, converted by the command line, compute what its own code computed?"""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForAudioTokenization, AutoModelForCausalLM

from melspec_gpt.modeling.convert_original_checkpoints import main as convert


@pytest.fixture(scope="module")
def converted(shared_data, tmp_path_factory):
    """Converts a golden checkpoint once and returns its folder."""
    folder = tmp_path_factory.mktemp("converted")

    def convert_once(kind: str, name: str, *options: str):
        output_dir = folder / name.replace("/", "_")
        if not output_dir.exists():
            checkpoint = str(shared_data / "golden" / name)
            convert(["--kind", kind, "--checkpoint", checkpoint, "--output_dir", str(output_dir), *options])
        return output_dir

    return convert_once


@pytest.fixture(scope="module")
def gpt(converted):
    return AutoModelForCausalLM.from_pretrained(
        converted("gpt", "gpt_class_tiny.ckpt", "--num_attention_heads", "4")
    ).eval()


@pytest.fixture(scope="module")
def gpt_golden(shared_data):
    return load_file(shared_data / "golden" / "gpt_class.safetensors")


@pytest.fixture(scope="module")
def sentences(gpt, gpt_golden):
    return torch.cat([class_tokens(gpt, gpt_golden["class_labels"]), gpt_golden["codes"]], dim=1)


def class_tokens(gpt, classes: torch.Tensor) -> torch.Tensor:
    return gpt.config.codebook_size + classes[:, None]


@torch.no_grad()
def test_gpt_logits(gpt, gpt_golden, sentences):
    logits = gpt(sentences).logits[:, :-1, : gpt.config.codebook_size]
    torch.testing.assert_close(logits, gpt_golden["logits"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_gpt_losses(gpt, gpt_golden, sentences):
    outputs = gpt(sentences, labels=sentences)
    torch.testing.assert_close(outputs.loss, gpt_golden["loss"], atol=1e-5, rtol=0)
    logits = outputs.logits[:, :-1].transpose(1, 2)
    token_nll = torch.nn.functional.cross_entropy(logits, gpt_golden["codes"], reduction="none")
    torch.testing.assert_close(token_nll, gpt_golden["token_nll"], atol=1e-4, rtol=0)


def test_gpt_greedy_sentences(gpt, gpt_golden):
    prompts = class_tokens(gpt, gpt_golden["greedy_full_classes"])
    assert torch.equal(gpt.generate(prompts, do_sample=False)[:, 1:], gpt_golden["greedy_full_codes"])


def test_gpt_greedy_beginnings_of_every_class(gpt, gpt_golden):
    expected = gpt_golden["greedy32_codes"]
    prompts = class_tokens(gpt, gpt_golden["greedy32_classes"])
    generated = gpt.generate(prompts, do_sample=False, max_new_tokens=expected.shape[1])
    assert torch.equal(generated[:, 1:], expected)


def test_gpt_greedy_continuation_of_half_a_sentence(gpt, gpt_golden):
    prompts = torch.cat([class_tokens(gpt, gpt_golden["class_labels"]), gpt_golden["greedy_half_prompt"]], dim=1)
    assert torch.equal(gpt.generate(prompts, do_sample=False)[:, 1:], gpt_golden["greedy_half_codes"])


@torch.no_grad()
def test_gpt_attention_weights(gpt, gpt_golden):
    expected = gpt_golden["greedy32_last_attention"]
    prompts = class_tokens(gpt, gpt_golden["greedy32_classes"])
    sentences = torch.cat([prompts, gpt_golden["greedy32_codes"]], dim=1)[:, : expected.shape[-1]]
    gpt.set_attn_implementation("eager")
    attentions = gpt(sentences, output_attentions=True).attentions
    gpt.set_attn_implementation("sdpa")
    torch.testing.assert_close(attentions[-1], expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module", params=["vqvae", "specvqgan"])
def audio_tokenizer(request, shared_data, converted):
    """Each audio tokenizer, what its own code computed, and the names of its codes there."""
    golden = load_file(shared_data / "golden" / f"{request.param}.safetensors")
    file_name = {"vqvae": "vqvae_tiny.pt", "specvqgan": "specvqgan_tiny.ckpt"}[request.param]
    return AutoModelForAudioTokenization.from_pretrained(converted("vq", file_name)).eval(), golden


@torch.no_grad()
def test_audio_tokenizer_forward(audio_tokenizer):
    model, golden = audio_tokenizer
    outputs = model(golden["input"].squeeze(1))
    torch.testing.assert_close(outputs.latents, golden["z"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.reconstruction, golden["reconstruction"].squeeze(1), atol=1e-4, rtol=0)
    assert torch.equal(outputs.audio_codes.squeeze(1), golden["sequence_time_major"])
    torch.testing.assert_close(outputs.codebook_loss, golden["vq_loss"], atol=0, rtol=1e-5)
    torch.testing.assert_close(outputs.perplexity, golden["perplexity"], atol=0, rtol=1e-5)


@torch.no_grad()
def test_audio_tokenizer_encode_and_decode(audio_tokenizer):
    model, golden = audio_tokenizer
    encoded = model.encode(golden["input"].squeeze(1))
    assert torch.equal(encoded.audio_codes.squeeze(1), golden["sequence_time_major"])
    if "codebook_entry" in golden:
        assert torch.equal(encoded.quantized_representation, golden["codebook_entry"])
    decoded = model.decode(encoded.audio_codes, return_audio=False).input_features
    torch.testing.assert_close(decoded, golden["reconstruction"].squeeze(1), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize(("waveform", "frames"), [("waveform", 848), ("waveform_first100frames", 100)])
def test_vocoder_waveform(shared_data, converted, weight_norm, waveform, frames):
    golden = load_file(shared_data / "golden" / "melgan.safetensors")
    vocoder = AutoModel.from_pretrained(converted("melgan", "vocoder/logs/vggsound")).eval()
    if not weight_norm:
        vocoder.remove_weight_norm()
    features = 2 * golden["mel_0_1"][..., :frames] - 1
    torch.testing.assert_close(vocoder(features), golden[waveform].squeeze(1), atol=1e-4, rtol=0)

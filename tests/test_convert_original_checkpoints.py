"""What does the converter make of the original's checkpoints? Of tiny random ones in their layouts, without data."""

import json

import pytest
import torch
from original_layouts import (
    CODEBOOK_SIZE,
    NUM_CODES,
    NUM_FRAMES,
    NUM_HEADS,
    gpt,
    gpt_with_tokenizer,
    save_lightning,
    save_melgan,
    transformer,
    vae,
    vq,
)
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, pipeline

from melspec_gpt import MelFeatureExtractor, MelGANVocoder, MelVQModel
from melspec_gpt.modeling import original_sizes
from melspec_gpt.modeling.convert_original_checkpoints import main as convert

CLASS_NAMES = ["dog", "gun", "rain on a roof"]
GPT_OPTIONS = {"num_attention_heads": [NUM_HEADS], "class_names": CLASS_NAMES}
WEIGHTS = "model.safetensors"
VQ_OPTIONS = {"num_frames": [NUM_FRAMES]}


def command(kind, checkpoint, output_dir, **options) -> list[str]:
    arguments = ["--kind", kind, "--checkpoint", str(checkpoint), "--output_dir", str(output_dir)]
    for name, values in options.items():
        arguments += [f"--{name}", *map(str, values)]
    return arguments


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("sources")
    save_lightning(gpt(), folder / "gpt.ckpt")
    save_lightning(gpt_with_tokenizer(), folder / "gpt_with_tokenizer.ckpt")
    save_lightning(vae(), folder / "vae.ckpt")
    save_lightning(vq(is_specvqgan=True), folder / "specvqgan.ckpt")
    torch.save(dict(vq()), folder / "vq.pt")
    save_melgan(folder / "melgan")
    return folder


@pytest.fixture(scope="module")
def converted(sources, tmp_path_factory):
    """A folder with a converted folder of each kind."""
    folder = tmp_path_factory.mktemp("converted")
    convert(command("melgan", sources / "melgan", folder / "melgan"))
    convert(command("vq", sources / "vq.pt", folder / "vq", vocoder=[folder / "melgan"], **VQ_OPTIONS))
    convert(command("gpt", sources / "gpt_with_tokenizer.ckpt", folder / "gpt", **GPT_OPTIONS, **VQ_OPTIONS))
    convert(command("vae", sources / "vae.ckpt", folder / "vae", num_attention_heads=[NUM_HEADS]))
    return folder


def transformer_of_width(width: int):
    weights = transformer("transformer.", 1 + NUM_CODES, CODEBOOK_SIZE, width=width)
    weights.add("transformer.embedder.weight", len(CLASS_NAMES), width)
    return weights


def report_of(folder) -> dict:
    return json.loads((folder / "conversion_report.json").read_text())


def test_pipeline_speaks_with_the_tokenizer_of_the_checkpoint(converted):
    audio = pipeline("text-to-audio", model=str(converted / "gpt"))("rain on a roof")
    assert audio["sampling_rate"] == 22050
    assert audio["audio"].size == NUM_FRAMES * 256


def test_processor_encodes_with_the_tokenizer_of_the_checkpoint(converted):
    processor = AutoProcessor.from_pretrained(converted / "gpt")
    inputs = processor(text="gun", audio=torch.zeros(NUM_FRAMES * 256), sampling_rate=22050)
    assert inputs["input_ids"].shape == (1, 1 + NUM_CODES)
    assert inputs["input_ids"][0, 0] == CODEBOOK_SIZE + 1


def test_feature_extractor_lies_beside_the_audio_tokenizer(converted):
    for folder in (converted / "vq", converted / "gpt" / "audio_tokenizer"):
        assert MelFeatureExtractor.from_pretrained(folder).num_frames == NUM_FRAMES


def test_vocoder_option_puts_the_vocoder_into_the_audio_tokenizer(converted):
    vocoder, model = (AutoModel.from_pretrained(converted / name) for name in ("melgan", "vq"))
    for name, weight in vocoder.state_dict().items():
        assert torch.equal(model.vocoder.state_dict()[name], weight), name


@pytest.mark.parametrize("kind", ["gpt", "vae"])
def test_audio_tokenizer_option_takes_the_place_of_the_one_inside(sources, converted, tmp_path, kind):
    weights = gpt_with_tokenizer() if kind == "gpt" else vae()
    options = GPT_OPTIONS if kind == "gpt" else {"num_attention_heads": [NUM_HEADS]}
    checkpoint = save_lightning(weights, tmp_path / "source.ckpt")
    convert(command(kind, checkpoint, tmp_path / "out", audio_tokenizer=[converted / "vq"], **options))
    inside = MelVQModel.from_pretrained(tmp_path / "out" / "audio_tokenizer")
    assert isinstance(inside.vocoder, MelGANVocoder)
    for name, weight in MelVQModel.from_pretrained(converted / "vq").state_dict().items():
        assert torch.equal(inside.state_dict()[name], weight), name
    replaced = [names for reason, names in report_of(tmp_path / "out")["dropped"].items() if "replaced" in reason]
    assert len(replaced) == (kind == "gpt")


def test_a_gpt_without_audio_tokenizer_has_a_processor_for_class_names(sources, tmp_path):
    convert(command("gpt", sources / "gpt.ckpt", tmp_path / "out", **GPT_OPTIONS))
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.audio_tokenizer is None
    assert processor(text="gun")["input_ids"].tolist() == [[CODEBOOK_SIZE + 1]]


def test_names_of_specvqgan_give_the_same_model(sources, converted, tmp_path):
    convert(command("vq", sources / "specvqgan.ckpt", tmp_path / "out", **VQ_OPTIONS))
    expected = MelVQModel.from_pretrained(converted / "vq").state_dict()
    for name, weight in MelVQModel.from_pretrained(tmp_path / "out").state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_melgan_weights_may_be_named_themselves(sources, converted, tmp_path):
    convert(command("melgan", sources / "melgan" / "best_netG.pt", tmp_path / "out"))
    names = ["model.safetensors", "config.json", "conversion_report.json"]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (converted / "melgan" / name).read_bytes()


def test_original_dropouts_and_class_names_go_into_the_config(converted):
    config = AutoModel.from_pretrained(converted / "gpt").config
    assert list(config.id2label.values()) == CLASS_NAMES
    assert [config.embedding_dropout, config.residual_dropout, config.attention_dropout] == [0.5] * 3
    vae_config = AutoModel.from_pretrained(converted / "vae").config
    assert vae_config.encoder.attention_dropout == 0
    assert vae_config.decoder.residual_dropout == 0.3


def test_eight_classes_are_those_of_vas(tmp_path):
    weights = gpt()
    weights["transformer.embedder.weight"] = torch.zeros(8, 8)
    checkpoint = save_lightning(weights, tmp_path / "gpt.ckpt")
    convert(command("gpt", checkpoint, tmp_path / "out", num_attention_heads=[NUM_HEADS]))
    labels = AutoModel.from_pretrained(tmp_path / "out").config.label2id
    assert labels == {
        "baby": 0, "cough": 1, "dog": 2, "drum": 3, "fireworks": 4, "gun": 5, "hammer": 6, "sneeze": 7
    }  # fmt: skip


def test_null_class_is_the_mean_of_the_classes(converted):
    embeddings = AutoModelForCausalLM.from_pretrained(converted / "gpt").get_input_embeddings().weight
    classes = gpt()["transformer.embedder.weight"]
    assert torch.equal(embeddings[CODEBOOK_SIZE:-1], classes)
    torch.testing.assert_close(embeddings[-1], classes.mean(0))


def test_hidden_code_of_the_vae_is_the_mean_of_the_codes(converted):
    model = AutoModel.from_pretrained(converted / "vae")
    codes = vae()["encoder.transformer.tok_emb.weight"]
    torch.testing.assert_close(model.encoder.embed_tokens.weight[model.config.hidden_code_id], codes.mean(0))


def test_number_of_heads_is_doubted_unless_the_original_had_such_a_model(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(original_sizes.logger, "warning", messages.append)
    checkpoint = save_lightning(transformer_of_width(16), tmp_path / "gpt.ckpt")
    convert(command("gpt", checkpoint, tmp_path / "guessed", class_names=CLASS_NAMES))
    assert AutoModel.from_pretrained(tmp_path / "guessed").config.num_attention_heads == 16
    assert len(messages) == 1
    monkeypatch.setitem(original_sizes.ORIGINAL_HEADS, (2, 16), 8)
    convert(command("gpt", checkpoint, tmp_path / "known", class_names=CLASS_NAMES))
    assert AutoModel.from_pretrained(tmp_path / "known").config.num_attention_heads == 8
    assert len(messages) == 1


def test_processor_of_the_vae_makes_sentences_without_class_tokens(converted):
    assert not AutoProcessor.from_pretrained(converted / "vae").class_token


def test_report_holds_errors_and_what_was_dropped(converted):
    report = report_of(converted / "gpt")
    assert report["kind"] == "gpt"
    assert report["checkpoint"] == "gpt_with_tokenizer.ckpt"
    assert [row["quantity"] for row in report["parity"]["gpt"]] == ["logits", "loss"]
    assert len(report["parity"]["audio_tokenizer"]) == 4
    dropped = {name for names in report["dropped"].values() for name in names}
    masks = {f"transformer.blocks.{layer}.attn.mask" for layer in range(2)}
    discriminator = {f"first_stage_model.discriminator.main.0.{kind}" for kind in ("weight", "bias")}
    assert dropped == masks | discriminator


def test_table_of_errors_is_printed(sources, tmp_path, capsys):
    convert(command("melgan", sources / "melgan", tmp_path / "out"))
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["melgan", "waveform"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(tmp_path, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in gpt().items()}
    checkpoint = save_lightning(weights, tmp_path / "gpt.ckpt")
    convert(command("gpt", checkpoint, tmp_path / "out", **GPT_OPTIONS))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model.lm_head.weight, weights["transformer.head.weight"].float())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_masks_may_be_of_any_type(converted, tmp_path, dtype):
    weights = {name: tensor.to(dtype) if name.endswith("attn.mask") else tensor for name, tensor in vae().items()}
    checkpoint = save_lightning(weights, tmp_path / "vae.ckpt")
    convert(command("vae", checkpoint, tmp_path / "out", num_attention_heads=[NUM_HEADS]))
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (converted / "vae" / WEIGHTS).read_bytes()


def test_names_may_have_the_prefix_of_parallel_training(converted, tmp_path):
    weights = {f"module.{name}": tensor for name, tensor in gpt_with_tokenizer().items()}
    checkpoint = save_lightning(weights, tmp_path / "gpt.ckpt")
    convert(command("gpt", checkpoint, tmp_path / "out", **GPT_OPTIONS, **VQ_OPTIONS))
    for name in (WEIGHTS, f"audio_tokenizer/{WEIGHTS}"):
        assert (tmp_path / "out" / name).read_bytes() == (converted / "gpt" / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_back_loads_and_generates(converted, tmp_path, dtype):
    half = AutoModelForCausalLM.from_pretrained(converted / "gpt", dtype=dtype)
    half.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    prompts = torch.tensor([[CODEBOOK_SIZE], [CODEBOOK_SIZE + 2]])
    assert torch.equal(loaded.generate(prompts, do_sample=False), half.generate(prompts, do_sample=False))
    back = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert back.generate(prompts).shape == (2, 1 + NUM_CODES)


@pytest.mark.parametrize("kind", ["gpt", "vae", "vq", "melgan"])
def test_loading_twice_gives_identical_weights(converted, kind):
    one, other = (AutoModel.from_pretrained(converted / kind).state_dict() for _ in range(2))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_tensors_that_share_memory_in_the_file_are_separate_weights(tmp_path):
    weights = gpt()
    weights["transformer.blocks.1.ln1.weight"] = weights["transformer.blocks.0.ln1.weight"]
    checkpoint = save_lightning(weights, tmp_path / "gpt.ckpt")
    convert(command("gpt", checkpoint, tmp_path / "out", **GPT_OPTIONS))
    layers = AutoModel.from_pretrained(tmp_path / "out").layers
    assert torch.equal(layers[0].input_layernorm.weight, layers[1].input_layernorm.weight)


def test_an_empty_output_folder_is_used_and_missing_parents_are_made(sources, tmp_path):
    (tmp_path / "empty").mkdir()
    for output_dir in (tmp_path / "empty", tmp_path / "new" / "folder"):
        convert(command("gpt", sources / "gpt.ckpt", output_dir, **GPT_OPTIONS))
        assert (output_dir / "model.safetensors").is_file()
        assert [path.name for path in output_dir.parent.glob(".*")] == []

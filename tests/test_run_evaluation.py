"""The evaluation program: numbers of GPTs and GPT-VAEs, the file it writes, and what it refuses."""

import json
import math

import pytest
import torch
from tiny_tokens import CODEBOOK_SIZE, NAMES, NUM_CLIPS, NUM_CODES, save_audio_tokenizer, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import number_rows
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.run_evaluation import EvaluationSettings, evaluate_checkpoint, main
from melspec_gpt.training.sound_checkpoints import SHIPPED_GPT
from melspec_gpt.training.vae_evaluation import evaluate_vae

SHARED = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tokens"))


def save_gpt(folder, names=NAMES, **fields):
    torch.manual_seed(0)
    config = load_model_config(MelGPTConfig, "tiny", **(SHARED | fields), id2label=dict(enumerate(names)))
    model = MelGPTForCausalLM(config).eval()
    model.save_pretrained(folder)
    return str(folder), model


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    return save_gpt(tmp_path_factory.mktemp("gpt"))


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    model = MelGPTVAEModel(load_model_config(MelGPTVAEConfig, "tiny", encoder=SHARED, decoder=SHARED)).eval()
    model.save_pretrained(folder)
    return str(folder), model


@torch.no_grad()
def nats_per_code(model, tokens, class_tokens):
    codes = load_built_dataset(tokens, ["codes"])["validation"][:]["codes"]
    ids = torch.cat([class_tokens.unsqueeze(1), codes], dim=1)
    return model(input_ids=ids, labels=ids).loss.item()


def test_gpt_is_measured_with_and_without_the_class(gpt, tokens):
    folder, model = gpt
    metrics = evaluate_checkpoint(folder, tokens, EvaluationSettings(batch_size=5))["metrics"]
    labels = load_built_dataset(tokens, ["label"])["validation"][:]["label"]
    expected = nats_per_code(model, tokens, CODEBOOK_SIZE + labels)
    without = nats_per_code(model, tokens, torch.full((NUM_CLIPS,), model.config.bos_token_id))
    assert metrics["nats_per_code"] == pytest.approx(expected, rel=1e-5)
    assert metrics["nats_per_code_without_class"] == pytest.approx(without, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    assert expected != pytest.approx(without, rel=1e-3)


def test_classes_are_matched_by_name(gpt, tokens, tmp_path):
    """A model with the same classes in another order, and the same weights in that order."""
    folder, model = gpt
    order = [2, 0, 1]
    _, other = save_gpt(tmp_path, [NAMES[label] for label in order])
    weights = model.state_dict()
    embeddings = weights["model.embed_tokens.weight"].clone()
    embeddings[CODEBOOK_SIZE : CODEBOOK_SIZE + 3] = embeddings[CODEBOOK_SIZE + torch.tensor(order)]
    other.load_state_dict(weights | {"model.embed_tokens.weight": embeddings})
    other.save_pretrained(tmp_path)
    results = [evaluate_checkpoint(path, tokens)["metrics"] for path in (folder, str(tmp_path))]
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_gpt_without_classes_is_measured_once(tokens, tmp_path):
    folder, _ = save_gpt(tmp_path, names=[])
    metrics = evaluate_checkpoint(folder, tokens)["metrics"]
    assert set(metrics) == {"nats_per_code_without_class", "perplexity_without_class"}


def test_vae_gets_all_its_metrics(vae, tokens):
    folder, model = vae
    result = evaluate_checkpoint(folder, tokens, EvaluationSettings(split="train", num_importance_samples=4, seed=3))
    rows = number_rows(load_built_dataset(tokens, ["codes", "label"])["train"])
    expected = evaluate_vae(model, rows, num_importance_samples=4, seed=3)
    assert result["metrics"] == pytest.approx(expected, rel=1e-4)


def test_program_writes_what_it_measured(vae, tokens, tmp_path, caplog):
    path = tmp_path / "results" / "evaluation.json"
    argv = ["--model", vae[0], "--dataset_path", tokens, "--output_file", str(path), "--num_importance_samples", "2"]
    with caplog.at_level("INFO"):
        main(argv)
    result = json.loads(path.read_text())
    facts = {"model": vae[0], "dataset_path": tokens, "split": "validation", "clips": NUM_CLIPS, "seed": 0}
    assert {name: result[name] for name in facts} == facts
    for name, value in result["metrics"].items():
        assert f"{name} " in caplog.text
        assert f"{value:.4f}" in caplog.text


def test_bad_input_ends_with_a_sentence(gpt, tokens, tmp_path, capsys):
    audio_tokenizer = save_audio_tokenizer(tmp_path / "tokenizer")
    longer = write_dataset(tmp_path / "longer", num_codes=12)
    higher = write_dataset(tmp_path / "higher", highest=40)
    reported = write_dataset(tmp_path / "reported")
    (tmp_path / "reported" / "build_report.json").write_text(json.dumps({"codebook_size": 8}))
    strange, _ = save_gpt(tmp_path / "strange", names=["Rain", "Gun"])
    cases = [
        (["--model", str(tmp_path / "none"), "--dataset_path", tokens], "neither a checkpoint folder nor on the Hub"),
        (["--model", audio_tokenizer, "--dataset_path", tokens], "type 'mel_vq'; expected one of"),
        (["--model", gpt[0], "--dataset_path", str(tmp_path)], "holds no dataset"),
        (["--model", gpt[0], "--dataset_path", tokens, "--split", "test"], "`split` is 'test'"),
        (["--model", gpt[0], "--dataset_path", longer], "sentences of 12 codes, but the model writes 10"),
        (["--model", gpt[0], "--dataset_path", higher], "holds the code"),
        (["--model", gpt[0], "--dataset_path", reported], "codebook of 8 entries"),
        (["--model", strange, "--dataset_path", tokens], "does not know the classes ['Dog bark', 'Rooster']"),
        (["--model", gpt[0], "--dataset_path", tokens, "--batch_size", "0"], "`batch_size` is 0"),
    ]
    for argv, words in cases:
        with pytest.raises(SystemExit):
            main([*argv, "--output_file", str(tmp_path / "evaluation.json")])
        assert words in capsys.readouterr().err
    assert not (tmp_path / "evaluation.json").exists()


def test_default_model_is_looked_for_in_the_root_of_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not in the current folder .* change to the root"):
        evaluate_checkpoint(SHIPPED_GPT, "tokens")

"""The GPT training: from token dataset and audio tokenizer to a folder that makes sounds; noise and baseline."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny_tokens import NAMES, save_audio_tokenizer, write_dataset
from transformers import pipeline

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training.arguments import RECIPES_FOLDER, parse_arguments
from melspec_gpt.training.built_dataset import class_names, load_built_dataset
from melspec_gpt.training.clip_randomness import clip_generators
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.train_gpt import (
    GPTArguments,
    evaluation_step,
    main,
    noisy_sentences,
    training_step,
)

RECIPES = [file.stem for file in sorted(RECIPES_FOLDER.glob("gpt_*.json")) if "vae" not in file.stem]


@pytest.fixture(scope="module")
def audio_tokenizer(tmp_path_factory):
    return save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def trained(tokens, audio_tokenizer, tmp_path_factory):
    """The output folder of a whole training."""
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.json"
    settings = {"model_config": "tiny", "learning_rate": 0.01, "per_device_train_batch_size": 6, "eval_steps": 20}
    recipe.write_text(json.dumps(settings | {"dataset_path": tokens, "load_best_model_at_end": True}))
    output_dir = str(tmp_path_factory.mktemp("output"))
    main([str(recipe), "--audio_tokenizer", audio_tokenizer, "--output_dir", output_dir, "--max_train_steps", "40"])
    return output_dir


def test_training_beats_the_baseline_and_says_so(trained):
    summary = json.loads(open(f"{trained}/training_summary.json").read())
    assert summary["validation_nats_per_code"] < 0.5 * summary["unigram_nats_per_code"]
    assert summary["steps"] == summary["arguments"]["max_train_steps"] == 40


def test_final_folder_makes_sounds_by_class_name(trained, audio_tokenizer):
    model = MelGPTForCausalLM.from_pretrained(trained).eval()
    processor = MelGPTProcessor.from_pretrained(trained)
    assert list(model.config.id2label.values()) == processor.tokenizer.class_names == NAMES
    ids = model.generate(**processor(text=NAMES), do_sample=False)
    assert ids[:, 1].tolist() == [0, 5, 10]  # what the class decides
    waveforms = processor.batch_decode(ids)
    assert waveforms.shape == (3, 32 * 256)
    assert torch.isfinite(waveforms).all()
    original = MelVQModel.from_pretrained(audio_tokenizer).state_dict()
    assert all(torch.equal(value, original[name]) for name, value in processor.audio_tokenizer.state_dict().items())


def test_final_folder_works_as_a_pipeline(trained):
    result = pipeline("text-to-audio", model=trained)("Dog bark")
    assert result["sampling_rate"] == 22050
    assert np.asarray(result["audio"]).size == 32 * 256


def test_resumed_training_repeats_hidden_classes_and_noise(tokens, audio_tokenizer, tmp_path):
    def run(output_dir, *argv):
        arguments = ["--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--model_config", "tiny"]
        arguments += ["--max_train_steps", "4", "--class_dropout", "0.5", "--code_noise", "0.2"]
        main([*arguments, "--output_dir", str(output_dir), "--checkpointing_steps", "2", "--report_to", "none", *argv])
        return MelGPTForCausalLM.from_pretrained(output_dir).state_dict()

    whole = run(tmp_path / "whole")
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-2")
    resumed = run(tmp_path / "resumed", "--resume_from_checkpoint", checkpoint)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.fixture
def config():
    return load_model_config(MelGPTConfig, "tiny", codebook_size=8, num_codes=50, id2label={0: "a", 1: "b"})


def noisy(codes, labels, config, class_dropout=0.0, code_noise=0.0):
    generators = clip_generators(range(len(codes)), 0)
    return noisy_sentences(codes, labels, config, class_dropout, code_noise, generators)


def test_sentences_without_noise_are_class_and_codes(config):
    codes, labels = torch.randint(8, (4, 50)), torch.tensor([0, 1, 1, 0])
    sentences = noisy(codes, labels, config)
    assert torch.equal(sentences, torch.cat([8 + labels[:, None], codes], dim=1))


def test_noise_of_a_clip_does_not_depend_on_its_batch(config):
    codes, labels = torch.randint(8, (6, 50)), torch.ones(6, dtype=torch.long)
    together = noisy(codes, labels, config, class_dropout=0.5, code_noise=0.5)
    generators = clip_generators([4, 1], 0)
    pair = noisy_sentences(codes[[4, 1]], labels[[4, 1]], config, 0.5, 0.5, generators)
    assert torch.equal(pair, together[[4, 1]])
    assert not torch.equal(together[:, 1:], codes)


def test_class_dropout_hides_its_share_of_the_classes(config):
    codes, labels = torch.zeros(2000, 50, dtype=torch.long), torch.ones(2000, dtype=torch.long)
    sentences = noisy(codes, labels, config, class_dropout=0.1)
    hidden = sentences[:, 0] == config.bos_token_id
    assert hidden.float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert (sentences[~hidden, 0] == 9).all()
    assert (sentences[:, 1:] == 0).all()


def test_code_noise_replaces_its_share_of_the_codes(config):
    codes, labels = torch.zeros(200, 50, dtype=torch.long), torch.ones(200, dtype=torch.long)
    sentences = noisy(codes, labels, config, code_noise=0.4)
    changed = (sentences[:, 1:] != 0).float().mean().item()
    assert changed == pytest.approx(0.4 * 7 / 8, abs=0.02)  # one of eight random codes is the old one
    assert sentences[:, 1:].max() == 7


def test_targets_are_the_true_codes_whatever_the_model_reads(config, tmp_path):
    seen = {}

    class Spy(MelGPTForCausalLM):
        def forward(self, input_ids, labels=None, **kwargs):
            seen.update(input_ids=input_ids, labels=labels)
            return super().forward(input_ids=input_ids, labels=labels, **kwargs)

    model = Spy(config)
    rows = [{"codes": torch.randint(8, (50,)), "label": torch.tensor(1), "row": torch.tensor(row)} for row in range(2)]
    arguments = GPTArguments(
        dataset_path="",
        output_dir=str(tmp_path),
        model_config="",
        audio_tokenizer="",
        max_train_steps=1,
        per_device_train_batch_size=2,
        class_dropout=1.0,
        code_noise=1.0,
        report_to="none",
    )
    TrainingLoop(
        arguments,
        modules={"model": model},
        optimizers={"model": torch.optim.SGD(model.parameters(), lr=0.1)},
        training_step=training_step,
        train_dataset=rows,
    ).run()
    assert (seen["input_ids"][:, 0] == config.bos_token_id).all()
    targets = {tuple(row["codes"].tolist()) for row in rows}
    assert {tuple(row.tolist()) for row in seen["labels"][:, 1:]} == targets
    assert {tuple(row.tolist()) for row in seen["input_ids"][:, 1:]}.isdisjoint(targets)


def test_validation_loss_is_the_models_own(config):
    class Loop:
        modules = {"model": MelGPTForCausalLM(config).eval()}

        def unwrapped(self):
            return self.modules["model"]

    batch = {"codes": torch.randint(8, (3, 50)), "label": torch.tensor([0, 1, 0])}
    per_clip = evaluation_step(Loop(), batch)["loss"]
    ids = torch.cat([8 + batch["label"][:, None], batch["codes"]], dim=1)
    assert per_clip.shape == (3,)
    torch.testing.assert_close(per_clip.mean(), Loop.modules["model"](input_ids=ids, labels=ids).loss)


def test_training_without_validation_split(tmp_path, audio_tokenizer):
    tokens = write_dataset(tmp_path / "tokens", splits=("train",))
    argv = ["--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--output_dir", str(tmp_path / "out")]
    main([*argv, "--model_config", "tiny", "--max_train_steps", "1", "--report_to", "none"])
    summary = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    assert summary["unigram_nats_per_code"] is None
    assert summary["validation_nats_per_code"] is None


def test_wrong_datasets_are_refused(tmp_path, tokens):
    with pytest.raises(ValueError, match="holds no dataset"):
        load_built_dataset(tmp_path, ["codes"])
    with pytest.raises(ValueError, match=r"\['mel'\] are needed"):
        load_built_dataset(tokens, ["mel"])
    unnamed = DatasetDict(train=Dataset.from_dict({"label": [0, 1]}))
    with pytest.raises(ValueError, match="expected a ClassLabel"):
        class_names(unnamed)


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_are_complete(name):
    argv = [name, "--dataset_path", "tokens", "--audio_tokenizer", "tokenizer", "--output_dir", "out"]
    arguments = parse_arguments(GPTArguments, argv)
    load_model_config(MelGPTConfig, arguments.model_config, arguments.model_overrides)

"""Do the benchmark programs still run? Their numbers are in the README, not here."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoModel

import melspec_gpt  # noqa: F401  registers the Auto classes
from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
RATE = 22050


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a benchmark as a program and returns what it prints."""

    def run_program(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
        return capsys.readouterr().out

    return run_program


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


def test_sampling_compares_both_batches(run):
    sizes = "--num_hidden_layers 1 --hidden_size 16 --num_attention_heads 2 --num_codes 12 --num_probes 3 --threads 1"
    table = rows_of(run("sampling.py", *sizes.split(), "--batch_sizes", "1", "2"))
    assert [row[0] for row in table[2:4]] == ["1", "2"]


def test_classifier_tells_two_tones_apart_and_counts_silent_clips(run, tmp_path):
    rows = ["filename,fold,class_index,class_name,freesound_id,take"]
    for index, (name, frequency) in enumerate([("low", 300), ("high", 5000)]):
        for number in range(6):
            path = tmp_path / "data" / name / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            times = np.arange(RATE // 2) / RATE
            soundfile.write(path, (0.1 + 0.1 * number) * np.sin(2 * np.pi * frequency * times), RATE)
            rows.append(f"{name}/{number}.wav,{1 + number // 4},{index},{name},{number},A")
    (tmp_path / "data" / "metadata.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "generated" / "low").mkdir(parents=True)
    soundfile.write(tmp_path / "generated" / "low" / "00.wav", np.zeros(RATE), RATE)
    folders = f"--data_dir {tmp_path / 'data'} --generated_dir {tmp_path / 'generated'}"
    output = run("classifier.py", *f"{folders} --train_folds 1 --eval_folds 2 --num_epochs 60 --seeds 0".split())
    table = {row[0]: row[1:] for row in rows_of(output)}
    assert float(table["accuracy"][0]) == 1.0
    assert table["generated"][:2] == ["1", "1"]


def test_classifier_without_data_says_so(run, tmp_path):
    assert "Skipped" in run("classifier.py", "--data_dir", str(tmp_path))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Clips that the shipped GPT-VAE wrote, as a token dataset."""
    torch.manual_seed(0)
    codes = AutoModel.from_pretrained(CHECKPOINTS / "esc10-vae-small").generate(num_samples=4)
    folder = tmp_path_factory.mktemp("tokens")
    DatasetDict({"validation": Dataset.from_dict({"codes": codes.tolist()})}).save_to_disk(folder)
    return folder


def test_imputation_scores_every_kind_of_gap(run, tokens):
    models = f"--vae {CHECKPOINTS / 'esc10-vae-small'} --gpt {CHECKPOINTS / 'esc10-small'}"
    table = rows_of(run("imputation.py", *f"{models} --dataset_path {tokens} --num_draws 2".split()))
    assert [row[0] for row in table[2:]] == [
        "start second",
        "middle second",
        "end second",
        "frequency band",
        "random codes",
    ]
    assert all(0 < float(cell.split()[0]) < 10 for row in table[2:] for cell in row[2:5])


def test_interpolation_ends_at_the_reconstructions(run, tokens):
    model = CHECKPOINTS / "esc10-vae-small"
    arguments = f"--vae {model} --dataset_path {tokens} --num_pairs 2 --steps 3 --modes linear"
    table = rows_of(run("interpolation.py", *arguments.split()))
    assert [row[1] for row in table[2:]] == ["equal codes", "mel distance"]
    assert {row[5] for row in table[2:]} == {"yes"}


def test_training_compares_equally_large_models(run):
    sizes = "--num_hidden_layers 1 --hidden_size 16 --num_attention_heads 2 --num_codes 12 --batch_size 2"
    options = "--num_steps 1 --threads 1 --variants original ours ours_with_dropout_bf16"
    names = ["original's formulation, dropout 0.5", "ours, without dropout", "ours, dropout 0.5, bf16"]
    table = rows_of(run("training.py", *sizes.split(), *options.split()))
    assert [row[0] for row in table[2:]] == names
    assert all(float(cell) > 0 for row in table[2:] for cell in row[1:])
    assert table[2][3] == "1.00"


def test_original_formulation_is_the_same_network(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = runpy.run_path(str(BENCHMARKS / "training.py"))
    config = MelGPTConfig(num_hidden_layers=2, hidden_size=16, num_attention_heads=2, num_codes=12)
    explicit, ours = module["ExplicitGPT"](config).eval(), MelGPTForCausalLM(config).eval()
    with torch.no_grad():
        for copy, parameter in zip(explicit.parameters(), ours.parameters(), strict=True):
            copy.copy_(parameter)
    ids = torch.randint(128, (2, 13))
    torch.testing.assert_close(explicit(ids), ours(ids, labels=ids).loss)

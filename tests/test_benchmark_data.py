"""Does the benchmark of the data pipeline still run? Its numbers are in the README, not here."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_benchmarks import rows_of

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig

PROGRAM = Path(__file__).resolve().parent.parent / "benchmarks" / "data.py"
RATE = 22050


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the benchmark on `tmp_path` and returns what it prints."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    MelVQConfig(base_channels=8, num_res_blocks=1, norm_num_groups=4).save_pretrained(tmp_path / "tokenizer")

    def run_program(*arguments: str) -> str:
        options = ["--data_dir", str(tmp_path), "--audio_tokenizer", str(tmp_path / "tokenizer"), *arguments]
        monkeypatch.setattr(sys, "argv", ["data.py", *options, "--skip_original_size", "--num_repeats", "1"])
        runpy.run_path(str(PROGRAM), run_name="__main__")
        return capsys.readouterr().out

    return run_program


def test_every_stage_has_a_row(run, tmp_path):
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, RATE // 2), RATE)
    table = rows_of(run("--clip_seconds", "1", "--num_clips", "2"))
    stages = [row[0] for row in table[2:8]]
    assert stages[:3] == ["decode wav", "decode ogg", "decode mp3"]
    assert [stage.split(",")[0].split(" ")[0] for stage in stages[3:]] == ["mel", "mel", "facts"]
    assert all(float(row[1]) > 0 for row in table[2:8])


def test_a_folder_without_sounds_is_named(run):
    with pytest.raises(SystemExit, match="holds no sound file"):
        run()

"""From a dataset on disk to its description."""

import json

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts import describe as program
from melspec_gpt.datasets_scripts.build_audio_folder import build_audio_folder
from melspec_gpt.datasets_scripts.describe import completed_report, describe, main
from melspec_gpt.datasets_scripts.token_dataset import build_token_dataset, load_mel_dataset
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel

RATE = 22050
SECONDS = 0.5
NUM_CLIPS = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A mel dataset with a copied and a silent clip, and its token dataset."""
    root = tmp_path_factory.mktemp("datasets")
    generator = np.random.default_rng(0)
    for label in ("dog", "cat & <b>mouse</b>"):
        (root / "clips" / label).mkdir(parents=True)
        for number in range(NUM_CLIPS):
            soundfile.write(root / "clips" / label / f"{number}.wav", generator.normal(0, 0.1, RATE // 2), RATE)
    (root / "clips" / "dog" / "copy.wav").write_bytes((root / "clips" / "dog" / "0.wav").read_bytes())
    soundfile.write(root / "clips" / "dog" / "silent.wav", np.zeros(RATE // 2), RATE)
    build_audio_folder(root / "clips", root / "mels", clip_seconds=SECONDS)
    _, extractor = load_mel_dataset(root / "mels")
    config = MelVQConfig(
        num_frames=extractor.num_frames, base_channels=8, num_res_blocks=1, latent_channels=8, codebook_dim=8,
        codebook_size=16, norm_num_groups=4,
    )  # fmt: skip
    MelVQModel(config).save_pretrained(root / "tokenizer")
    build_token_dataset(root / "mels", root / "tokenizer", root / "tokens", num_views=2)
    return root


def test_description_of_mels(folders, tmp_path, capsys):
    report = describe(folders / "mels", tmp_path / "page.html")
    text, page = capsys.readouterr().out, (tmp_path / "page.html").read_text()
    assert sum(report["clips"].values()) == 2 * NUM_CLIPS + 2
    assert report["silent_clips"] == ["dog/silent.wav"]
    (group,) = report["near_duplicates"]
    assert sorted(clip for clips in group.values() for clip in clips) == ["dog/0.wav", "dog/copy.wav"]
    for shown in (text, page):
        assert "dog/silent.wav" in shown
        assert "dog/copy.wav" in shown
    assert page.count("data:image/png") == 2
    assert "<b>mouse" not in page


def test_description_of_tokens_decodes_examples_if_it_can(folders, tmp_path, capsys):
    report = describe(folders / "tokens", tmp_path / "page.html")
    assert "data:image/png" not in (tmp_path / "page.html").read_text()
    describe(folders / "tokens", tmp_path / "page.html", audio_tokenizer=folders / "tokenizer")
    assert (tmp_path / "page.html").read_text().count("data:image/png") == 2
    rows = load_from_disk(folders / "tokens")["train"]
    counts = np.bincount(np.array(rows["codes"][:]).ravel(), minlength=16)
    assert report["code_counts"]["train"] == counts.tolist()
    assert "perplexity" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mels", "tokens"])
def test_what_the_builder_noted_is_what_the_rows_say(folders, name):
    dataset = load_from_disk(folders / name)
    _, extractor = load_mel_dataset(folders / "mels")
    noted = json.loads((folders / name / "build_report.json").read_text())
    kept = {"codebook_size": 16, "num_views": 2} if name == "tokens" else {}
    counted = completed_report(dataset, extractor, kept)
    assert {key: noted[key] for key in counted} == counted


@pytest.mark.parametrize("name", ["mels", "tokens"])
def test_builders_leave_a_card(folders, name):
    text = (folders / name / "README.md").read_text()
    assert "cat &amp; &lt;b&gt;mouse" in text
    assert "## Classes" in text


def test_page_lies_in_the_dataset_unless_told_otherwise(folders, capsys):
    main([str(folders / "mels")])
    assert (folders / "mels" / "description.html").is_file()
    assert set(load_from_disk(folders / "mels")) == {"train", "validation"}


def test_without_matplotlib_there_is_a_page_without_pictures(folders, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(program, "find_spec", lambda name: None)
    describe(folders / "mels", tmp_path / "page.html")
    assert "<img" not in (tmp_path / "page.html").read_text()
    assert "matplotlib" in caplog.text


def test_something_else_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "is no dataset of these builders" in capsys.readouterr().err


def test_writing_the_page_elsewhere_leaves_the_dataset_alone(folders, tmp_path, capsys):
    before = {path.name for path in (folders / "tokens").iterdir()}
    main([str(folders / "tokens"), "--output_file", str(tmp_path / "page.html")])
    assert {path.name for path in (folders / "tokens").iterdir()} == before

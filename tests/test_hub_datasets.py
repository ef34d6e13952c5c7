"""A token dataset is published with a card, and loads as what it was."""

import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset
from loopback_hub import TOKEN
from tiny_hub import CLASS_NAMES

from melspec_gpt.push_to_hub import main


@pytest.fixture(scope="module")
def tokens(hub_folder, hub_processor) -> Path:
    codec = hub_processor.audio_tokenizer.config
    label, codes = ClassLabel(names=CLASS_NAMES), List(Value("uint8"), length=codec.num_codes)
    features = Features({"id": Value("string"), "label": label, "codes": codes})
    rows = [{"id": str(row), "label": row % 2, "codes": [row] * codec.num_codes} for row in range(5)]
    splits = {"train": rows[:4], "validation": rows[4:]}
    dataset = DatasetDict({name: Dataset.from_list(part, features=features) for name, part in splits.items()})
    dataset.save_to_disk(hub_folder / "tokens")
    hub_processor.feature_extractor.save_pretrained(hub_folder / "tokens", save_code=False)
    report = {"rows": {"train": 4, "validation": 1}, "different_codes": {"train": 4, "validation": 1}}
    report |= {"codebook_size": codec.codebook_size, "num_codes": codec.num_codes, "num_views": 2}
    (hub_folder / "tokens" / "build_report.json").write_text(json.dumps(report))
    return hub_folder / "tokens"


def test_published_dataset_is_the_dataset(tokens, hub, tmp_path):
    arguments = ["--dataset", str(tokens), "--repo_id", "user/tokens", "--token", TOKEN, "--license", "cc0-1.0"]
    main([*arguments, "--dataset_name", "garden sounds", "--output_dir", str(tmp_path / "export")])
    published = hub.repositories["dataset", "user/tokens"].branches["main"]
    assert {path: (tmp_path / "export" / path).read_bytes() for path in published} == published
    loaded = load_dataset(str(tmp_path / "export"), cache_dir=str(tmp_path / "cache"))
    original = DatasetDict.load_from_disk(str(tokens))
    for split in original:
        assert loaded[split].features == original[split].features
        assert loaded[split].to_list() == original[split].to_list()
    card = (tmp_path / "export" / "README.md").read_text()
    for text in ("license: cc0-1.0", "Made from garden sounds.", "| `train` | 4 | 4 |", "Dog bark, gun", "2 views"):
        assert text in card


def test_what_is_no_token_dataset_is_a_sentence(gpt, tmp_path):
    arguments = ["--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="holds no dataset"):
        main(["--dataset", str(gpt), *arguments])
    assert not (tmp_path / "out").exists()

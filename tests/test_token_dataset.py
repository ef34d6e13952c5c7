"""From a mel dataset and an audio tokenizer to a token dataset."""

import json

import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, List, Value, load_from_disk

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.datasets_scripts.token_dataset import (
    audible_frames,
    build_token_dataset,
    main,
    roll_frames,
)
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

CLIP_SECONDS = 0.5
NUM_TRAIN, NUM_VALIDATION = 5, 2


def small_tokenizer(codebook_size=16, **kwargs):
    """A random audio tokenizer whose codebook vectors are latents of noise, so that it uses many codes."""
    extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    sizes = {"base_channels": 8, "latent_channels": 8, "codebook_dim": 4, "num_res_blocks": 1, "norm_num_groups": 4}
    config = MelVQConfig(**{"num_frames": extractor.num_frames, **sizes, **kwargs}, codebook_size=codebook_size)
    torch.manual_seed(0)
    model = MelVQModel(config).eval()
    noise = 2 * torch.rand(codebook_size, config.num_mel_bins, config.num_frames) - 1
    with torch.no_grad():
        latents = model(noise).latents.permute(0, 2, 3, 1).flatten(0, 2)
        model.quantizer.codebook.weight.copy_(latents[torch.randperm(len(latents))[:codebook_size]])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A mel dataset in `mels`, an audio tokenizer in `audio_tokenizer`."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "clips").mkdir()
    listing = AudioListing()
    for index in range(NUM_TRAIN + NUM_VALIDATION):
        noise = np.random.default_rng(index).normal(0, 0.2, 22050) * np.linspace(0, 1, 22050) ** 2
        soundfile.write(folder / "clips" / f"{index}.wav", noise, 22050)
        listing.add(folder / "clips", f"{index}.wav", "ab"[index % 2], "train" if index < NUM_TRAIN else "validation")
    extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    build_mel_dataset(listing, folder / "clips", folder / "mels", extractor)
    small_tokenizer().save_pretrained(folder / "audio_tokenizer")
    return folder


def build(folder, output_dir, audio_tokenizer="audio_tokenizer", **kwargs):
    report = build_token_dataset(folder / "mels", folder / audio_tokenizer, output_dir, **kwargs)
    return load_from_disk(output_dir), report


def codes_by_id(dataset):
    return {row["id"]: np.array(row["codes"]) for row in dataset}


def test_columns_and_splits_are_as_documented(folder, tmp_path):
    tokens, _ = build(folder, tmp_path / "tokens")
    assert {split: rows.num_rows for split, rows in tokens.items()} == {
        "train": NUM_TRAIN,
        "validation": NUM_VALIDATION,
    }
    num_codes = MelVQConfig.from_pretrained(folder / "audio_tokenizer").num_codes
    assert dict(tokens["train"].features) == {
        "id": Value("string"),
        "label": ClassLabel(names=["a", "b"]),
        "codes": List(Value("uint8"), length=num_codes),
    }


def test_codes_are_those_of_the_audio_tokenizer(folder, tmp_path):
    tokens, _ = build(folder, tmp_path / "tokens", batch_size=2)
    mels = load_from_disk(folder / "mels")
    extractor = MelFeatureExtractor.from_pretrained(folder / "mels")
    model = MelVQModel.from_pretrained(folder / "audio_tokenizer").eval()
    for split, rows in tokens.items():
        mel = torch.tensor(mels[split].with_format("numpy")["mel"][:])
        with torch.no_grad():
            expected = model.encode(extractor.normalize(mel)).audio_codes.squeeze(1)
        assert rows["codes"][:] == expected.tolist()
        assert rows["id"][:] == mels[split]["id"][:]
        assert rows["label"][:] == mels[split]["label"][:]


def test_a_view_is_the_rolled_clip(folder, tmp_path):
    tokens, _ = build(folder, tmp_path / "tokens", num_views=3, seed=7)
    mels = load_from_disk(folder / "mels")["train"].with_format("numpy")
    extractor = MelFeatureExtractor.from_pretrained(folder / "mels")
    model = MelVQModel.from_pretrained(folder / "audio_tokenizer").eval()
    codes = codes_by_id(tokens["train"])
    for row in mels:
        first_frame = (extractor.num_mel_frames - extractor.num_frames) // 2
        shift = roll_frames(row["id"], 7, audible_frames(row["mel"]), first_frame)[2]
        rolled = extractor.normalize(torch.tensor(np.roll(row["mel"], shift, axis=1)))
        with torch.no_grad():
            expected = model.encode(rolled[None]).audio_codes[0, 0]
        assert codes[f"{row['id']}@2"].tolist() == expected.tolist()


def test_views_differ_and_only_training_clips_have_them(folder, tmp_path):
    tokens, _ = build(folder, tmp_path / "tokens", num_views=3)
    ids = tokens["train"]["id"][:]
    assert ids[:4] == ["0.wav", "0.wav@1", "0.wav@2", "1.wav"]
    assert tokens["train"].num_rows == 3 * NUM_TRAIN
    assert tokens["validation"].num_rows == NUM_VALIDATION
    assert len({tuple(codes) for codes in tokens["train"]["codes"][:]}) == 3 * NUM_TRAIN


def test_the_first_view_is_the_clip_itself(folder, tmp_path):
    one, _ = build(folder, tmp_path / "one")
    three, _ = build(folder, tmp_path / "three", num_views=3)
    three = codes_by_id(three["train"])
    for clip_id, codes in codes_by_id(one["train"]).items():
        np.testing.assert_array_equal(codes, three[clip_id])


def test_views_depend_on_the_seed_and_not_on_the_batches(folder, tmp_path):
    a, _ = build(folder, tmp_path / "a", num_views=2, batch_size=1)
    b, _ = build(folder, tmp_path / "b", num_views=2, batch_size=4)
    c, _ = build(folder, tmp_path / "c", num_views=2, seed=1)
    assert a["train"][:] == b["train"][:]
    assert a["train"]["codes"][:] != c["train"]["codes"][:]


def test_rolls_begin_with_the_clip_itself_and_never_repeat():
    audible = np.ones(50, dtype=bool)
    rolls = roll_frames("clip", 0, audible)
    assert rolls[0] == 0
    assert sorted(rolls) == list(range(50))
    assert rolls[1:] != sorted(rolls[1:])
    assert rolls != roll_frames("other clip", 0, audible)


def test_rolled_clips_begin_with_sound_while_there_is_any():
    mel = np.full((4, 50), 0.1)
    mel[2, 20:30] = 0.8
    audible = audible_frames(mel)
    assert audible.nonzero()[0].tolist() == list(range(20, 30))
    for roll in roll_frames("clip", 0, audible, first_frame=3)[1:11]:
        assert np.roll(mel, roll, axis=1)[2, 3] == 0.8


def test_large_codebooks_take_two_bytes(folder, tmp_path):
    small_tokenizer(codebook_size=257).save_pretrained(tmp_path / "large")
    small_tokenizer(codebook_size=256).save_pretrained(tmp_path / "limit")
    for name, dtype in (("large", "uint16"), ("limit", "uint8")):
        build_token_dataset(folder / "mels", tmp_path / name, tmp_path / f"tokens_{name}")
        features = load_from_disk(tmp_path / f"tokens_{name}")["train"].features
        assert features["codes"].feature == Value(dtype)


def test_report_counts_rows_and_codes(folder, tmp_path):
    tokens, report = build(folder, tmp_path / "tokens", num_views=2)
    assert report["rows"] == {"train": 2 * NUM_TRAIN, "validation": NUM_VALIDATION}
    for split, rows in tokens.items():
        assert report["different_codes"][split] == len(np.unique(rows["codes"][:]))
    assert json.loads((tmp_path / "tokens" / "build_report.json").read_text()) == report


def test_feature_extractor_is_copied_along(folder, tmp_path):
    build(folder, tmp_path / "tokens")
    copied = MelFeatureExtractor.from_pretrained(tmp_path / "tokens")
    assert copied.to_dict() == MelFeatureExtractor.from_pretrained(folder / "mels").to_dict()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_frames": 48}, "`num_frames` is 32 in the dataset, but 48 in the audio tokenizer"),
        ({"num_mel_bins": 64}, "`num_mel_bins` is 80 in the dataset, but 64 in the audio tokenizer"),
        ({"hop_length": 512}, "`hop_length` is 256 in the dataset, but 512 in the audio tokenizer"),
    ],
)
def test_other_geometry_is_refused_with_both_values(folder, tmp_path, sizes, message):
    small_tokenizer(**sizes).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=message):
        build_token_dataset(folder / "mels", tmp_path / "other", tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_another_model_is_refused(folder, tmp_path):
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text('{"model_type": "mel_gpt"}')
    with pytest.raises(ValueError, match="'mel_gpt', expected 'mel_vq'"):
        build_token_dataset(folder / "mels", tmp_path / "gpt", tmp_path / "tokens")


def test_what_is_no_mel_dataset_is_refused(folder, tmp_path):
    build(folder, tmp_path / "tokens")
    for path in (tmp_path / "tokens", tmp_path / "absent", folder / "clips"):
        with pytest.raises(ValueError, match="dataset_path"):
            build_token_dataset(path, folder / "audio_tokenizer", tmp_path / "out")


@pytest.mark.parametrize("arguments", [{"num_views": 0}, {"num_views": 1000}, {"batch_size": 0}])
def test_impossible_arguments_are_named(folder, tmp_path, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        build(folder, tmp_path / "tokens", **arguments)


def test_mel_dataset_is_left_as_it_was(folder, tmp_path):
    before = sorted(path.name for path in folder.rglob("*"))
    build(folder, tmp_path / "tokens")
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_command_line(folder, tmp_path):
    arguments = f"--dataset_path {folder / 'mels'} --audio_tokenizer {folder / 'audio_tokenizer'}"
    main(f"{arguments} --output_dir {tmp_path / 'tokens'} --num_views 2".split())
    assert load_from_disk(tmp_path / "tokens")["train"].num_rows == 2 * NUM_TRAIN

"""From a mel dataset and an audio tokenizer to a token dataset."""

import json
import os
import shutil
import signal

import clean_processes
import numpy as np
import pytest
import soundfile
import torch
from accelerate import PartialState
from clean_processes import run_on_two_processes
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, List, Value, load_from_disk
from number_shards import folder_bytes

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.datasets_scripts.shard_workers import Ranks
from melspec_gpt.datasets_scripts.token_dataset import build_token_dataset, main
from melspec_gpt.datasets_scripts.token_encoding import MelFile, TokenJob, audible_frames, read_rows, roll_frames
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


@pytest.fixture(scope="module")
def many_mels(tmp_path_factory):
    """A mel dataset of 70 training clips in one large file, and 3 validation clips; mels of noise."""
    folder = tmp_path_factory.mktemp("many")
    extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    shape = (extractor.feature_size, extractor.num_mel_frames)
    features = Features(
        {"id": Value("string"), "label": ClassLabel(names=["a"]), "mel": Array2D(shape, "float16")},
    )
    generator = np.random.default_rng(0)
    splits = {
        split: Dataset.from_dict(
            {
                "id": [f"{split}{index}" for index in range(count)],
                "label": [0] * count,
                "mel": generator.random((count, *shape)).astype(np.float16),
            },
            features=features,
        )
        for split, count in (("train", 70), ("validation", 3))
    }
    DatasetDict(splits).save_to_disk(folder / "mels")
    extractor.save_pretrained(folder / "mels", save_code=False)
    small_tokenizer().save_pretrained(folder / "audio_tokenizer")
    build_token_dataset(folder / "mels", folder / "audio_tokenizer", folder / "tokens", num_views=2)
    return folder


def build_two_views(folder, output_dir, **kwargs):
    build_token_dataset(folder / "mels", folder / "audio_tokenizer", output_dir, num_views=2, **kwargs)


def test_one_large_file_is_encoded_in_shards(many_mels):
    tokens = load_from_disk(many_mels / "tokens")
    assert len(list((many_mels / "tokens" / "train").glob("*.arrow"))) == 3
    assert tokens["train"]["id"][:] == [f"train{index}{view}" for index in range(70) for view in ("", "@1")]
    assert codes_by_id(tokens["train"])["train69"].tolist() == encode(many_mels, "train", 69)


def encode(folder, split, row):
    extractor = MelFeatureExtractor.from_pretrained(folder / "mels")
    mel = torch.tensor(load_from_disk(folder / "mels")[split].with_format("numpy")[row]["mel"])
    with torch.no_grad():
        model = MelVQModel.from_pretrained(folder / "audio_tokenizer").eval()
        return model.encode(extractor.normalize(mel)[None]).audio_codes[0, 0].tolist()


@pytest.mark.parametrize("rows", [range(2), range(1, 4), range(2, 3), range(6), range(5, 6)])
def test_rows_are_read_across_files(tmp_path, rows):
    numbers = Dataset.from_dict({"number": list(range(6))})
    numbers.save_to_disk(tmp_path, num_shards=3)
    files = [MelFile(str(path), 2) for path in sorted(tmp_path.glob("*.arrow"))]
    assert read_rows(files, rows)["number"][:] == list(rows)


def _build_killed_in_the_third_shard(folder, output_dir):
    encode_batch = TokenJob._encode

    def encode_or_die(job, ids, *args):
        if "train66" in ids:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode_batch(job, ids, *args)

    TokenJob._encode = encode_or_die
    build_two_views(folder, output_dir, batch_size=8)


def test_a_killed_build_is_continued(many_mels, tmp_path, monkeypatch):
    assert clean_processes.run(_build_killed_in_the_third_shard, many_mels, tmp_path / "tokens") == -signal.SIGKILL
    calls = []
    encode_batch = TokenJob._encode

    def note(job, ids, *args):
        calls.append(ids)
        return encode_batch(job, ids, *args)

    monkeypatch.setattr(TokenJob, "_encode", note)
    build_two_views(many_mels, tmp_path / "tokens")
    assert {clip_id for ids in calls for clip_id in ids} == {
        *(f"train{index}" for index in range(64, 70)),
        *(f"validation{index}" for index in range(3)),
    }
    assert folder_bytes(tmp_path / "tokens") == folder_bytes(many_mels / "tokens")


def test_workers_change_no_byte(many_mels, tmp_path):
    build_two_views(many_mels, tmp_path / "tokens", num_proc=2)
    assert folder_bytes(tmp_path / "tokens") == folder_bytes(many_mels / "tokens")


def _build_on_two_ranks(folder, output_dir, log):
    encode_batch = TokenJob._encode

    def note(job, ids, *args):
        (log / f"{PartialState().process_index}-{ids[0]}").touch()
        return encode_batch(job, ids, *args)

    TokenJob._encode = note
    build_two_views(folder, output_dir)


def test_ranks_share_the_shards_and_change_no_byte(many_mels, tmp_path):
    (tmp_path / "log").mkdir()
    run_on_two_processes(_build_on_two_ranks, many_mels, tmp_path / "tokens", tmp_path / "log")
    assert folder_bytes(tmp_path / "tokens") == folder_bytes(many_mels / "tokens")
    batches = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert {name for name in batches if name.startswith("1-")} == {
        *(f"1-train{index}" for index in (32, 40, 48, 56)),
        "1-validation0",
    }
    assert len(batches) == len({name.partition("-")[2] for name in batches}) == 10


def test_ranks_and_workers_exclude_each_other(many_mels, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "melspec_gpt.datasets_scripts.sharded_build.find_ranks", lambda: Ranks(0, 2, torch.device("cpu"))
    )
    with pytest.raises(ValueError, match="`num_proc` is 2, but a launcher runs 2 processes"):
        build_two_views(many_mels, tmp_path / "tokens", num_proc=2)


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_views": 1}, {"batch_size": 2}])
def test_other_options_are_named(many_mels, tmp_path, change):
    shutil.copytree(many_mels / "tokens", tmp_path / "tokens")
    arguments = {"num_views": 2} | change
    with pytest.raises(ValueError, match=f"`{next(iter(change))}`.*--overwrite"):
        build_token_dataset(many_mels / "mels", many_mels / "audio_tokenizer", tmp_path / "tokens", **arguments)


def test_other_weights_and_other_mels_are_noticed(folder, many_mels, tmp_path):
    shutil.copytree(many_mels / "tokens", tmp_path / "tokens")
    small_tokenizer(codebook_size=15).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="`audio_tokenizer`"):
        build_token_dataset(many_mels / "mels", tmp_path / "other", tmp_path / "tokens", num_views=2)
    with pytest.raises(ValueError, match="`sources`"):
        build_token_dataset(folder / "mels", many_mels / "audio_tokenizer", tmp_path / "tokens", num_views=2)


def test_the_same_build_again_is_no_work(many_mels, tmp_path, monkeypatch):
    shutil.copytree(many_mels / "tokens", tmp_path / "tokens")
    shutil.copytree(many_mels / "mels", tmp_path / "copied")  # the same mels in another place are the same
    monkeypatch.setattr(TokenJob, "prepare", None)
    report = build_token_dataset(tmp_path / "copied", many_mels / "audio_tokenizer", tmp_path / "tokens", num_views=2)
    assert report["rows"] == {"train": 140, "validation": 3}


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

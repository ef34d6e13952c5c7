"""Token datasets that a user made with `datasets` alone: what is read, and what is refused in which words."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, LargeList, List, Value, load_from_disk
from tiny_tokens import NAMES

from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.clip_randomness import number_rows
from melspec_gpt.training.token_splits import check_labels, count_codes


def write_by_hand(folder: Path, codes=None, values=None, labels=None, validation_names=None, **columns) -> str:
    """Two splits of two clips of three codes."""
    data = {"codes": values or [[0, 1, 2], [3, 4, 5]], "label": labels or [0, 1], **columns}
    splits = {}
    for split in ("train", "validation"):
        names = (validation_names or NAMES) if split == "validation" else NAMES
        rows = Dataset.from_dict(data).cast_column("label", ClassLabel(names=names))
        splits[split] = rows.cast_column("codes", codes or List(Value("uint8"), length=3))
    DatasetDict(splits).save_to_disk(folder)
    return str(folder)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "codes", [List(Value("int64")), LargeList(Value("int64")), List(Value("float32"), length=3)], ids=str
)
def test_codes_have_to_be_whole_numbers_in_a_known_number(tmp_path, codes, streaming):
    with pytest.raises(ValueError, match="`codes` of the split train is a .*; expected whole numbers.*cast_column"):
        load_built_dataset(write_by_hand(tmp_path, codes=codes), ["codes", "label"], streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_splits_have_to_agree_about_the_classes(tmp_path, streaming):
    folder = write_by_hand(tmp_path, validation_names=NAMES[::-1])
    with pytest.raises(ValueError, match="classes of the split validation are .* but those of train are"):
        load_built_dataset(folder, ["codes", "label"], streaming)


def test_splits_have_to_agree_about_the_type_of_the_classes(tmp_path):
    splits = DatasetDict.load_from_disk(write_by_hand(tmp_path / "numbered"))
    splits["validation"] = splits["validation"].cast_column("label", Value("string"))
    splits.save_to_disk(tmp_path / "named")
    with pytest.raises(ValueError, match="classes of the split validation are Value.*but those of train are"):
        load_built_dataset(tmp_path / "named", ["codes", "label"])


def test_columns_that_are_not_read_may_differ(tmp_path):
    folder = write_by_hand(tmp_path, validation_names=NAMES[::-1])
    assert set(load_built_dataset(folder, ["codes"])) == {"train", "validation"}


def test_splits_have_to_agree_about_the_length(tmp_path):
    write_by_hand(tmp_path / "three")
    splits = DatasetDict.load_from_disk(str(tmp_path / "three"))
    shorter = splits["validation"].map(
        lambda row: {"codes": row["codes"][:2]},
        features=Features(splits["validation"].features | {"codes": List(Value("uint8"), length=2)}),
    )
    DatasetDict(train=splits["train"], validation=shorter).save_to_disk(tmp_path / "two")
    with pytest.raises(ValueError, match="has 2 codes in the split validation, but 3 in train"):
        load_built_dataset(tmp_path / "two", ["codes", "label"])


@pytest.mark.parametrize("streaming", [False, True])
def test_one_split_without_a_name_is_refused(tmp_path, streaming):
    write_by_hand(tmp_path / "both")
    load_from_disk(str(tmp_path / "both" / "train")).save_to_disk(tmp_path / "alone")
    with pytest.raises(ValueError, match="no DatasetDict with the split `train`"):
        load_built_dataset(tmp_path / "alone", ["codes"], streaming)


def test_a_split_without_rows_is_refused(tmp_path):
    splits = DatasetDict.load_from_disk(write_by_hand(tmp_path / "full"))
    splits["validation"] = splits["validation"].select([])
    splits.save_to_disk(tmp_path / "empty")
    with pytest.raises(ValueError, match="no rows"):
        load_built_dataset(tmp_path / "empty", ["codes", "label"])


def test_a_column_of_the_users_may_be_called_row(tmp_path):
    splits = load_built_dataset(write_by_hand(tmp_path, row=["a", "b"]), ["codes", "label"])
    assert number_rows(splits["train"])["row"][:].tolist() == [0, 1]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("label", [-1, None])
def test_a_clip_without_a_class_is_refused(tmp_path, label, streaming):
    splits = load_built_dataset(write_by_hand(tmp_path, labels=[0, label]), ["codes", "label"], streaming)
    with pytest.raises(ValueError, match=f"row 1 of the split train has the `label` {label},.*Give the clip a class"):
        check_labels(splits["train"], "train", num_classes=len(NAMES))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("values", [[[0, 1, 2], None], [[0, 1, 2], [0, None, 2]]], ids=["all", "some"])
def test_a_clip_without_codes_is_refused(tmp_path, values, streaming):
    folder = write_by_hand(tmp_path, values=values)
    splits = load_built_dataset(folder, ["codes", "label"], streaming)
    with pytest.raises(ValueError, match="`codes` are missing"):
        count_codes(splits["train"], codebook_size=16)

"""The vocabulary of codes, class names and the null class."""

import json

import pytest
from transformers import AutoTokenizer

from melspec_gpt import MelCodeTokenizer

CLASS_NAMES = ["dog", "Dog bark", "Rain, heavy", "10 bells", "🐸 frog", "BABY", "<hum>"]
CODEBOOK_SIZE = 12
NULL_ID = CODEBOOK_SIZE + len(CLASS_NAMES)


@pytest.fixture
def tokenizer():
    return MelCodeTokenizer(CODEBOOK_SIZE, CLASS_NAMES)


def test_codes_come_first_then_classes_then_the_null_class(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, CODEBOOK_SIZE - 1]) == ["<0>", f"<{CODEBOOK_SIZE - 1}>"]
    assert [tokenizer.convert_tokens_to_ids(name) for name in CLASS_NAMES] == list(range(CODEBOOK_SIZE, NULL_ID))
    assert tokenizer.bos_token_id == tokenizer.pad_token_id == NULL_ID
    assert len(tokenizer) == tokenizer.vocab_size == NULL_ID + 1


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_class_name_is_one_token_and_reads_back(tokenizer, name):
    ids = tokenizer(name).input_ids
    assert ids == [CODEBOOK_SIZE + CLASS_NAMES.index(name)]
    assert tokenizer.decode(ids) == name


def test_sentence_reads_back_as_the_same_ids(tokenizer):
    ids = [CODEBOOK_SIZE + 1, 0, 11, 3, 3]
    text = tokenizer.decode(ids)
    assert text == "Dog bark <0> <11> <3> <3>"
    assert tokenizer(text).input_ids == ids
    assert tokenizer(text.replace("> <", "><")).input_ids == ids


def test_null_class_is_skipped_as_a_special_token(tokenizer):
    assert tokenizer.decode([NULL_ID, 1, 2]) == "<null> <1> <2>"
    assert tokenizer.decode([NULL_ID, 1, 2], skip_special_tokens=True) == "<1> <2>"


def test_batch_becomes_tensors_with_a_mask_of_ones(tokenizer):
    batch = tokenizer(["dog", "BABY"], return_tensors="pt")
    assert batch.input_ids.tolist() == [[CODEBOOK_SIZE], [CODEBOOK_SIZE + 5]]
    assert batch.attention_mask.tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("text", "name"), [("DOG BARK", "Dog bark"), ("baby", "BABY"), (" rain, Heavy ", "Rain, heavy")]
)
def test_other_case_is_understood(tokenizer, text, name):
    assert tokenizer.decode(tokenizer(text).input_ids) == name


def test_composed_and_decomposed_letters_are_the_same_name():
    assert MelCodeTokenizer(4, ["be\u0301be\u0301"])("bébé").input_ids == [4]


def test_case_that_two_names_share_is_ambiguous_unless_exact():
    tokenizer = MelCodeTokenizer(4, ["Dog", "dog"])
    assert tokenizer("dog").input_ids == [5]
    with pytest.raises(ValueError, match="'DOG' is ambiguous.*'Dog', 'dog'"):
        tokenizer("DOG")


def test_unknown_name_is_answered_with_the_nearest_first(tokenizer):
    with pytest.raises(ValueError, match="Unknown class name 'dog barks'. Did you mean 'Dog bark'.* are 'Dog bark', "):
        tokenizer("dog barks")
    with pytest.raises(ValueError, match="'zzz'. The known ones are 'dog', 'Dog bark', .*'<hum>'"):
        tokenizer("zzz")


def test_message_about_many_classes_stays_short():
    with pytest.raises(ValueError, match="Did you mean 'class 250'.*Of 300 classes") as error:
        MelCodeTokenizer(4, [f"class {index}" for index in range(300)])("klass 250")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["<12>", "<999>", "dog <12>"])
def test_code_outside_the_codebook_is_refused(tokenizer, text):
    with pytest.raises(ValueError, match="the codes are <0> to <11>"):
        tokenizer(text)


@pytest.mark.parametrize("index", [-100, NULL_ID + 1])
def test_id_outside_the_vocabulary_is_refused(tokenizer, index):
    with pytest.raises(ValueError, match=f"{index}; the ids are 0 to {NULL_ID}"):
        tokenizer.decode([index])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dog", "gun", "dog"], "'dog' occur more than once"),
        (["dog", ""], "'' is empty"),
        (["  "], "is empty"),
        (["dog "], "begins or ends with a blank"),
        (["<3>"], "reads as a code"),
        (["dog <3>"], "reads as a code"),
        (["<NULL>"], "reads as a code or as <null>"),
        (["dog", 3], "list of strings"),
        ("dog", "list of strings"),
    ],
)
def test_colliding_names_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        MelCodeTokenizer(4, names)


@pytest.mark.parametrize("codebook_size", [0, -1, 2.0, True, "8"])
def test_codebook_size_has_to_be_a_positive_integer(codebook_size):
    with pytest.raises(ValueError, match="`codebook_size`"):
        MelCodeTokenizer(codebook_size, ["dog"])


def test_exactly_one_source_of_names_is_needed(tmp_path):
    with pytest.raises(ValueError, match="no class names.*labels.json"):
        MelCodeTokenizer(4)
    with pytest.raises(ValueError, match="give one of them"):
        MelCodeTokenizer(4, ["dog"], labels_file=str(tmp_path / "labels.json"))


def test_model_without_classes_has_the_null_class_only():
    tokenizer = MelCodeTokenizer(4, [])
    assert (tokenizer.bos_token_id, tokenizer.vocab_size) == (4, 5)
    with pytest.raises(ValueError, match="no classes"):
        tokenizer("dog")


def test_names_cannot_be_changed_from_outside(tokenizer):
    tokenizer.class_names.append("cat")
    assert tokenizer.class_names == CLASS_NAMES


@pytest.mark.parametrize("loader", [MelCodeTokenizer, AutoTokenizer])
def test_saved_and_loaded_tokenizer_is_the_same(tokenizer, tmp_path, loader):
    tokenizer.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is MelCodeTokenizer
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.class_names, loaded.codebook_size) == (CLASS_NAMES, CODEBOOK_SIZE)
    assert loaded("🐸 frog <7>").input_ids == tokenizer("🐸 frog <7>").input_ids


def test_labels_file_is_a_readable_list_of_names(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text(encoding="utf-8")) == CLASS_NAMES
    assert "🐸" in (tmp_path / "labels.json").read_text(encoding="utf-8")
    by_hand = MelCodeTokenizer(CODEBOOK_SIZE, labels_file=str(tmp_path / "labels.json"))
    assert by_hand.get_vocab() == tokenizer.get_vocab()


def test_broken_labels_file_is_named(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text("dog, gun")
    with pytest.raises(ValueError, match=r"labels\.json cannot be read as JSON"):
        MelCodeTokenizer(4, labels_file=str(path))


@pytest.mark.parametrize("name", ["bos_token", "pad_token"])
def test_the_special_tokens_are_the_null_class(name):
    assert getattr(MelCodeTokenizer(4, ["dog"], **{name: "<null>"}), name) == "<null>"
    with pytest.raises(ValueError, match=f"`{name}` is '<s>'.*'<null>'"):
        MelCodeTokenizer(4, ["dog"], **{name: "<s>"})


def test_the_vocabulary_holds_added_tokens():
    tokenizer = MelCodeTokenizer(4, ["dog"])
    tokenizer.add_tokens(["<mask>"])
    assert tokenizer.get_vocab()["<mask>"] == tokenizer.convert_tokens_to_ids("<mask>") == len(tokenizer) - 1


@pytest.mark.parametrize(
    ("wrong", "right"),
    [({"clas_names": ["dog"]}, "class_names"), ({"class_names": ["dog"], "codebok_size": 4}, "codebook_size")],
)
def test_a_misspelled_argument_is_an_error_that_names_the_nearest(wrong, right):
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        MelCodeTokenizer(**wrong)

"""What a user sees of a training that cannot go on: a sentence, and exit code 1."""

import pytest
import torch
from tiny_tokens import save_audio_tokenizer, write_dataset

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.train_gpt import main
from melspec_gpt.training.training_program import training_program


@pytest.mark.parametrize("kind", [OSError, ValueError, FloatingPointError])
def test_error_that_a_user_can_put_right_is_a_sentence(kind):
    @training_program
    def failing(argv=None):
        raise kind("this and that")

    with pytest.raises(SystemExit) as ending:
        failing()
    assert str(ending.value.code) == "The training has stopped: this and that"  # Python then exits with 1


def test_error_of_the_program_keeps_its_traceback():
    @training_program
    def failing(argv=None):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        failing()


def test_only_the_first_process_speaks_unless_it_is_about_files(monkeypatch):
    @training_program
    def failing(argv):
        raise argv

    monkeypatch.setenv("RANK", "1")
    for error, code in ((ValueError("common"), 1), (OSError("mine"), "The training has stopped: mine")):
        with pytest.raises(SystemExit) as ending:
            failing(error)
        assert ending.value.code == code


@pytest.fixture
def argv(tmp_path):
    tokens, tokenizer = write_dataset(tmp_path / "tokens"), save_audio_tokenizer(tmp_path / "tokenizer")
    settings = "--model_config tiny --max_train_steps 4 --report_to none --checkpointing_steps 2".split()
    return ["--dataset_path", tokens, "--audio_tokenizer", tokenizer, "--output_dir", str(tmp_path / "out"), *settings]


def sentence(argv: list[str]) -> str:
    with pytest.raises(SystemExit) as ending:
        main(argv)
    return ending.value.code


def test_diverging_training_names_the_step_and_keeps_its_checkpoint(argv, tmp_path, monkeypatch):
    forward = MelGPTForCausalLM.forward
    calls = []

    def spoiled(self, *arguments, **keywords):
        outputs = forward(self, *arguments, **keywords)
        if outputs.loss is not None:
            calls.append(outputs.loss)
            outputs.loss = outputs.loss * (float("nan") if len(calls) == 3 else 1)
        return outputs

    monkeypatch.setattr(MelGPTForCausalLM, "forward", spoiled)
    assert "The training loss is nan at step 2. Lower `learning_rate`" in sentence(argv)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["checkpoint-2"]
    main([*argv, "--resume_from_checkpoint", "latest"])
    weights = MelGPTForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_missing_data_set_and_folder_that_is_a_file_are_sentences(argv, tmp_path):
    assert "holds no dataset" in sentence([*argv, "--dataset_path", str(tmp_path / "nothing")])
    (tmp_path / "out").write_text("in the way")
    assert "cannot be written" in sentence(argv)

"""What does the card of a published checkpoint say?"""

import ast
import copy
import json
import re
import shlex
import shutil

import pytest
from huggingface_hub import ModelCard
from tiny_hub import SUMMARY, export

from melspec_gpt import MelCodeTokenizer, MelGPTForCausalLM, MelGPTProcessor
from melspec_gpt.push_to_hub import main
from melspec_gpt.training.half_storage import store_in_half


def test_card_tells_the_truth_about_training_and_results(gpt_export):
    card = ModelCard.load(gpt_export / "README.md")
    assert "1234 steps (5.0 epochs) in 11 minutes on 1 process (cpu), float32" in card.text
    assert "| `learning_rate` | 0.003 |" in card.text
    assert "| nats per code, given the class | 2.718 |" in card.text
    assert "4.321" in card.text
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("nats_per_code", 2.718)
    assert card.data.pipeline_tag == "text-to-audio"


def test_card_says_nothing_of_the_machine(gpt_export):
    assert "/home/me" not in (gpt_export / "README.md").read_text()


def test_author_keeps_the_prose_and_the_files_give_the_facts(gpt_export):
    card = ModelCard.load(gpt_export / "README.md")
    for text in ("Made of my own recordings.", "Recorded in my garden.", "## History\n\nSecond version."):
        assert card.text.count(text) == 1
    assert "An old table." not in card.text
    assert "No licence is given" not in card.text
    assert "## Limits and bias" in card.text
    assert card.data.license == "cc-by-4.0"
    assert "my-tag" in card.data.tags
    assert "melspec_gpt" in card.data.tags


def test_card_without_an_author_has_every_section(vae_export):
    card = ModelCard.load(vae_export / "README.md")
    assert card.data.license == "mit"
    assert "Trained on garden sounds." in card.text
    assert "How it was trained is not recorded" in card.text
    assert "There are no measured numbers" in card.text
    assert "encoder.hidden_size" in card.text


def test_evaluation_file_is_what_the_card_quotes(gpt, hub_folder):
    evaluated = hub_folder / "evaluated"
    shutil.copytree(gpt, evaluated)
    metrics = {"nats_per_code": 1.25, "perplexity": 3.5, "something_new": 0.125}
    result = {"clips": 17, "split": "test", "metrics": metrics}
    (evaluated / "evaluation.json").write_text(json.dumps(result))
    card = ModelCard.load(export(evaluated, "evaluated") / "README.md")
    assert "| nats per code, given the class | 1.25 | 17 clips, split test |" in card.text
    assert "| something new | 0.125 |" in card.text
    assert "2.718" not in card.text
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == metrics


def test_broken_records_are_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt")
    arguments = [str(tmp_path / "gpt"), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")]
    (tmp_path / "gpt" / "evaluation.json").write_text('{"metrics": {}}')
    with pytest.raises(SystemExit, match="evaluation.json has no clips, split"):
        main(arguments)
    (tmp_path / "gpt" / "evaluation.json").write_text("not JSON")
    with pytest.raises(SystemExit, match=f"{tmp_path / 'gpt' / 'evaluation.json'} is not valid JSON"):
        main(arguments)
    (tmp_path / "gpt" / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(SystemExit, match=f"front matter of {tmp_path / 'gpt' / 'README.md'} is not valid"):
        main(arguments)
    assert not (tmp_path / "out").exists()


def test_class_names_may_hold_any_sign(hub_processor, gpt_model, tmp_path):
    names = ['say "hi"', "it's $HOME"]
    config = copy.deepcopy(gpt_model.config)
    config.id2label, config.label2id = dict(enumerate(names)), {name: label for label, name in enumerate(names)}
    MelGPTForCausalLM(config).save_pretrained(tmp_path / "gpt", save_code=False)
    tokenizer = MelCodeTokenizer(config.codebook_size, names)
    processor = MelGPTProcessor(hub_processor.feature_extractor, tokenizer, hub_processor.audio_tokenizer)
    processor.save_pretrained(tmp_path / "gpt", save_code=False)
    card = (export(tmp_path / "gpt", "signs") / "README.md").read_text()
    for text in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        ast.parse(text)
    (command,) = re.findall(r"python -m melspec_gpt.training.run_sampling .*", card)
    assert names[0] in shlex.split(command)


def test_audio_tokenizer_of_a_neighbour_brings_its_records(hub_processor, gpt, vae, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt")
    shutil.copytree(vae, tmp_path / "vae")
    (tmp_path / "gpt" / "audio_tokenizer" / "training_summary.json").write_text(json.dumps(SUMMARY))
    store_in_half(tmp_path / "gpt")
    target = export(tmp_path / "vae", "neighbour")
    assert "1234 steps" in (target / "README.md").read_text()
    for name in ("model.safetensors", "training_summary.json"):
        stored = tmp_path / "gpt" / "audio_tokenizer" / name
        assert (target / "audio_tokenizer" / name).read_bytes() == stored.read_bytes()

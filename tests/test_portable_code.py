"""The code that a saved folder carries: flat, complete, and only where it is wanted."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from melspec_gpt import MelCodeTokenizer, MelFeatureExtractor, MelGANConfig, MelGANVocoder, MelVQConfig, MelVQModel
from melspec_gpt.modeling.portable_code import PortableCodeMixin, flat_modules


@pytest.fixture
def vocoder() -> MelGANVocoder:
    return MelGANVocoder(MelGANConfig(base_channels=2, upsample_ratios=[2, 2], num_residual_layers=1))


def write(folder: Path, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)


def test_imports_are_followed_and_made_flat(tmp_path):
    sources = {
        "upper/first.py": '"""from ..lower.second import a"""\nfrom ..lower.second import (\n    b,\n)\nimport os\n',
        "lower/second.py": "from .third import b\n\n\ndef f():\n    from ..lower.third import b\n",
        "lower/third.py": "b = 1\n",
        "lower/unused.py": "c = 1\n",
    }
    write(tmp_path, sources)
    modules = flat_modules(frozenset([tmp_path / "upper" / "first.py"]))
    assert modules == {
        "first.py": '"""from ..lower.second import a"""\nfrom .second import (\n    b,\n)\nimport os\n',
        "second.py": "from .third import b\n\n\ndef f():\n    from .third import b\n",
        "third.py": "b = 1\n",
    }


def test_two_modules_of_one_name_are_refused(tmp_path):
    write(tmp_path, {"upper/same.py": "from ..lower.same import a\n", "lower/same.py": "a = 1\n"})
    with pytest.raises(ValueError, match="cannot lie in one folder"):
        flat_modules(frozenset([tmp_path / "upper" / "same.py"]))


@pytest.mark.parametrize("statement", ["from . import second", "from ..lower import b", "from .. import lower"])
def test_import_that_does_not_name_a_module_is_refused(tmp_path, statement):
    write(tmp_path, {"lower/first.py": f"{statement}\n", "lower/second.py": "b = 1\n", "lower/__init__.py": ""})
    with pytest.raises(ValueError, match="has to name the module"):
        flat_modules(frozenset([tmp_path / "lower" / "first.py"]))


def test_saved_model_carries_its_code_and_names_its_classes(vocoder, tmp_path):
    vocoder.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.glob("*.py")}
    needed = {"portable_code.py", "strict_fields.py", "value_checks.py"}
    assert names == {"configuration_melgan.py", "modeling_melgan.py"} | needed
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_melgan.MelGANConfig",
        "AutoModel": "modeling_melgan.MelGANVocoder",
    }


def test_saved_tokenizer_carries_its_code(tmp_path):
    MelCodeTokenizer(4, ["dog"]).save_pretrained(tmp_path)
    assert (tmp_path / "tokenization_mel_codes.py").is_file()
    assert "AutoTokenizer" in json.loads((tmp_path / "tokenizer_config.json").read_text())["auto_map"]


def test_what_lay_in_the_folder_before_gets_code_too(tmp_path):
    MelFeatureExtractor.from_clip_seconds(0.5).save_pretrained(tmp_path, save_code=False)
    assert not list(tmp_path.glob("*.py"))
    MelVQModel(MelVQConfig(base_channels=8, norm_num_groups=8, latent_channels=8)).save_pretrained(tmp_path)
    assert (tmp_path / "feature_extraction_mel.py").is_file()
    assert "AutoFeatureExtractor" in json.loads((tmp_path / "preprocessor_config.json").read_text())["auto_map"]


@pytest.mark.parametrize("options", [{"save_code": False}, {"is_main_process": False}])
def test_code_is_left_out_where_it_is_not_wanted(vocoder, tmp_path, options):
    tmp_path.joinpath("config.json").write_text("{}")
    vocoder.save_pretrained(tmp_path, **options)
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_parts_follow_the_whole(hub_processor, tmp_path):
    hub_processor.save_pretrained(tmp_path / "without", save_code=False)
    assert not list((tmp_path / "without").rglob("*.py"))
    hub_processor.save_pretrained(tmp_path / "with")
    assert {path.parent for path in tmp_path.rglob("*.py")} == {tmp_path / "with"}


def test_order_of_the_labels_is_kept(tmp_path):
    class Config(PreTrainedConfig):
        model_type = "melgan"

    class Model(PortableCodeMixin, PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.weight = torch.nn.Parameter(torch.zeros(1))

    names = [f"class {number}" for number in range(12)]
    Model(Config(id2label=dict(enumerate(names)))).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert "auto_map" in values
    assert list(values["id2label"].values()) == names


def test_loaded_feature_extractor_forgets_where_its_code_was(tmp_path):
    extractor = MelFeatureExtractor.from_clip_seconds(0.5)
    extractor.save_pretrained(tmp_path)
    assert "auto_map" in json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert MelFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()

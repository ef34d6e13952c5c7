"""Going on from the weights of an earlier audio tokenizer, and what is refused."""

import pytest
import torch

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.training.tokenizer_weights import trained_tokenizer


def tiny_config(**changes) -> MelVQConfig:
    sizes = {
        "num_frames": 32,
        "base_channels": 4,
        "channel_multipliers": [1, 1],
        "attention_levels": [],
        "num_res_blocks": 1,
        "latent_channels": 4,
        "codebook_dim": 4,
        "codebook_size": 8,
        "norm_num_groups": 2,
    }
    return MelVQConfig(**(sizes | changes))


@pytest.fixture
def source(tmp_path) -> MelVQModel:
    """A tokenizer in half precision with a vocoder."""
    torch.manual_seed(0)
    model = MelVQModel(tiny_config()).half()
    model.set_vocoder(MelGANVocoder(MelGANConfig(base_channels=2)))
    model.save_pretrained(tmp_path, save_code=False)
    return model


def test_weights_are_taken_in_float32_without_the_vocoder(source, tmp_path):
    model = trained_tokenizer(str(tmp_path), tiny_config())
    assert model.vocoder is None
    assert model.config.vocoder is None
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, source.state_dict()[name].float()), name


def test_length_and_regularisation_may_differ(source, tmp_path):
    model = trained_tokenizer(str(tmp_path), tiny_config(num_frames=64, dropout=0.1, commitment_cost=1.0))
    assert model.config.num_frames == 64
    assert model.quantizer.commitment_cost == 1.0


@pytest.mark.parametrize("changes", [{"codebook_size": 16}, {"sampling_rate": 16000}])
def test_other_sizes_and_features_are_refused(source, tmp_path, changes):
    with pytest.raises(ValueError, match=f"init_from.*{next(iter(changes))}"):
        trained_tokenizer(str(tmp_path), tiny_config(**changes))


def test_what_is_no_audio_tokenizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="init_from.*no audio tokenizer"):
        trained_tokenizer(str(tmp_path / "absent"), tiny_config())
    with pytest.raises(ValueError, match="init_from.*no audio tokenizer"):
        trained_tokenizer(str(tmp_path), tiny_config())
    MelGANConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="init_from.*melgan"):
        trained_tokenizer(str(tmp_path), tiny_config())

import pytest
import torch

from melspec_gpt.modeling.modeling_griffin_lim import PEAK_LIMIT
from melspec_gpt.training.loudness import bring_to_level, is_level, measure_level, read_level

SINE = torch.sin(torch.arange(22050) * 0.1)


def test_level_of_known_waves():
    assert measure_level(0.5 * SINE)["rms_dbfs"] == pytest.approx(-6.02 - 3.01, abs=0.01)
    assert measure_level(-2 * torch.ones(10)) == {"peak": 2.0, "rms_dbfs": pytest.approx(6.02, abs=0.01)}
    assert measure_level(torch.zeros(10)) == {"peak": 0.0, "rms_dbfs": None}


@pytest.mark.parametrize("amplitude", [0.001, 0.9])
def test_quiet_and_loud_waves_get_the_level(amplitude):
    assert measure_level(bring_to_level(amplitude * SINE, -24))["rms_dbfs"] == pytest.approx(-24, abs=0.01)


def test_a_click_gets_as_loud_as_its_peak_allows():
    click = torch.zeros(22050)
    click[100] = 0.01
    assert measure_level(bring_to_level(click, -24))["peak"] == pytest.approx(PEAK_LIMIT)


def test_silence_stays_silent():
    assert not bring_to_level(torch.zeros(10), -24).any()


def test_several_waves_get_one_gain():
    waves = torch.stack([0.5 * SINE, 0.1 * SINE])
    levelled = bring_to_level(waves, -24)
    assert measure_level(levelled)["rms_dbfs"] == pytest.approx(-24, abs=0.01)
    assert torch.allclose(levelled[0], 5 * levelled[1])


def test_no_level_changes_nothing():
    assert torch.equal(bring_to_level(SINE, None), SINE)


def test_levels_are_read_and_checked():
    assert (read_level("-24"), read_level("None")) == (-24.0, None)
    assert [is_level(level) for level in (None, -60, 0, 1, -61, float("nan"))] == [True, True, True] + [False] * 3

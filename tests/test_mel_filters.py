import pytest
import torch
import torchaudio

from melspec_gpt.modeling.mel_filters import mel_filters


@pytest.mark.parametrize(
    ("num_mel_bins", "sampling_rate", "n_fft", "edges"),
    [(80, 22050, 1024, (125.0, 7600.0)), (64, 16000, 1024, (0.0, 8000.0)), (128, 44100, 2048, (20.0, 20000.0))],
)
def test_filters_are_those_of_torchaudio(num_mel_bins, sampling_rate, n_fft, edges):
    expected = torchaudio.functional.melscale_fbanks(
        n_fft // 2 + 1, *edges, num_mel_bins, sampling_rate, norm="slaney", mel_scale="slaney"
    )
    filters = mel_filters(num_mel_bins, sampling_rate, n_fft, *edges)
    torch.testing.assert_close(filters, expected.t(), atol=1e-9, rtol=1e-5)


def test_every_filter_has_the_area_one():
    filters = mel_filters(80, 22050, 16384, 125.0, 7600.0)
    areas = filters.sum(1) * 22050 / 16384
    torch.testing.assert_close(areas, torch.ones(80), atol=0.01, rtol=0)

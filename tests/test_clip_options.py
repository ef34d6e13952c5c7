"""The choices that turn a file into clips."""

import pytest

from melspec_gpt.datasets_scripts.clip_options import ClipOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hop_seconds", 0),
        ("hop_seconds", 0.01),
        ("hop_seconds", float("nan")),
        ("hop_seconds", float("inf")),
        ("trim_silence", 0),
        ("trim_silence", -40),
        ("trim_silence", float("nan")),
        ("loudness", 3),
        ("loudness", float("-inf")),
        ("loudness", float("nan")),
    ],
)
def test_impossible_choices_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` is {value}"):
        ClipOptions(**{name: value})


def test_possible_choices_are_kept():
    options = ClipOptions(hop_seconds=5, trim_silence=40, loudness=-20)
    assert (options.hop_seconds, options.trim_silence, options.loudness) == (5, 40, -20)

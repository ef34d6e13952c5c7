"""Do spans and prompts in seconds hit the time steps of the codes exactly, in spite of rounding?"""

import math

import pytest
import torch

from melspec_gpt import MelFeatureExtractor, MelVQConfig
from melspec_gpt.tokenization.code_times import CodeTimes

ROWS = 5


@pytest.fixture(scope="module", params=[1.0, 5.0, 10.0])
def times(request) -> CodeTimes:
    extractor = MelFeatureExtractor.from_clip_seconds(request.param)
    return CodeTimes(extractor, MelVQConfig(num_frames=extractor.num_frames))


def hidden_steps(times: CodeTimes, span: tuple[float, float]) -> list[int]:
    mask = times.hidden_codes(span).reshape(times.num_steps, ROWS)
    assert torch.equal(mask.all(1), mask.any(1))
    return mask[:, 0].nonzero().flatten().tolist()


def test_a_span_of_one_time_step_hides_that_step_only(times):
    for step in range(times.num_steps):
        span = (times.start + step * times.step_seconds, times.start + (step + 1) * times.step_seconds)
        assert hidden_steps(times, span) == [step]


def test_a_span_that_reaches_a_little_further_hides_the_next_step(times):
    edge = times.start + 2 * times.step_seconds
    assert hidden_steps(times, (edge, edge + times.step_seconds + 1e-4)) == [2, 3]
    assert hidden_steps(times, (edge - 1e-4, edge + times.step_seconds)) == [1, 2]


def test_a_prompt_of_whole_time_steps_has_all_of_them(times):
    for steps in range(1, times.num_steps):
        assert times.num_prompt_codes(times.start + steps * times.step_seconds) == steps * ROWS


def test_an_infinite_end_is_that_of_the_clip(times):
    start = times.start + 1.5 * times.step_seconds
    assert hidden_steps(times, (start, math.inf)) == list(range(1, times.num_steps))


@pytest.mark.parametrize("span", [(math.inf, math.inf), (-math.inf, 0.5), (100.0, math.inf)])
def test_other_infinite_spans_are_refused(times, span):
    with pytest.raises(ValueError, match="`hidden_seconds` is"):
        times.hidden_codes(span)


def test_a_span_before_the_codes_or_after_them_is_refused(times):
    for span in [(0.0, times.start), (times.end, times.end + 1)]:
        with pytest.raises(ValueError, match="reaches into the codes"):
            times.hidden_codes(span)

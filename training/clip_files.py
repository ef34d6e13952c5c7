"""How do decoded clips become files, and a page with a summary to see and hear them?"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from melspec_gpt.tokenization.audio_writing import write_audio
from melspec_gpt.training.loudness import measure_level
from melspec_gpt.training.mel_picture import write_mel_picture
from melspec_gpt.training.sample_page import SampleClip, render_page

PAGE_NAME = "index.html"


@dataclass(frozen=True)
class PlannedClip:
    """
    A clip to be made.

    Args:
        class_name (`str`): its class, or the heading it stands under.
        index (`int`): its number there.
        file (`Path`): sound file, inside the output folder; the picture lies beside it.
        caption (`str`, *optional*): what it is.
        marked (`tuple[float, float]`, *optional*): a span to mark in the picture, as shares of its width.
    """

    class_name: str
    index: int
    file: Path
    caption: str | None = None
    marked: tuple[float, float] | None = None


def write_clips(
    planned: Sequence[PlannedClip],
    input_features: Iterable[torch.Tensor],
    waveforms: Sequence[torch.Tensor],
    output_dir: Path,
    sampling_rate: int,
) -> list[SampleClip]:
    """
    Writes sound files and mel pictures.

    Args:
        planned (`Sequence[PlannedClip]`): the clips.
        input_features (tensors of shape `(mel bands, frames)`): what the pictures show, in [-1, 1].
        waveforms (tensors of shape `(samples,)`): what the files hold.
        output_dir (`Path`): the folder of the page.
        sampling_rate (`int`): of the waveforms, Hz.

    Returns:
        `list[SampleClip]`: the clips for the page, with their levels.
    """
    write_audio(waveforms, [output_dir / clip.file for clip in planned], sampling_rate)
    pictures = [clip.file.with_suffix(".png") for clip in planned]
    for features, picture in zip(input_features, pictures, strict=True):
        write_mel_picture(features, output_dir / picture)
    return [
        SampleClip(
            class_name=clip.class_name,
            file=clip.file.as_posix(),
            picture=picture.as_posix(),
            seconds=len(waveform) / sampling_rate,
            caption=clip.caption,
            marked=clip.marked,
            **measure_level(waveform),
        )
        for clip, picture, waveform in zip(planned, pictures, waveforms, strict=True)
    ]


def write_page(
    output_dir: Path,
    title: str,
    facts: Sequence[str],
    clips: Sequence[SampleClip],
    summary_name: str,
    summary: Mapping[str, Any],
    introductions: Mapping[str, str] | None = None,
) -> Path:
    """
    Writes the page of clips, and a JSON file that says the same to programs.

    Args:
        output_dir (`Path`): the folder of both.
        title, facts, clips, introductions: what the page shows, see [`render_page`].
        summary_name (`str`): name of the JSON file.
        summary (`Mapping[str, Any]`): what it holds beside `clips`.

    Returns:
        `Path`: the page.
    """
    content = {**summary, "clips": [dataclasses.asdict(clip) for clip in clips]}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (output_dir / summary_name).write_text(text, encoding="utf-8")
    page = output_dir / PAGE_NAME
    page.write_text(render_page(title, facts, clips, introductions), encoding="utf-8")
    return page

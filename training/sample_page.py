"""How are clips shown on one page that needs no network and can be moved with its folder?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; }
h2 { margin: 2rem 0 0.5rem; overflow-wrap: anywhere; }
h3 { margin: 0 0 0.5rem; font-size: 1rem; overflow-wrap: anywhere; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: 0.75rem; border: 1px solid #8886; border-radius: 0.5rem; }
.picture { position: relative; }
.mark { position: absolute; top: 0; bottom: 0; box-sizing: border-box; border: 2px dashed #fff; }
img { display: block; width: 100%; height: 9rem; }
audio { display: block; width: 100%; margin-top: 0.5rem; }
figcaption, .facts { color: #777; font-size: 0.9rem; }
""".strip()


@dataclass(frozen=True, kw_only=True)
class SampleClip:
    """
    One clip on the page.

    Args:
        class_name (`str`): its class, or what else the clips under one heading have in common.
        file, picture (`str`): sound and mel picture, as paths with slashes from the folder of the page.
        seconds (`float`): length, s.
        peak (`float`): largest absolute sample of the sound.
        rms_dbfs (`float`): root mean square of the sound, dB (0 for a square wave of peak 1); `None` for silence.
        caption (`str`, *optional*): what it is, where its class alone does not say it.
        marked (`tuple[float, float]`, *optional*): start and end of a span to mark, as shares of the picture's width.
    """

    class_name: str
    file: str
    picture: str
    seconds: float
    peak: float
    rms_dbfs: float | None
    caption: str | None = None
    marked: tuple[float, float] | None = None


def render_page(
    title: str,
    facts: Sequence[str],
    clips: Sequence[SampleClip],
    introductions: Mapping[str, str] | None = None,
) -> str:
    """
    The page as HTML.

    Args:
        title (`str`): heading.
        facts (`Sequence[str]`): lines below the heading.
        clips (`Sequence[SampleClip]`): what to show; clips of one class stand together, in the order given.
        introductions (`Mapping[str, str]`, *optional*): a paragraph below the heading of a class.
    """
    classes: dict[str, list[SampleClip]] = {}
    for clip in clips:
        classes.setdefault(clip.class_name, []).append(clip)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="facts">{escape(fact)}</p>' for fact in facts),
        *(_render_class(name, members, (introductions or {}).get(name)) for name, members in classes.items()),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _render_class(name: str, clips: list[SampleClip], introduction: str | None) -> str:
    figures = "\n".join(_render_clip(clip, number) for number, clip in enumerate(clips, start=1))
    paragraph = f"<p>{escape(introduction)}</p>\n" if introduction else ""
    return f'<section>\n<h2>{escape(name)}</h2>\n{paragraph}<div class="clips">\n{figures}\n</div>\n</section>'


def _render_clip(clip: SampleClip, number: int) -> str:
    label = escape(f"{clip.class_name}, {clip.caption or f'clip {number}'}")
    level = "silent" if clip.rms_dbfs is None else f"peak {clip.peak:.2f}, {clip.rms_dbfs:.1f} dBFS rms"
    return "\n".join(
        [
            "<figure>",
            *([f"<h3>{escape(clip.caption)}</h3>"] if clip.caption else []),
            '<div class="picture">',
            f'<img src="{_link(clip.picture)}" alt="Mel spectrogram of {label}" loading="lazy">',
            *([_render_mark(*clip.marked)] if clip.marked else []),
            "</div>",
            f'<audio controls preload="metadata" src="{_link(clip.file)}" aria-label="{label}"></audio>',
            f"<figcaption>{escape(clip.file)}: {clip.seconds:.1f} s, {level}</figcaption>",
            "</figure>",
        ]
    )


def _render_mark(start: float, end: float) -> str:
    return f'<div class="mark" style="left: {start:.2%}; width: {end - start:.2%}"></div>'


def _link(path: str) -> str:
    """A relative URL; quoting keeps `#`, `?`, `%` and `:` from meaning anything in it."""
    return escape(quote(path))

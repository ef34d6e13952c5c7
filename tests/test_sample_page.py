"""The page of clips: well-formed, escaped, without network."""

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from melspec_gpt.training.sample_page import SampleClip, render_page

VOID = {"meta", "img", "link", "br"}
NASTY = '<b>"it\'s" & 50%#?</b> 🐕'


class Page(HTMLParser):
    """Checks that tags are closed in order; collects links, headings and texts."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.tags, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.texts += [value for name, value in attributes if name in ("alt", "aria-label")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def make_clip(class_name="Rain", folder="Rain", number=0, rms_dbfs=-20.0, **fields):
    stem = f"{folder}/{number:02d}"
    return SampleClip(
        class_name=class_name,
        file=f"{stem}.wav",
        picture=f"{stem}.png",
        seconds=4.83,
        peak=0.5,
        rms_dbfs=rms_dbfs,
        **fields,
    )


def test_every_clip_has_a_player_and_a_picture():
    page = Page(render_page("Title", ["fact"], [make_clip(number=0), make_clip(number=1)]))
    assert (page.tags.count("audio"), page.tags.count("img"), page.tags.count("h2")) == (2, 2, 1)
    assert page.links == ["Rain/00.png", "Rain/00.wav", "Rain/01.png", "Rain/01.wav"]
    assert {"Title", "fact"} <= set(page.texts)


@pytest.mark.parametrize("folder", ["Dog bark", "🐕 ü", "50% #1?", "a'b&c", "mailto:x", "samples/a b"])
def test_links_lead_to_the_file_names(folder):
    page = Page(render_page("", [], [make_clip(folder=folder)]))
    for link, suffix in zip(page.links, ("png", "wav"), strict=True):
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert unquote(parts.path) == f"{folder}/00.{suffix}"


def test_names_are_text_and_not_markup():
    text = render_page(NASTY, [NASTY], [make_clip(class_name=NASTY)])
    page = Page(text)
    assert "b" not in page.tags
    assert page.texts.count(NASTY) == 4  # title, heading, fact, class
    assert f"{NASTY}, clip 1" in page.texts


def test_page_asks_nothing_of_the_network():
    text = render_page("Title", [], [make_clip()])
    assert "//" not in text
    assert "script" not in text
    assert "url(" not in text


def test_clips_of_a_class_stand_together():
    clips = [make_clip("a", "a"), make_clip("b", "b"), make_clip("a", "a", 1)]
    page = Page(render_page("", [], clips))
    assert [link for link in page.links if link.endswith("wav")] == ["a/00.wav", "a/01.wav", "b/00.wav"]


def test_level_is_shown():
    assert "4.8 s, peak 0.50, -20.0 dBFS rms" in render_page("", [], [make_clip()])
    assert "silent" in render_page("", [], [make_clip(rms_dbfs=None)])


def test_captions_and_introductions_are_text():
    page = Page(render_page("", [], [make_clip(caption=NASTY)], {"Rain": NASTY, "Sun": "unused"}))
    assert "b" not in page.tags
    assert page.texts.count(NASTY) == 2
    assert f"Rain, {NASTY}" in page.texts
    assert "unused" not in page.texts


def test_marked_span_lies_over_the_picture():
    assert 'class="mark" style="left: 25.00%; width: 50.00%"' in render_page("", [], [make_clip(marked=(0.25, 0.75))])
    assert 'class="mark"' not in render_page("", [], [make_clip()])

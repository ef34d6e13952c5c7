"""The description as text, as a card and as a page: complete, the same every time, and safe against any name."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from melspec_gpt.datasets_scripts.description_card import render_text, sections_of, write_dataset_card
from melspec_gpt.datasets_scripts.description_facts import sum_up_codes
from melspec_gpt.datasets_scripts.description_page import render_description
from melspec_gpt.datasets_scripts.description_pictures import class_pictures, data_urls, encode_png, example_rows
from melspec_gpt.datasets_scripts.description_sections import ENTRIES_SHOWN, Section, Table, headline

HOSTILE = '<script>alert("1")</script> | `x` & \x1b[31m\n# title'


def facts(clips, mean=None, silent_clips=0):
    level = None if mean is None else {"mean": mean, "min": mean - 1, "max": mean + 1}
    return {"clips": clips, "level": level, "silent_share": 0.25, "silent_clips": silent_clips}


@pytest.fixture
def mel_info():
    return {
        "clips": {"train": 700, "validation": 20},
        "clips_per_class": {"dog": {"train": 700, "validation": 20}, "emu": {"train": 0, "validation": 0}},
        "left_out": [{"file": f"{number}.wav", "reason": "is empty"} for number in range(30)],
        "warnings": ["The class 'emu' has no training clip."],
        "missing": [],
        "clip_seconds": 10.0,
        "facts": facts(720, -21.5, 1),
        "facts_per_class": {"dog": facts(720, -21.5, 1), "emu": facts(0)},
        "silent_clips": ["quiet.wav"],
        "near_duplicates": [{"train": ["a.wav"], "validation": ["b.wav"]}, {"train": ["c.wav", "d.wav"]}],
    }


@pytest.fixture
def token_info():
    counts = {"train": np.arange(20), "validation": np.ones(20, dtype=int)}
    return {
        "rows": {"train": 8, "validation": 2},
        "rows_per_class": {"dog": {"train": 8, "validation": 2}},
        "codebook_size": 20,
        "num_codes": 21,
        "num_views": 4,
        "clip_seconds": 10.0,
        **sum_up_codes(counts),
    }


def cells_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_headlines(mel_info, token_info):
    assert headline(mel_info) == "720 clips, each of 10 s, 2.0 h in all: 700 train, 20 validation. 2 classes."
    assert headline(token_info) == (
        "10 rows of 21 codes, each for 10 s (every training clip in 4 views): 8 train, 2 validation. 1 classes."
    )


def test_classes_have_their_counts_and_levels(mel_info):
    rows = cells_of(render_text(sections_of(mel_info)))
    assert rows[2] == ["dog", "700", "20", "2.0 h", "-21.5", "-22.5", "-20.5", "25.0%", "1"]
    assert rows[3][:4] == ["emu", "0", "0", "0.0 s"]
    assert rows[3][4] == "-"


def test_everything_found_is_told(mel_info):
    text = render_text(sections_of(mel_info))
    for expected in ("quiet.wav", "train: a.wav; validation: b.wav", "'emu' has no training clip", "0.wav: is empty"):
        assert expected in text
    assert f"{ENTRIES_SHOWN}.wav" not in text
    assert f"and {30 - ENTRIES_SHOWN} more" in text


def test_code_histogram_covers_the_codebook(token_info):
    sections = {section.title: section for section in sections_of(token_info)}
    shares = [float(cell) for row in sections["Code histogram"].table.rows for cell in row[1:] if cell]
    assert len(shares) == 20
    assert sum(shares) == pytest.approx(1000, abs=1)
    assert cells_of(render_text([sections["Codes"]]))[2][2] == "19 of 20"


def test_card_is_the_same_every_time(mel_info, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_dataset_card(tmp_path / name, mel_info)
    first = (tmp_path / "a" / "README.md").read_bytes()
    assert first == (tmp_path / "b" / "README.md").read_bytes()
    assert first.startswith(b"# Mel dataset\n")


def test_card_takes_names_as_text(mel_info, tmp_path):
    for name in ("clips_per_class", "facts_per_class"):
        mel_info[name] = {HOSTILE: mel_info[name]["dog"]}
    mel_info["left_out"] = [{"file": HOSTILE + "\udcff", "reason": "is broken"}]
    write_dataset_card(tmp_path, mel_info)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| &lt;script")]
    assert "\\|" in row
    assert row.replace("\\|", "").count("|") == 10


def test_terminal_text_stays_on_its_line():
    section = Section("Title", [], Table(("class",), [(HOSTILE,)]), (HOSTILE,))
    text = render_text([section])
    assert "\x1b" not in text
    assert "\n# title" not in text
    assert "<script>" in text  # no page: nothing is escaped that one could not read


class Tags(HTMLParser):
    """Notes the tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.addresses = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def page_of(report, pictures=None):
    counts = report.get("code_counts", {})
    return render_description("title", headline(report), sections_of(report), pictures or {}, "note", counts)


def test_page_takes_names_as_text_and_needs_no_other_file(mel_info):
    for name in ("clips_per_class", "facts_per_class"):
        mel_info[name] = {HOSTILE: mel_info[name]["dog"]}
    page = Tags(page_of(mel_info, data_urls({HOSTILE: encode_png([np.zeros((8, 20))])})))
    assert "script" not in page.tags
    assert page.text.count('<script>alert("1")</script>') == 2  # the caption and the table
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.addresses) == 1


def test_page_shows_a_bar_for_every_code(token_info):
    page = Tags(page_of(token_info))
    assert page.tags.count("svg") == 2
    assert page.tags.count("rect") == 40


def test_page_without_any_code(token_info):
    token_info |= sum_up_codes({"train": np.zeros(20, dtype=int), "validation": np.zeros(20, dtype=int)})
    assert Tags(page_of(token_info)).tags.count("rect") == 40


def test_pictures_show_low_bands_at_the_bottom_and_clips_side_by_side():
    mel = np.zeros((8, 20))
    mel[0] = 1
    picture = np.array(Image.open(io.BytesIO(encode_png([mel, np.zeros((8, 20))]))).convert("L"))
    assert picture.shape == (8, 44)
    assert (picture[-1, :20] > 200).all()
    assert (picture[:-1, :20] < 10).all()
    assert (picture[:, 24:] < 10).all()


def test_long_mels_are_averaged_to_fit():
    mel = np.tile([0.0, 1.0], 500)[None].repeat(4, 0)
    picture = np.array(Image.open(io.BytesIO(encode_png([mel]))).convert("L"))
    assert picture.shape[1] < 200
    assert picture[:, 1:-1].std() < picture.mean()


def test_examples_are_spread_over_the_rows_of_a_class():
    labels = np.array([0] * 10 + [2] + [0])
    first, second, third = example_rows(labels, num_classes=3, num_examples=3)
    assert first.tolist() == [0, 5, 11]
    assert second.tolist() == []
    assert third.tolist() == [10]
    pictures = class_pictures(["a", "b", "c"], [first, second, third], lambda row: np.full((4, 4), row / 12))
    assert list(pictures) == ["a", "c"]
    assert base64.b64decode(data_urls(pictures)["a"].split(",")[1]) == pictures["a"]

"""How is a dataset described on one page that needs nothing else?"""

from collections.abc import Mapping, Sequence
from html import escape

from melspec_gpt.datasets_scripts.description_card import printable
from melspec_gpt.datasets_scripts.description_sections import Section, Table

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 0.5rem; }
p { max-width: 50rem; }
.headline { font-size: 1.1rem; margin-top: 0.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th { font-weight: 600; }
.name { text-align: left; white-space: normal; overflow-wrap: anywhere; }
td.name { min-width: 8rem; }
tbody tr:hover { background: #8882; }
li { overflow-wrap: anywhere; }
.classes { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: 0.75rem; border: 1px solid #8886; border-radius: 0.5rem; }
figcaption { margin-bottom: 0.5rem; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: 8rem; }
svg { display: block; width: 100%; height: 8rem; fill: #8a5ccf; border-bottom: 1px solid #8886; }
""".strip()


def render_description(
    title: str,
    headline: str,
    sections: Sequence[Section],
    pictures: Mapping[str, str],
    picture_note: str,
    code_counts: Mapping[str, Sequence[int]],
) -> str:
    """
    The page as HTML.

    Args:
        title (`str`): heading.
        headline (`str`): the sentence below it.
        sections (`Sequence[Section]`): what is told.
        pictures (`Mapping[str, str]`): class -> address of its picture.
        picture_note (`str`): how to read the pictures.
        code_counts (`Mapping[str, Sequence[int]]`): split -> how often each code occurs, for a diagram; may be empty.
    """
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        "</head>",
        "<body>",
        f"<h1>{_text(title)}</h1>",
        f'<p class="headline">{_text(headline)}</p>',
        *_render_pictures(pictures, picture_note),
        *_render_diagrams(code_counts),
        *(_render_section(section) for section in sections),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _render_pictures(pictures: Mapping[str, str], note: str) -> list[str]:
    if not pictures:
        return []
    figures = [
        f"<figure>\n<figcaption>{_text(name)}</figcaption>\n"
        f'<img src="{escape(address)}" alt="Mel spectrograms of {_text(name)}" loading="lazy">\n</figure>'
        for name, address in pictures.items()
    ]
    return [f'<h2>Sounds</h2>\n<p>{_text(note)}</p>\n<div class="classes">', *figures, "</div>"]


def _render_diagrams(code_counts: Mapping[str, Sequence[int]]) -> list[str]:
    if not code_counts:
        return []
    lines = ["<h2>Use of the codes</h2>", "<p>Each bar is a code; the most frequent one stands at the left.</p>"]
    for split, counts in code_counts.items():
        label = f"{split}: the most frequent code makes up {max(counts) / max(sum(counts), 1):.1%} of all."
        lines.append(f"<p>{_text(label)}</p>\n{_bars(sorted(counts, reverse=True), label)}")
    return lines


def _bars(values: Sequence[int], label: str) -> str:
    largest = max(max(values), 1)
    bars = "".join(
        f'<rect x="{place}" y="{1 - value / largest:.4f}" width="0.8" height="{value / largest:.4f}"/>'
        for place, value in enumerate(values)
    )
    return (
        f'<svg viewBox="0 0 {len(values)} 1" preserveAspectRatio="none" role="img" aria-label="{_text(label)}">'
        f"{bars}</svg>"
    )


def _render_section(section: Section) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>", *(f"<p>{_text(line)}</p>" for line in section.lines)]
    if section.table is not None:
        parts.append(_render_table(section.table))
    if section.entries:
        parts += ["<ul>", *(f"<li>{_text(entry)}</li>" for entry in section.entries), "</ul>"]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _render_table(table: Table) -> str:
    header = _render_row(table.header, table.num_names, "th")
    rows = "\n".join(_render_row(row, table.num_names, "td") for row in table.rows)
    return f'<div class="scroll"><table>\n<thead>\n{header}\n</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _render_row(cells: Sequence[str], num_names: int, tag: str) -> str:
    rendered = (
        f'<{tag} class="name">{_text(cell)}</{tag}>' if column < num_names else f"<{tag}>{_text(cell)}</{tag}>"
        for column, cell in enumerate(cells)
    )
    return f"<tr>{''.join(rendered)}</tr>"


def _text(text: str) -> str:
    """`text` without any meaning to HTML."""
    return escape(printable(text))

"""How do a generated model card and the text that somebody wrote for the checkpoint become one card?"""

# Facts are always written anew; everything else in the checkpoint's own card is its author's.
GENERATED = ("Samples", "Use", "Configuration", "Training", "Evaluation")
LAST = ("Data and licence", "Limits and bias")
MEASURED = ("model-index", "widget")


def merge_cards(generated: str, own: str | None) -> str:
    """
    The text of a card, without front matter: the generated sections of facts, and of the author's own card its
    introduction and its other sections. Of the sections on data and on limits, the author's win.

    Args:
        generated (`str`): text made from the checkpoint's files.
        own (`str`, *optional*): text of the card that the checkpoint has.
    """
    introduction, sections = split_sections(generated)
    if own is not None:
        own_introduction, own_sections = split_sections(own)
        introduction = own_introduction or introduction
        sections |= {heading: text for heading, text in own_sections.items() if heading not in GENERATED}
    others = [heading for heading in sections if heading not in GENERATED + LAST]
    ordered = [heading for heading in (*GENERATED, *others, *LAST) if heading in sections]
    return "\n\n".join([introduction, *(f"## {heading}\n\n{sections[heading]}" for heading in ordered)]) + "\n"


def split_sections(text: str) -> tuple[str, dict[str, str]]:
    """The text above the first heading of the second level, and the text below each such heading."""
    parts, heading, is_code = {"": []}, "", False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        if line.startswith("## ") and not is_code:
            heading = line.removeprefix("## ").strip()
            parts[heading] = []
        else:
            parts[heading].append(line)
    texts = {heading: "\n".join(lines).strip() for heading, lines in parts.items()}
    return texts.pop(""), texts


def merge_front_matter(generated: dict, own: dict) -> dict:
    """
    Front matter of a card: what the author's own card says wins, except for what is measured; tags are put together.

    Args:
        generated (`dict`): front matter made from the checkpoint's files.
        own (`dict`): front matter of the card that the checkpoint has.
    """
    given = {name: value for name, value in own.items() if name not in MEASURED}
    tags = dict.fromkeys(as_list(given.get("tags")) + as_list(generated.get("tags")))
    return generated | given | {"tags": list(tags)}


def as_list(value: str | list[str] | None) -> list[str]:
    """What front matter holds, which may be one name or several."""
    return [value] if isinstance(value, str) else list(value or [])

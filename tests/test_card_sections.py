from melspec_gpt.training.card_sections import merge_cards, merge_front_matter, split_sections

GENERATED = """# name

Generated introduction.

## Use

```python
## not a heading
```

## Limits and bias

Generated limits.

## Evaluation

Generated numbers.

## Data and licence

Generated data.
"""


def test_text_is_split_at_headings_and_not_in_code():
    introduction, sections = split_sections(GENERATED)
    assert introduction == "# name\n\nGenerated introduction."
    assert list(sections) == ["Use", "Limits and bias", "Evaluation", "Data and licence"]
    assert sections["Use"] == "```python\n## not a heading\n```"


def test_card_without_an_author_is_the_generated_one_in_order():
    text = merge_cards(GENERATED, None)
    assert list(split_sections(text)[1]) == ["Use", "Evaluation", "Data and licence", "Limits and bias"]
    assert "Generated introduction." in text


def test_prose_is_the_authors_and_facts_are_generated():
    own = {"Evaluation": "Old numbers.", "Thanks": "To all.", "Data and licence": "My data."}
    text = "".join(["# Mine\n\nMy introduction.", *(f"\n\n## {name}\n\n{text}" for name, text in own.items())])
    introduction, sections = split_sections(merge_cards(GENERATED, text))
    assert introduction == "# Mine\n\nMy introduction."
    assert list(sections) == ["Use", "Evaluation", "Thanks", "Data and licence", "Limits and bias"]
    assert sections["Evaluation"] == "Generated numbers."
    assert sections["Data and licence"] == "My data."
    assert sections["Limits and bias"] == "Generated limits."


def test_merged_card_merged_again_is_the_same():
    merged = merge_cards(GENERATED, "# Mine\n\n## Thanks\n\nTo all.\n")
    assert merge_cards(GENERATED, merged) == merged


def test_card_with_nothing_but_front_matter_leaves_the_introduction():
    assert merge_cards(GENERATED, "\n").startswith("# name\n\nGenerated introduction.")


def test_authors_front_matter_wins_except_for_measurements():
    generated = {"license": "mit", "tags": ["a", "b"], "model-index": ["new"], "pipeline_tag": "text-to-audio"}
    own = {"license": "cc0-1.0", "tags": "c", "model-index": ["old"], "language": "en"}
    assert merge_front_matter(generated, own) == {
        "license": "cc0-1.0",
        "tags": ["c", "a", "b"],
        "model-index": ["new"],
        "pipeline_tag": "text-to-audio",
        "language": "en",
    }

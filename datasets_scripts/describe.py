"""What is in a dataset that one of the builders wrote?"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict, load_from_disk

from melspec_gpt.datasets_scripts.build_arguments import run_build
from melspec_gpt.datasets_scripts.description_card import render_text, sections_of, title_of
from melspec_gpt.datasets_scripts.description_facts import clip_facts, sum_up_clips, sum_up_codes
from melspec_gpt.datasets_scripts.description_page import render_description
from melspec_gpt.datasets_scripts.description_pictures import class_pictures, data_urls, example_rows
from melspec_gpt.datasets_scripts.description_sections import headline
from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE
from melspec_gpt.tokenization.audio_tokenizer_files import named_audio_tokenizer
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

logger = logging.getLogger(__name__)

PAGE_FILE = "description.html"
ROWS_IN_MEMORY = 64


def describe(
    dataset_path: str | Path,
    output_file: str | Path | None = None,
    audio_tokenizer: str | Path | None = None,
) -> dict[str, Any]:
    """
    Prints what is in a mel or token dataset and writes the same, with pictures, as a page that needs no other file.
    Memory use does not depend on the number of clips, but for their ids.

    Args:
        dataset_path (`str` or `Path`): the dataset.
        output_file (`str` or `Path`): the page; by default description.html in the dataset.
        audio_tokenizer (`str` or `Path`): folder (or Hub name) of the audio tokenizer that made the codes; with it
            the page shows what the codes of a token dataset sound like.

    Returns:
        The completed report of the dataset.

    Raises:
        ValueError: if there is no such dataset.
        OSError: if the page cannot be written.
    """
    dataset, feature_extractor = _load(dataset_path)
    report = completed_report(dataset, feature_extractor, _read_report(Path(dataset_path)))
    title = f"{title_of(report)} {Path(dataset_path).resolve().name}"
    sections = sections_of(report)
    print(f"# {title}\n\n{headline(report)}\n\n{render_text(sections)}")
    page = render_description(
        title,
        headline(report),
        sections,
        _pictures(dataset, feature_extractor, audio_tokenizer),
        f"Examples of each class: time from left to right, {feature_extractor.min_frequency:g} Hz at the bottom to "
        f"{feature_extractor.max_frequency:g} Hz at the top (mel scale), bright is loud.",
        report.get("code_counts", {}),
    )
    path = Path(dataset_path, PAGE_FILE) if output_file is None else Path(output_file)
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    logger.info("Wrote %s.", path)
    return report


def completed_report(
    dataset: DatasetDict, feature_extractor: MelFeatureExtractor, report: dict[str, Any]
) -> dict[str, Any]:
    """
    `report` with everything that a description needs. What it does not say is counted from the rows.

    Args:
        dataset (`DatasetDict`): with the columns `id`, `label` and `mel` or `codes`.
        feature_extractor (`MelFeatureExtractor`): the one that lies beside it.
        report (`dict`): build_report.json; empty for none.
    """
    class_names = next(iter(dataset.values())).features["label"].names
    clip_seconds = feature_extractor.num_samples / feature_extractor.sampling_rate
    counts = {split: rows.num_rows for split, rows in dataset.items()}
    per_class = _count_classes(dataset, class_names)
    if _is_mel_dataset(dataset):
        facts = {} if "facts" in report else sum_up_clips(_all_facts(dataset, class_names), class_names, clip_seconds)
        return {"clips": counts, "clips_per_class": per_class} | report | facts
    facts = {} if "code_counts" in report else sum_up_codes(_count_codes(dataset, report))
    num_codes = next(iter(dataset.values())).features["codes"].length
    sizes = {"codebook_size": len(next(iter(facts["code_counts"].values())))} if facts else {}
    known = {"rows": counts, "rows_per_class": per_class, "num_codes": num_codes, "clip_seconds": clip_seconds}
    return known | sizes | report | facts


def _load(dataset_path: str | Path) -> tuple[DatasetDict, MelFeatureExtractor]:
    try:
        dataset = load_from_disk(str(dataset_path))
        feature_extractor = MelFeatureExtractor.from_pretrained(dataset_path)
    except OSError as error:
        raise ValueError(f"{str(dataset_path)!r} is no dataset of these builders: {error}") from error
    columns = next(iter(dataset.values())).column_names if isinstance(dataset, DatasetDict) else []
    if not {"id", "label"} <= set(columns) or not {"mel", "codes"} & set(columns):
        raise ValueError(
            f"{str(dataset_path)!r} has the columns {columns}; expected splits with `id`, `label` and `mel` or "
            "`codes`, as build_audio_folder and token_dataset write them."
        )
    return dataset, feature_extractor


def _read_report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _is_mel_dataset(dataset: DatasetDict) -> bool:
    return "mel" in next(iter(dataset.values())).column_names


def _count_classes(dataset: DatasetDict, class_names: list[str]) -> dict[str, dict[str, int]]:
    counts = {
        split: np.bincount(np.array(rows["label"][:], dtype=np.int64), minlength=len(class_names)).tolist()
        for split, rows in dataset.items()
    }
    return {name: {split: counts[split][label] for split in counts} for label, name in enumerate(class_names)}


def _all_facts(dataset: DatasetDict, class_names: list[str]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for split, rows in dataset.items():
        for batch in rows.with_format("numpy").iter(ROWS_IN_MEMORY):
            for clip_id, label, mel in zip(batch["id"], batch["label"], batch["mel"], strict=True):
                yield split, str(clip_id), class_names[label], clip_facts(mel)


def _count_codes(dataset: DatasetDict, report: dict[str, Any]) -> dict[str, np.ndarray]:
    """Split -> how often each code occurs, in a codebook as large as `report` says or as its largest code needs."""
    counts = {split: np.zeros(report.get("codebook_size", 0), dtype=np.int64) for split in dataset}
    for split, rows in dataset.items():
        for batch in rows.with_format("numpy").iter(ROWS_IN_MEMORY):
            found = np.bincount(batch["codes"].ravel(), minlength=len(counts[split]))
            found[: len(counts[split])] += counts[split]
            counts[split] = found
    size = max(map(len, counts.values()))
    return {split: np.pad(numbers, (0, size - len(numbers))) for split, numbers in counts.items()}


def _pictures(
    dataset: DatasetDict, feature_extractor: MelFeatureExtractor, audio_tokenizer: str | Path | None
) -> dict[str, str]:
    is_mel_dataset = _is_mel_dataset(dataset)
    if not is_mel_dataset and audio_tokenizer is None:
        return {}
    if find_spec("matplotlib") is None:
        logger.warning("The page has no pictures: they need matplotlib (pip install matplotlib).")
        return {}
    rows = next(iter(dataset.values())).with_format("numpy")
    examples = example_rows(np.array(rows["label"][:]), len(rows.features["label"].names))
    read_mel = (lambda row: rows[row]["mel"]) if is_mel_dataset else _decoder(rows, audio_tokenizer)
    return data_urls(class_pictures(rows.features["label"].names, examples, read_mel))


def _decoder(rows: Any, audio_tokenizer: str | Path) -> Callable[[int], np.ndarray]:
    """Row of a token dataset -> the mel that its codes stand for, in [0, 1]."""
    model = named_audio_tokenizer(audio_tokenizer)

    @torch.no_grad()
    def read_mel(row: int) -> np.ndarray:
        codes = torch.from_numpy(rows[row]["codes"].astype(np.int64))
        features = model.decode(codes[None, None], return_audio=False).input_features
        return (features[0].numpy() + 1) / 2

    return read_mel


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`describe`]."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description="Tell what is in a mel or token dataset, and write it as a page with pictures."
    )
    parser.add_argument("dataset_path", metavar="DIR", help="dataset, as written by the build programs")
    parser.add_argument("--output_file", help=f"page to write (default: {PAGE_FILE} in DIR)")
    parser.add_argument("--audio_tokenizer", help="decodes examples of a token dataset, to show what they sound like")
    run_build(parser, describe, argv)


if __name__ == "__main__":
    main()

"""How does a token dataset become a folder for the Hub? Parquet files, its reports and a card."""

import json
import shutil
from pathlib import Path

from huggingface_hub import DatasetCardData

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.built_dataset import class_names, load_built_dataset
from melspec_gpt.training.model_card import CARD_NAME, CardOptions, join_card, render

REPORT_NAME = "build_report.json"
EXTRACTOR_NAME = "preprocessor_config.json"
TAGS = ["audio", "melspec_gpt", "sound-effects", "vector-quantization"]


def export_dataset(dataset: str | Path, folder: Path, options: CardOptions) -> None:
    """
    Writes `data/<split>.parquet`, the files that describe the codes, and the card.

    Args:
        dataset (`str` or `Path`): token dataset, as datasets_scripts.token_dataset writes it.
        folder (`Path`): existing folder to write into.
        options ([`CardOptions`]): what the dataset cannot tell.

    Raises:
        ValueError: if `dataset` is no token dataset.
    """
    splits = load_built_dataset(dataset, ["id", "label", "codes"]).with_format(None)
    report_path = Path(dataset, REPORT_NAME)
    if not report_path.is_file() or not Path(dataset, EXTRACTOR_NAME).is_file():
        raise ValueError(
            f"`dataset` {str(dataset)!r} has no {REPORT_NAME} and {EXTRACTOR_NAME}; give a folder that "
            "datasets_scripts.token_dataset wrote."
        )
    report = json.loads(report_path.read_text(encoding="utf-8"))
    (folder / "data").mkdir()
    for split, rows in splits.items():
        rows.to_parquet(str(folder / "data" / f"{split}.parquet"))
    for name in (REPORT_NAME, EXTRACTOR_NAME):
        shutil.copy(Path(dataset, name), folder / name)
    extractor = MelFeatureExtractor.from_pretrained(dataset)
    facts = {
        "name": options.repo_id.rpartition("/")[2],
        "repo_id": options.repo_id,
        "license": options.license,
        "dataset_name": options.dataset_name,
        "rows": f"{sum(report['rows'].values())} rows",
        "num_codes": report["num_codes"],
        "last_code": report["codebook_size"] - 1,
        "num_views": report["num_views"],
        "clip_seconds": f"{extractor.num_samples / extractor.sampling_rate:g} seconds",
        "class_names": class_names(splits),
        "splits": [
            {"name": split, "rows": rows, "codes": report["different_codes"][split]}
            for split, rows in report["rows"].items()
        ],
    }
    data = DatasetCardData(
        license=options.license,
        pretty_name=facts["name"],
        task_categories=["text-to-audio"],
        tags=TAGS,
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}.parquet"} for split in splits],
            }
        ],
    )
    (folder / CARD_NAME).write_text(join_card(data.to_dict(), render("token_dataset", facts)), encoding="utf-8")
